"""Table 1: test errors and sizes of original and adapted cells, the paper's beside ours.

The paper claims that adapted cells, the widest and shallowest of their space, have lower errors on
CIFAR-100 and mostly higher ones on CIFAR-10 and Tiny-ImageNet, at comparable sizes (Section 5).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.figures.evidence import AS_FULL_ERROR, counted_accuracy, diverged_note
from orchestrator.figures.members import name_datasets
from orchestrator.output.tables import TextTable
from orchestrator.output.text import NO_NUMBER, fixed, signed
from orchestrator.paper import printed
from orchestrator.paper.printed import paper_parameters
from results_schema.errors import ConfigError
from workers.cells.bases import named


@dataclass(frozen=True)
class Entry:
    """One cell on one data set.

    Attributes:
        cell: The base's name, and the index of a variant.
        named_dataset: The data set that the experiment names.
        dataset: The one trained on.
        printed_error: The paper's, in %; None if it has none.
        error: Mean over the seeds that ended, in %, diverged ones as
            `orchestrator.figures.evidence` counts them; None while no seed has ended.
        deviation: Standard deviation over the same (n − 1), in points of a percent; None for n < 2.
        done: How many seeds ended well.
        diverged: How many diverged.
        missing: How many have no result.
        printed_parameters: The paper's, in 10⁶; None if it has none.
        parameters: Of the paper's network of 20 cells and 36 channels with its auxiliary head,
            counted, in 10⁶; None for a cell or a data set that the paper does not print.
        live_parameters: Those of them on a path to the output, in 10⁶; None likewise.
    """

    cell: str
    named_dataset: str
    dataset: str
    printed_error: float | None
    error: float | None
    deviation: float | None
    done: int
    diverged: int
    missing: int
    printed_parameters: float | None
    parameters: float | None
    live_parameters: float | None

    @property
    def difference(self) -> float | None:
        """Our error minus the paper's, in points of a percent."""
        return _minus(self.error, self.printed_error)

    def record(self) -> dict[str, Any]:
        """The entry as plain data."""
        more = _minus(self.parameters, self.printed_parameters)
        return asdict(self) | {"difference": self.difference, "parameters_difference": more}


def errors_data(trials: pd.DataFrame) -> list[Entry]:
    """The entries, in the experiment's order.

    Args:
        trials: As `Results.trials(experiment)` returns them.

    Raises:
        ConfigError: There are no trials, or several learning rates.
    """
    if trials.empty:
        raise ConfigError("the table of errors has no trials to show", fix="name a data set")
    rates = sorted(set(trials["learning_rate"]))
    if len(rates) > 1:
        listed = ", ".join(f"{rate:g}" for rate in rates)
        raise ConfigError(
            f"the table of errors can show one learning rate, not {listed}",
            fix="give it an experiment of one rate",
        )
    keys = ["base", "index", "named_dataset", "dataset"]
    groups: Any = trials.groupby(keys, sort=False)
    return [
        _entry(f"{base} C{index}" if index else str(base), str(named), str(used), group)
        for (base, index, named, used), group in groups
    ]


def errors_sheet(entries: Sequence[Entry]) -> TextTable:
    """A row to a cell, then the adapted cells' gain or loss over the original ones."""
    datasets = list(dict.fromkeys(entry.named_dataset for entry in entries))
    cells = list(dict.fromkeys(entry.cell for entry in entries))
    found = {(entry.cell, entry.named_dataset): entry for entry in entries}
    rows = [[cell, *_texts([found.get((cell, d)) for d in datasets])] for cell in cells]
    pairs = [(base, f"{base}_ADAPT") for base in cells if f"{base}_ADAPT" in cells]
    gains = {
        (base, dataset): _gain(found.get((base, dataset)), found.get((adapted, dataset)))
        for base, adapted in pairs
        for dataset in datasets
    }
    rows += [
        [f"{base}: adapted − original", *_gain_texts([gains[base, d] for d in datasets])]
        for base, _ in pairs
    ]
    if len(pairs) > 1:
        means = [_mean([gains[base, d] for base, _ in pairs]) for d in datasets]
        rows.append([f"mean of {len(pairs)}: adapted − original", *_gain_texts(means)])
    heads = ("paper, %", "ours, %", "difference", "paper, 10⁶", "counted, 10⁶")
    columns = [
        f"{printed.TITLES.get(dataset, dataset)}\n{head}" for dataset in datasets for head in heads
    ]
    return TextTable(
        "Table 1: test errors and parameters of original and adapted cells",
        ["cell", *columns],
        rows,
        remarks=_remarks(entries),
    )


def _entry(cell: str, named_dataset: str, dataset: str, trials: pd.DataFrame) -> Entry:
    ends = list(zip(trials["status"], trials["test_accuracy"], strict=True))
    counted = [counted_accuracy(status, accuracy) for status, accuracy in ends]
    errors = [100 * (1 - accuracy) for accuracy in counted if not math.isnan(accuracy)]
    title = printed.TITLES.get(named_dataset, "")
    place = printed.DATASETS.index(title) if title and cell in printed.TABLE_1_ERRORS else None
    diverged = sum(status == "diverged" for status, _ in ends)
    return Entry(
        cell=cell,
        named_dataset=named_dataset,
        dataset=dataset,
        printed_error=None if place is None else float(printed.TABLE_1_ERRORS[cell][place]),
        error=statistics.fmean(errors) if errors else None,
        deviation=statistics.stdev(errors) if len(errors) > 1 else None,
        done=len(errors) - diverged,
        diverged=diverged,
        missing=len(trials) - len(errors),
        printed_parameters=None
        if place is None
        else float(printed.TABLE_1_PARAMETERS[cell][place]),
        parameters=None if place is None else _counted(cell, named_dataset),
        live_parameters=None if place is None else _counted(cell, named_dataset, live=True),
    )


def _counted(cell: str, dataset: str, *, live: bool = False) -> float:
    count = paper_parameters(named(cell), dataset, auxiliary=True, live=live)
    return round(count / 1e6, 2)


def _texts(entries: Sequence[Entry | None]) -> list[str]:
    texts = []
    for entry in entries:
        if entry is None:
            texts += [NO_NUMBER] * 5
            continue
        spread = f" ± {entry.deviation:.2f}" if entry.deviation is not None else ""
        lost = f" ({entry.diverged} diverged)" if entry.diverged else ""
        texts += [
            fixed(entry.printed_error),
            fixed(entry.error) + spread + lost,
            signed(entry.difference),
            fixed(entry.printed_parameters),
            fixed(entry.parameters),
        ]
    return texts


Gain = tuple[float | None, float | None, float | None, float | None]
"""Adapted minus original: error as printed and ours, parameters as printed and counted."""


def _gain(base: Entry | None, adapted: Entry | None) -> Gain:
    if base is None or adapted is None:
        return None, None, None, None
    return (
        _minus(adapted.printed_error, base.printed_error),
        _minus(adapted.error, base.error),
        _minus(adapted.printed_parameters, base.printed_parameters),
        _minus(adapted.parameters, base.parameters),
    )


def _gain_texts(gains: Sequence[Gain]) -> list[str]:
    texts = []
    for paper, ours, paper_size, size in gains:
        difference = signed(_minus(ours, paper))
        texts += [signed(paper), signed(ours), difference, signed(paper_size), signed(size)]
    return texts


def _mean(gains: Sequence[Gain]) -> Gain:
    columns = [[g for g in column if g is not None] for column in zip(*gains, strict=True)]
    paper, ours, paper_size, size = (math.fsum(c) / len(c) if c else None for c in columns)
    return paper, ours, paper_size, size


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one - other, 10)


def _remarks(entries: Sequence[Entry]) -> list[str]:
    remarks = [
        "Errors are of the test set after the last epoch; the paper's are of one run each."
        " Parameters are counted with the auxiliary head at 20 cells and 36 channels."
    ]
    replaced = [e for e in entries if e.dataset != e.named_dataset]
    if replaced:
        names = name_datasets((e.named_dataset, e.dataset) for e in replaced)
        remarks.append(f"Trained on {names}: not a test of the paper's claim.")
    diverged, done = (sum(getattr(e, name) for e in entries) for name in ("diverged", "done"))
    if diverged + done:
        remarks.append(diverged_note(diverged, diverged + done, AS_FULL_ERROR))
    if missing := sum(entry.missing for entry in entries):
        remarks.append(f"{missing} trials have no result.")
    dead: dict[str, str] = {}
    for entry in entries:
        if entry.live_parameters != entry.parameters:
            live, every = fixed(entry.live_parameters), fixed(entry.parameters)
            dead.setdefault(entry.cell, f"{entry.cell} {live} of {every} on {entry.named_dataset}")
    if dead:
        remarks.append(
            "Adapted cells kept their lists of concatenated nodes, so that some of their nodes are"
            f" dead. Parameters that are not, in 10⁶: {', '.join(dead.values())}."
        )
    return remarks
