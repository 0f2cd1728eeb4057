"""What a surface is: one landscape of one trained network, named by its content (Section 4.2).

As with a trial, the id hashes every choice that changes the numbers and nothing else, an `optional`
field is omitted from the hashed JSON at its default, and a field without effect is set to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from results_schema.canonical import Spec, one_of, optional, real, whole
from results_schema.errors import SpecError
from results_schema.trial import CANONICAL_SINCE, TrialSpec

LANDSCAPE_VERSION = 1
"""Number of the measurements: counts changes that no field of `SurfaceSpec` expresses."""

LANCZOS_STEPS = 100
"""Most products with the Hessian for the ends of its spectrum."""
TRACE_PROBES = 100
"""Most products with the Hessian for its trace."""

KINDS = ("contour", "gradient_variance", "curvature")
NORMALISATIONS = ("filter", "layer", "none")
SPLITS = ("test", "train")
PRECISIONS = ("fp32", "fp64", "bf16")


@dataclass(frozen=True)
class SurfaceSpec(Spec):
    """Everything that decides a surface's numbers by choice.

    Attributes:
        trial: The trial whose network is measured.
        epoch: Epoch of its checkpoint: 0 is the network as initialised, the recipe's last epoch is
            the network as the trial ended, also where it diverged before.
        kind: "contour", mean loss and accuracy; "gradient_variance", these and the variance of the
            gradient over instances; "curvature", ends of the Hessian's spectrum and its trace at
            the centre.
        rows: Number of alphas, odd, so that one is 0; 1 for curvature.
        columns: Number of betas, odd; 1 for curvature.
        extent: The grid covers [−extent, extent] in alpha and in beta.
        seed: Seed of the directions, or of curvature's random vectors.
        pair: Which pair of the seed's directions, from 0.
        normalisation: How the directions are normalised: by "filter", by "layer", or "none".
        split: Which images: "test" or "train".
        subset: How many of them, drawn once for all points; 0 for all.
        subset_seed: Seed of that draw.
        precision: "fp32", "fp64", or for contours "bf16", a preview.
        auxiliary: Whether the auxiliary head's loss counts, as in training, in a gradient variance.
        by_parameter: Whether a gradient variance keeps each parameter's variance too.
        version: `LANDSCAPE_VERSION` when the surface was named.

    Fields without effect are set to their defaults: the seed of a subset of all images; extent,
    pair and normalisation at the centre alone, and for other kinds than curvature the seed too.
    """

    trial: TrialSpec
    epoch: Annotated[int, whole(0)]
    kind: Annotated[str, one_of(KINDS)]
    rows: Annotated[int, whole(1, 1001)] = 51
    columns: Annotated[int, whole(1, 1001)] = 51
    extent: Annotated[float, real()] = 1.0
    seed: Annotated[int, whole(0)] = 0
    pair: Annotated[int, whole(0)] = 0
    normalisation: Annotated[str, one_of(NORMALISATIONS)] = "filter"
    split: Annotated[str, one_of(SPLITS)] = "test"
    subset: Annotated[int, whole(0)] = 0
    subset_seed: Annotated[int, whole(0)] = 0
    precision: Annotated[str, one_of(PRECISIONS)] = "fp32"
    auxiliary: bool = optional(False)
    by_parameter: bool = optional(False)
    version: Annotated[int, whole(1)] = LANDSCAPE_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rows", "columns"):
            if (side := getattr(self, name)) % 2 == 0:
                what = f"{name} is {side}, and an even side has no point at the centre"
                near = side + 1 if side < 1001 else side - 1
                raise SpecError(what, fix=f"use an odd number, such as {near}")
        last = self.trial.recipe.epochs
        if self.epoch > last:
            what = f"epoch is {self.epoch}, and the trial has {last}"
            raise SpecError(what, fix=f"use 0 to {last}")
        if self.precision == "bf16" and self.kind != "contour":
            raise SpecError("only a contour can be measured in bf16", fix="use fp32 or fp64")
        variance = self.kind == "gradient_variance"
        if self.auxiliary and not (variance and self.trial.recipe.auxiliary):
            what = "auxiliary counts in a gradient variance of a trial with an auxiliary head alone"
            raise SpecError(what, fix="omit auxiliary")
        if self.by_parameter and not variance:
            what = "only a gradient variance is kept by parameter"
            raise SpecError(what, fix="omit by_parameter")
        if self.kind == "curvature" and (self.rows, self.columns) != (1, 1):
            raise SpecError("curvature is measured at the centre alone", fix="omit the grid")
        if self.trial.recipe.version < CANONICAL_SINCE:
            return
        if not self.subset:
            self._reset("subset_seed")
        if (self.rows, self.columns) == (1, 1):
            # No point is along the directions; curvature draws its own vectors from the seed.
            self._reset("extent", "pair", "normalisation")
            if self.kind != "curvature":
                self._reset("seed")

    @property
    def points(self) -> int:
        """Most rows that the surface has in the table of points.

        They are the grid's points, and for a curvature its products with the Hessian, of which
        fewer are made where they converge early.
        """
        products = LANCZOS_STEPS + TRACE_PROBES if self.kind == "curvature" else 0
        return self.rows * self.columns + products

    @cached_property
    def surface_id(self) -> str:
        """`<trial id>@e<epoch>-<kind>-<10 hex digits of the content's SHA-256>`."""
        return f"{self.trial.trial_id}@e{self.epoch}-{self.kind}-{self.digest}"
