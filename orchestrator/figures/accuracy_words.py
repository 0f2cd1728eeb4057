"""The words around Figure 9: its subtitle, its notes and what each mark says under the mouse."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.figures.accuracy import AccuracyByIndex, Point, Run
from orchestrator.figures.evidence import AS_ZERO, diverged_note
from orchestrator.figures.members import name_datasets
from orchestrator.figures.style import escape


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
    if ended := len(done | diverged):
        said.append(diverged_note(len(diverged), ended, AS_ZERO))
    for without, wanted in (
        ("has no result", lambda panel, accuracy: math.isnan(accuracy)),
        ("is below the panel's range", lambda panel, accuracy: accuracy < panel.low),
    ):
        bases = dict.fromkeys(
            panel.base
            for panel in data.panels
            if any(wanted(panel, line.base_accuracy) for line in panel.series)
        )
        if bases:
            said.append(f"No dashed line where the base {without}: {', '.join(bases)}.")
    if any(panel.has_below or panel.has_above for panel in data.panels):
        said.append("Grey strips: beyond the panel's range.")
    return " ".join(said)


def hover_point(point: Point) -> str:
    """All about one cell; its trial id if it has one seed, else how the seeds spread."""
    if len(point.ended) == 1:
        return _hover(point, f"accuracy {point.mean:.2f} %", point.ended[0].trial_id)
    spread = f"mean accuracy {point.mean:.2f} ± {point.deviation:.2f} %"
    each = ", ".join(f"{run.accuracy:.2f}" for run in point.ended)
    return _hover(point, spread, f"{len(point.ended)} seeds: {each}")


def hover_run(point: Point, run: Run) -> str:
    """All about one trial of a cell."""
    accuracy = f"accuracy {run.last:.2f} %" if run.last >= 0 else "no accuracy"
    if run in point.diverged:
        accuracy = f"diverged, {AS_ZERO} ({accuracy} after its last epoch)"
    return _hover(point, f"{accuracy}, seed {run.seed}", run.trial_id)


def _hover(point: Point, accuracy: str, last: str) -> str:
    size = [] if point.parameters is None else [f"{point.parameters:,} parameters"]
    lines = [f"index {point.index}, width {point.width:g}c, depth {point.depth}", accuracy, *size]
    return "<br>".join([f"<b>{escape(point.variant)}</b>", *lines, escape(last)])


def _ids(runs: Iterable[tuple[Run, ...]]) -> set[str]:
    return {run.trial_id for some in runs for run in some}
