"""The tables of landscapes: which surfaces are wanted, their points, and a row when finished."""

from __future__ import annotations

from results_schema.columns import FLAG, INT, LONG, REAL, TEXT, TIME, WHERE, noted, result, table

WANTED = table(
    "wanted",
    result("experiment", TEXT, "name of the experiment"),
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is of"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("points", INT, "of its grid"),
)

POINTS = table(
    "points",
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("row", INT, "index of alpha, from 0"),
    result("column", INT, "index of beta, from 0"),
    result("alpha", REAL, "along the first direction"),
    result("beta", REAL, "along the second direction"),
    result("loss", REAL, "mean cross-entropy; infinite or NaN where it overflows", unit="nat"),
    result("accuracy", REAL, "share of images classified rightly", unit="1"),
    result("variance", REAL, "E‖g_i − E g‖² over instances; null in a contour", null=True),
    result("standard_error", REAL, "of the variance, over instances", null=True),
    result("weights_variance", REAL, "the same without one-dimensional parameters", null=True),
    result("weights_standard_error", REAL, "of that", null=True),
    result("gradient_norm", REAL, "norm of the mean gradient", null=True),
    result("by_parameter", TEXT, "JSON: each parameter's variance, where asked for", null=True),
    noted("seconds", REAL, "wall time of the point", unit="s"),
    noted("finished_at", TIME, "when it was measured"),
)

SURFACES = table(
    "surfaces",
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("status", TEXT, "done, or diverged: a weight of the network is NaN or infinite"),
    result("epoch", INT, "of the checkpoint that was measured; 0 is the untrained network"),
    result("rows", INT, "number of alphas"),
    result("columns", INT, "number of betas"),
    result("extent", REAL, "alpha and beta reach from minus this to this"),
    result("seed", LONG, "of the directions, or of curvature's random vectors"),
    result("pair", INT, "which of the seed's pairs of directions"),
    result("normalisation", TEXT, "of the directions: filter, layer or none"),
    result("split", TEXT, "test or train"),
    result("instances", LONG, "how many images it was measured on"),
    result("precision", TEXT, "of the arithmetic"),
    result("cosine", REAL, "of the angle between the directions", null=True),
    result("loss", REAL, "at the centre", unit="nat", null=True),
    result("smallest_loss", REAL, "of the finite ones", unit="nat", null=True),
    result("largest_loss", REAL, "of the finite ones", unit="nat", null=True),
    result("nonfinite", REAL, "share of points whose loss is infinite or NaN", unit="1", null=True),
    result("radius", REAL, "from the centre to the nearest twofold loss", null=True),
    result(
        "bounded",
        FLAG,
        "whether twofold loss is reached; else radius is the circle's searched",
        null=True,
    ),
    result("convex", REAL, "share of points in the near-convex region", unit="1", null=True),
    result("roughness", REAL, "mean |second derivative| of log₁₀ loss", null=True),
    result("variance", REAL, "of the gradient over instances, at the centre", null=True),
    result("standard_error", REAL, "of the variance", null=True),
    result("weights_variance", REAL, "without one-dimensional parameters", null=True),
    result(
        "batch_variance", REAL, "of the mean gradient of a batch of the recipe's size", null=True
    ),
    result("parameters", LONG, "entries of the gradient", null=True),
    result("top_eigenvalue", REAL, "the Hessian's largest, at the centre", null=True),
    result(
        "top_residual", REAL, "of its eigenvector: bounds the distance to an eigenvalue", null=True
    ),
    result("bottom_eigenvalue", REAL, "the Hessian's smallest", null=True),
    result("bottom_residual", REAL, "of its eigenvector", null=True),
    result("eigen_iterations", INT, "products with the Hessian", null=True),
    result("eigen_converged", FLAG, "whether the top residual came within tolerance", null=True),
    result("trace", REAL, "of the Hessian (Hutchinson)", null=True),
    result("trace_standard_error", REAL, "of the trace over probes", null=True),
    result("trace_probes", INT, "random vectors drawn", null=True),
    result("trace_converged", FLAG, "whether that error came within tolerance", null=True),
    result("notes", TEXT, "JSON: why a number could not be had, by its name"),
    result("spec", TEXT, "the surface's canonical JSON"),
    noted("exit_reason", TEXT, "why it ended"),
    noted("started_at", TIME, "when the last attempt began"),
    noted("ended_at", TIME, "when it was finished"),
    noted("measure_seconds", REAL, "sum of the points' wall times", unit="s"),
    *WHERE,
)
