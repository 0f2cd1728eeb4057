"""The words around Figure 9: its subtitle, its notes and what each mark says under the mouse."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.figures.accuracy import AccuracyByIndex, Point, Run
from orchestrator.figures.style import escape
from orchestrator.figures.words import name_datasets


def subtitle(data: AccuracyByIndex) -> str:
    """The data sets, stand-ins named as such, and the learning rate where there is one."""
    datasets = name_datasets((panel.named_dataset, panel.dataset) for panel in data.panels)
    rates = data.learning_rates
    return datasets + (f"; learning rate {rates[0]:g}" if len(rates) == 1 else "")


def note(data: AccuracyByIndex) -> str:
    """What a reader must know to trust the picture."""
    points = data.points
    done, diverged = _ids(p.done for p in points), _ids(p.diverged for p in points)
    missing = {trial_id for point in points for trial_id in point.missing}
    total = len(done | diverged | missing)
    several = data.most_seeds > 1
    said = []
    if several:
        said.append(
            f"Large marks are means over up to {data.most_seeds} seeds (small marks); "
            "whiskers: ± one standard deviation."
        )
    if missing:
        place = "left out" if several else "gaps"
        said.append(f"No result ({place}): {len(missing)} of {total} trials.")
    if diverged:
        place = " (in no mean)" if several else ""
        said.append(f"Diverged{place}: {len(diverged)} of {total} trials.")
    bare = dict.fromkeys(
        panel.base
        for panel in data.panels
        if any(math.isnan(line.base_accuracy) for line in panel.series)
    )
    if bare:
        said.append(f"No dashed line where the base has no result: {', '.join(bare)}.")
    if any(panel.has_below or panel.has_above for panel in data.panels):
        said.append("Grey strips: beyond the panel's range.")
    return " ".join(said)


def hover_point(point: Point) -> str:
    """All about one cell; its trial id if it has one seed, else how the seeds spread."""
    if len(point.done) == 1:
        return _hover(point, f"accuracy {point.mean:.2f} %", point.done[0].trial_id)
    spread = f"mean accuracy {point.mean:.2f} ± {point.deviation:.2f} %"
    each = ", ".join(f"{run.accuracy:.2f}" for run in point.done)
    return _hover(point, spread, f"{len(point.done)} seeds: {each}")


def hover_run(point: Point, run: Run) -> str:
    """All about one trial of a cell."""
    status = "diverged at " if run in point.diverged else ""
    accuracy = f"accuracy {run.accuracy:.2f} %" if run.accuracy >= 0 else "no accuracy"
    return _hover(point, f"{status}{accuracy}, seed {run.seed}", run.trial_id)


def _hover(point: Point, accuracy: str, last: str) -> str:
    size = [] if point.parameters is None else [f"{point.parameters:,} parameters"]
    lines = [f"index {point.index}, width {point.width:g}c, depth {point.depth}", accuracy, *size]
    return "<br>".join([f"<b>{escape(point.variant)}</b>", *lines, escape(last)])


def _ids(runs: Iterable[tuple[Run, ...]]) -> set[str]:
    return {run.trial_id for some in runs for run in some}
