"""Theorem 4.1 for the trials of a store; results of `nas-sweep theory` as tables and records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.output.tables import TextTable
from orchestrator.output.text import NO_NUMBER
from results_schema.trial import TrialSpec
from workers.data.catalog import describe
from workers.landscape.gradient_variance import minibatch_variance
from workers.theory.checks import Comparison
from workers.theory.sgd import Bound, bound, expectation
from workers.theory.smoothness import Counterexample
from workers.training.recipe import scheduled_lr


@dataclass(frozen=True)
class TrialBound:
    """One member's trial; NaN stands for what was not measured.

    Attributes:
        experiment: Its name.
        trial_id: The trial.
        base: The published genotype.
        variant: Name of the cell.
        index: 0 for the base.
        f0: f(w₀), the loss of the untrained network, in nats; f* is taken for 0.
        smoothness: The local L.
        smoothness_epoch: Of the checkpoint where it was largest.
        variance: σ² of a batch of the recipe's size out of the training images.
        variance_epoch: Of the checkpoint where it was largest.
        steps: N.
        rates: H, the sum of all steps' rates.
        start: See `sgd.Bound`.
        noise: See `sgd.Bound`.
        bound: Their sum.
        within: Share of the steps whose rate is below 1/L; the theorem asks for 1.
        within_momentum: The same for rate/(1 − momentum), a step's length under momentum.
        measured: Σ γ_k ‖g_k‖²/H of the training steps' batch gradients, from their mean norm in
            each epoch: an estimate of the left side that has the batches' noise in it.
        final: ‖∇f‖² at the last measured checkpoint.
        lacking: What was not measured.
    """

    experiment: str
    trial_id: str
    base: str
    variant: str
    index: int
    f0: float
    smoothness: float
    smoothness_epoch: int | None
    variance: float
    variance_epoch: int | None
    steps: int
    rates: float
    start: float
    noise: float
    bound: float
    within: float
    within_momentum: float
    measured: float
    final: float
    lacking: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return the bound as plain data, None for NaN."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


def trial_bounds(trials: Any, surfaces: Any, points: Any, epochs: Any) -> list[TrialBound]:
    """Return the bound of each distinct ended trial, in order, from tables of `Results`."""
    # Imported trials have no spec.
    kept = (trials["status"] == "done") & (trials["spec"] != "")
    members = trials[kept].drop_duplicates("trial_id")
    surfaces = surfaces.drop_duplicates(subset="surface_id")
    # The theorem speaks of the function that is trained.
    surfaces = surfaces[(surfaces["status"] == "done") & (surfaces["split"] == "train")]
    centres = points[(points["alpha"] == 0) & (points["beta"] == 0)]
    norms = centres.drop_duplicates("surface_id").set_index("surface_id")["gradient_norm"]
    epochs = epochs.drop_duplicates(subset=["trial_id", "epoch"])
    found = []
    for row in members.to_dict("records"):
        own, curve = (rows[rows["trial_id"] == row["trial_id"]] for rows in (surfaces, epochs))
        found.append(_bound(row, own, norms, curve))
    return found


def _bound(row: dict[Any, Any], surfaces: Any, norms: Any, epochs: Any) -> TrialBound:
    spec = TrialSpec.from_json(row["spec"])
    curved = surfaces[surfaces["kind"] == "curvature"]
    varied = surfaces[surfaces["kind"] == "gradient_variance"]
    ends = curved[["top_eigenvalue", "bottom_eigenvalue"]].abs().max(axis=1)
    smoothness, bent_at = _largest(ends, curved["epoch"])
    variance, varied_at = _largest(varied["variance"], varied["epoch"])
    if not math.isnan(variance):
        images = _images(spec)
        variance = minibatch_variance(variance, min(spec.recipe.batch_size, images), images)
    untrained = surfaces[surfaces["epoch"] == 0]["loss"].dropna()
    f0 = float(untrained.iloc[0]) if len(untrained) else math.nan
    gamma, each = _rates(spec)
    found = hurried = Bound(math.nan, math.nan, math.nan)
    measured = {"curvature": smoothness, "gradient variance": variance, "the loss at epoch 0": f0}
    lacking = tuple(name for name, value in measured.items() if math.isnan(value))
    if not lacking and smoothness and gamma:
        found = bound(f0, 0.0, smoothness, variance, gamma, each)
        longer = [rate / (1 - spec.recipe.momentum) for rate in gamma]
        hurried = bound(f0, 0.0, smoothness, variance, longer, each)
    moved = epochs[(epochs["rate"] > 0) & epochs["grad_norm"].notna()]
    last = varied.sort_values("epoch")["surface_id"].tail(1).map(norms).dropna()
    left = math.nan
    if len(moved):
        left = expectation(moved["rate"].to_numpy(), moved["grad_norm"].to_numpy() ** 2)
    return TrialBound(
        **{name: row[name] for name in ("experiment", "trial_id", "base", "variant")},
        index=int(row["index"]),
        f0=f0,
        smoothness=smoothness,
        smoothness_epoch=bent_at,
        variance=variance,
        variance_epoch=varied_at,
        steps=each * len(gamma),
        rates=each * math.fsum(gamma),
        start=found.start,
        noise=found.noise,
        bound=found.value,
        within=found.within,
        within_momentum=hurried.within,
        measured=left,
        final=float(last.iloc[0]) ** 2 if len(last) else math.nan,
        lacking=lacking,
    )


def _largest(values: Any, epochs: Any) -> tuple[float, int | None]:
    """Return the largest number and the epoch of its checkpoint; NaN and None without one."""
    values = values.dropna()
    if values.empty:
        return math.nan, None
    place = values.idxmax()
    return float(values.loc[place]), int(epochs.loc[place])


def _rates(spec: TrialSpec) -> tuple[list[float], int]:
    """Return the rate of each epoch that moves the weights at all, and the steps of an epoch."""
    epochs = range(1, spec.recipe.epochs + 1)
    rates = [scheduled_lr(spec.recipe, spec.learning_rate, epoch) for epoch in epochs]
    # Under cosine_shifted the last one is 0 but for rounding, as good as no step.
    kept = [rate for rate in rates if rate > 1e-12 * spec.learning_rate]
    return kept, -(-_images(spec) // spec.recipe.batch_size)


def _images(spec: TrialSpec) -> int:
    """Return the number of images that a trial trains on."""
    data = describe(spec.dataset)
    return data.train - data.held_out(spec.recipe.validation)


def comparison_record(one: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data."""
    return {
        "statement": one.statement,
        "setting": one.setting,
        "must_hold": one.holds,
        "cases": len(one.measured),
        "violations": int(one.violated.sum()),
        "median_ratio": float(np.median(one.ratios)),
        "largest_ratio": float(one.ratios.max()),
    }


def statements_sheet(comparisons: Sequence[Comparison], title: str) -> TextTable:
    """Return a row for each statement and setting; what violates a true statement is marked."""
    rows, marks = [], {}
    for number, one in enumerate(comparisons):
        record = comparison_record(one)
        equation = one.statement.startswith("Equation")
        # An equation's bound is the tolerance, so that its error is shown and not the ratio.
        numbers = one.measured if equation else one.ratios
        must = "must hold" if one.holds else "need not"
        counts = (f"{record[name]:,}" for name in ("cases", "violations"))
        sizes = (f"{number:.2g}" for number in (np.median(numbers), numbers.max()))
        rows.append((one.statement, one.setting, must, *counts, *sizes))
        if one.holds and record["violations"]:
            marks[number, 4] = 1
    return TextTable(
        title=title,
        columns=("statement", "objective", "", "cases", "violated", "median", "largest"),
        rows=rows,
        highlights=marks,
        footnotes=("a statement that must hold is violated",) if marks else (),
        left=(1, 2),
        remarks=("median and largest: relative error of an equation, measured/bound of a theorem",),
    )


def blocks_sheet(comparisons: Iterable[Comparison], example: Counterexample) -> TextTable:
    """Return Theorem 4.2 by block, as printed and corrected."""
    rows = []
    for one in comparisons:
        for block in range(1, one.blocks + 1):
            part = one.only(slice(block - 1, None, one.blocks))
            share = f"{100 * part.violated.mean():.1f} %"
            sizes = (f"{number:.3g}" for number in (np.median(part.ratios), part.ratios.max()))
            name = one.statement.partition(", ")[2]
            rows.append((name, one.setting, str(block), share, *sizes))
    return TextTable(
        title="Theorem 4.2 by block: the block's true constant over its bound",
        columns=("bound", "objective", "block", "violated", "median", "largest"),
        rows=rows,
        left=(1,),
        remarks=(
            f"counterexample (n = 2, f = ½‖z‖², W1 = diag(2, 1), x = e1): case I has "
            f"L(2) = {example.wide:g}, the printed bound is {example.printed:g}, "
            f"the true constant {example.true:g}",
        ),
    )


def trials_sheet(trials: Sequence[TrialBound]) -> TextTable:
    """Return Theorem 4.1 by trial; a rate that fails its premise is marked."""

    def text(value: float) -> str:
        return NO_NUMBER if math.isnan(value) else f"{value:.3g}"

    rows, marks = [], {}
    for number, one in enumerate(trials):
        of_bound = one.rates, one.start, one.noise, one.bound
        before = map(text, (one.smoothness, one.variance, one.f0, *of_bound))
        shares = (one.within, one.within_momentum)
        percents = (NO_NUMBER if math.isnan(s) else f"{100 * s:.0f} %" for s in shares)
        after = map(text, (one.measured, one.final))
        rows.append((one.trial_id, one.variant, *before, *percents, *after))
        marks |= {(number, 9 + place): 1 for place, share in enumerate(shares) if share < 1}
    premise = "the premise fails: a rate is not below 1/L, so the bound does not apply"
    lacking = [f"{one.trial_id} lacks {', '.join(one.lacking)}" for one in trials if one.lacking]
    return TextTable(
        title="Theorem 4.1 by trial, from its measured checkpoints",
        columns=(
            "trial", "variant", "L", "σ²", "f(w0)", "H", "start", "noise", "bound",
            "γ<1/L", "γ/(1−m)<1/L", "E‖g‖²", "‖∇f‖² at end",
        ),
        rows=rows,
        left=(1,),
        highlights=marks,
        footnotes=(premise,) if marks else (),
        remarks=(
            "L is local, the largest magnitude of an eigenvalue at the measured checkpoints; so is "
            "σ², of a batch. The theorem asks for bounds along the whole way, for plain SGD "
            "without momentum m, and for unclipped steps. f* is taken for 0.",
            *lacking,
        ),
    )  # fmt: skip
