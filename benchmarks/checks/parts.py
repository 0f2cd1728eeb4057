"""The parts of the check, in the order in which they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch

from benchmarks.loops.kinds import builders
from benchmarks.loops.setting import Setting
from benchmarks.measures import graphs
from benchmarks.measures.ceilings import Ceilings, measure_ceilings
from benchmarks.measures.contest import Contest, described
from benchmarks.measures.gradients import (
    SHAPES,
    Difference,
    check_native_average_pool,
    check_operations,
)
from benchmarks.measures.tables import table
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe

IMAGES = 50_000
"""Of CIFAR-10's shape, that an epoch of the training benchmark has."""

ROUNDS = 5
PACKS = (2, 4)


class Outcome(NamedTuple):
    """Of a part: whether it passed, what it found in Markdown, and the same as numbers."""

    passed: bool
    text: str
    numbers: Any


@dataclass(frozen=True)
class Scale:
    """How large a check is.

    Attributes:
        device: That is checked.
        dry: Whether to see only that it runs.
        until: Of `time.perf_counter`, after which no further round of training is begun.
    """

    device: torch.device
    dry: bool
    until: float

    @cached_property
    def ceilings(self) -> Ceilings:
        """Measured once."""
        return measure_ceilings(self.device, tiny=self.dry)

    @property
    def setting(self) -> Setting:
        """What is trained: the paper's network, or the smallest."""
        if not self.dry:
            return Setting(self.device, dataset=f"synthetic_{IMAGES}x3x32_10")
        return Setting(
            self.device,
            dataset="synthetic_24x3x8_10",
            size=NetworkSpec(cells=3, channels=2),
            recipe=Recipe(batch_size=6),
        )

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that the device has."""
        return tuple(p for p in PRECISIONS if p != "tf32" or self.device.type == "cuda")


def ceilings(scale: Scale) -> Outcome:
    """What the machine can do at best."""
    found = scale.ceilings
    rows = [["copy, read and written", f"{found.copy / 1e9:,.1f} GB/s"]]
    rows += [
        [f"matrix product, {precision}", f"{rate / 1e12:,.2f} TFLOP/s"]
        for precision, rate in found.matmul.items()
    ]
    fine = all(math.isfinite(rate) and rate > 0 for rate in (found.copy, *found.matmul.values()))
    return Outcome(fine, table(("ceiling", "measured"), rows), asdict(found))


def gradients(scale: Scale) -> Outcome:
    """Each operation against float64."""
    shapes = ((8, 8),) if scale.dry else SHAPES
    found = list(check_operations(scale.device, shapes=shapes))
    wrong = [one for one in found if not one.sound]
    native = list(check_native_average_pool(scale.device, shapes=shapes))
    lines = [_worst(found), *(f"- WRONG: {_described(one)}" for one in wrong)]
    broken = [one for one in native if not one.sound]
    said = f"wrong, {_described(broken[0])}; the project's own avoids it" if broken else "right"
    lines.append(f"\ntorch's own `avg_pool2d` with padding, channels last: {said}.")
    numbers = {"operations": [asdict(d) for d in found], "native": [asdict(d) for d in native]}
    return Outcome(not wrong, "\n".join(lines), numbers)


def forms(scale: Scale) -> Outcome:
    """Graph against eager."""
    graphed = scale.device.type == "cuda"
    form = "graphed" if graphed else "fixed"
    found = [
        apart
        for precision in scale.precisions
        for apart in graphs.compare_forms(scale.setting, precision, form)
    ]
    lead = "" if graphed else "A CPU has no graphs: steps on fixed tensors beside eager ones.\n\n"
    return _compared(found, lead)


def packed(scale: Scale) -> Outcome:
    """Packed against alone."""
    return _compared(
        [
            apart
            for precision in scale.precisions
            for apart in graphs.compare_packed(scale.setting, precision, 3)
        ]
    )


def training(scale: Scale) -> Outcome:
    """The training benchmark."""
    setting = scale.setting
    precisions, packs = (["fp32"], (2,)) if scale.dry else (["bf16"], PACKS)
    contest = Contest(setting, builders(precisions, packs), scale.ceilings.copy, say=_silent)
    standings = contest.run(1 if scale.dry else ROUNDS, scale.until)
    passed = all(one.speed for one in standings)
    return Outcome(passed, described(setting, standings), [asdict(one) for one in standings])


PARTS: dict[str, Callable[[Scale], Outcome]] = {
    "ceilings": ceilings,
    "gradients": gradients,
    "graph-against-eager": forms,
    "packed-against-alone": packed,
    "training": training,
}


def _compared(found: Sequence[graphs.Apart], lead: str = "") -> Outcome:
    passed = all(one.sound for one in found)
    text = lead + table(graphs.HEADER, graphs.rows(found))
    return Outcome(passed, text, [asdict(one) for one in found])


def _worst(found: Iterable[Difference]) -> str:
    """The largest distance of each operation, by precision and layout."""
    largest: dict[str, dict[str, float]] = {}
    for one in found:
        column = f"{one.precision}, {one.layout}"
        row = largest.setdefault(one.operation, {})
        row[column] = max(row.get(column, 0.0), one.distance, key=_nan_last)
    columns = list(next(iter(largest.values())))
    rows = [[name, *(f"{row[column]:.1e}" for column in columns)] for name, row in largest.items()]
    return table(("operation", *columns), rows)


def _nan_last(distance: float) -> float:
    return math.inf if math.isnan(distance) else distance


def _described(one: Difference) -> str:
    return (
        f"{one.operation}, stride {one.stride}, {one.layout}, {one.precision}, "
        f"{one.channels}×{one.size}×{one.size}: {one.distance:.1e}"
    )


def _silent(line: str) -> None:
    del line
