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

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.figures.evidence import AS_FULL_ERROR, counted_accuracy, diverged_note
from orchestrator.figures.members import name_datasets
from orchestrator.output.tables import TextTable
from orchestrator.output.text import NO_NUMBER, fixed, signed
from orchestrator.paper.printed import (
    TABLE_1_ERRORS,
    TABLE_1_PARAMETERS,
    TITLES,
    paper_parameters,
)
from results_schema.errors import ConfigError
from results_schema.results import axes_of
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

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Error as printed and ours, parameters as printed and counted; NaN for None."""
        found = self.printed_error, self.error, self.printed_parameters, self.parameters
        return np.array(found, dtype=float)

    def record(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        more = _minus(self.parameters, self.printed_parameters)
        return asdict(self) | {"difference": self.difference, "parameters_difference": more}


def errors_data(trials: pd.DataFrame) -> list[Entry]:
    """Return the entries, in the experiment's order.

    Args:
        trials: As `Results.trials(experiment)` returns them.

    Raises:
        ConfigError: There are no trials, or several learning rates or values of an axis.
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
    if axes := list(axes_of(trials).values()):
        raise ConfigError(
            f"the table of errors can show one value of {axes[0]}, not several",
            fix="give it an experiment of one value",
        )
    keys = ["base", "index", "named_dataset", "dataset"]
    groups: Any = trials.groupby(keys, sort=False)
    found = []
    for (base, index, named_dataset, dataset), group in groups:
        ends = zip(group["status"], group["test_accuracy"], strict=True)
        cell = f"{base} C{index}" if index else str(base)
        found.append(_entry(cell, str(named_dataset), str(dataset), list(ends)))
    return found


def printed_errors() -> list[Entry]:
    """Return the entries of the cells that the paper's table has, without a measurement."""
    return [_entry(cell, name, name, []) for cell in TABLE_1_ERRORS for name in TITLES]


def errors_sheet(entries: Sequence[Entry]) -> TextTable:
    """Return a row to a cell, then the adapted cells' gain or loss over the original ones.

    Our errors have columns if there are trials.
    """
    datasets = list(dict.fromkeys(entry.named_dataset for entry in entries))
    cells = list(dict.fromkeys(entry.cell for entry in entries))
    found = {(entry.cell, entry.named_dataset): entry for entry in entries}
    lines = [[cell, *(_texts(found.get((cell, d))) for d in datasets)] for cell in cells]
    bases = [base for base in cells if f"{base}_ADAPT" in cells]
    gains = {
        base: [_gain(found.get((base, d)), found.get((f"{base}_ADAPT", d))) for d in datasets]
        for base in bases
    }
    if len(bases) > 1:
        means = pd.DataFrame([np.concatenate(gain) for gain in gains.values()]).mean()
        gains[f"mean of {len(bases)}"] = np.split(means.to_numpy(), len(datasets))
    lines += [
        [f"{base}: adapted − original", *map(_gain_texts, gain)] for base, gain in gains.items()
    ]
    measured = any(entry.done + entry.diverged + entry.missing for entry in entries)
    heads = ("paper, %", "ours, %", "difference", "paper, 10⁶", "counted, 10⁶")
    shown = [n for n in range(len(heads)) if measured or n not in (1, 2)]
    return TextTable(
        "Table 1: test errors and parameters of original and adapted cells",
        ["cell", *(f"{TITLES.get(d, d)}\n{heads[n]}" for d in datasets for n in shown)],
        [[name, *(texts[n] for texts in parts for n in shown)] for name, *parts in lines],
        remarks=_remarks(entries, measured=measured),
    )


def _entry(cell: str, named_dataset: str, dataset: str, ends: Sequence[tuple[Any, float]]) -> Entry:
    """Return the entry of trials that ended with these statuses and accuracies."""
    counted = [counted_accuracy(*end) for end in ends]
    errors = [100 * (1 - accuracy) for accuracy in counted if not math.isnan(accuracy)]
    diverged = sum(status == "diverged" for status, _ in ends)
    printed_error = printed_parameters = parameters = live = None
    if named_dataset in TITLES and cell in TABLE_1_ERRORS:
        place = list(TITLES).index(named_dataset)
        printed_error = float(TABLE_1_ERRORS[cell][place])
        printed_parameters = float(TABLE_1_PARAMETERS[cell][place])
        parameters, live = (
            round(paper_parameters(named(cell), named_dataset, auxiliary=True, live=only) / 1e6, 2)
            for only in (False, True)
        )
    return Entry(
        cell=cell,
        named_dataset=named_dataset,
        dataset=dataset,
        printed_error=printed_error,
        error=statistics.fmean(errors) if errors else None,
        deviation=statistics.stdev(errors) if len(errors) > 1 else None,
        done=len(errors) - diverged,
        diverged=diverged,
        missing=len(ends) - len(errors),
        printed_parameters=printed_parameters,
        parameters=parameters,
        live_parameters=live,
    )


def _texts(entry: Entry | None) -> list[str]:
    if entry is None:
        return [NO_NUMBER] * 5
    spread = f" ± {entry.deviation:.2f}" if entry.deviation is not None else ""
    lost = f" ({entry.diverged} diverged)" if entry.diverged else ""
    return [
        fixed(entry.printed_error),
        fixed(entry.error) + spread + lost,
        signed(entry.difference),
        fixed(entry.printed_parameters),
        fixed(entry.parameters),
    ]


def _gain(base: Entry | None, adapted: Entry | None) -> NDArray[np.float64]:
    """Return what the adapted cell has more, of `Entry.numbers`; NaN where one lacks a number."""
    if base is None or adapted is None:
        return np.full(4, np.nan)
    return np.round(adapted.numbers - base.numbers, 10)


def _gain_texts(gain: NDArray[np.float64]) -> list[str]:
    paper, ours, paper_size, size = gain.tolist()
    difference = round(ours - paper, 10)
    return [signed(number) for number in (paper, ours, difference, paper_size, size)]


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one - other, 10)


def _remarks(entries: Sequence[Entry], *, measured: bool) -> list[str]:
    errors = "Errors are of the test set after the last epoch; the paper's are of one run each. "
    counted = "Parameters are counted with the auxiliary head at 20 cells and 36 channels."
    remarks = [errors * measured + counted]
    compared = [entry for entry in entries if entry.printed_parameters is not None]
    agreed = sum(entry.printed_parameters == entry.parameters for entry in compared)
    if compared:
        remarks.append(f"{agreed} of {len(compared)} numbers of parameters are as printed.")
    replaced = [e for e in entries if e.dataset != e.named_dataset]
    if replaced:
        names = name_datasets((e.named_dataset, e.dataset) for e in replaced)
        remarks.append(f"Trained on {names}: not a test of the paper's claim.")
    diverged, done = (sum(getattr(e, name) for e in entries) for name in ("diverged", "done"))
    if diverged + done:
        remarks.append(diverged_note(diverged, diverged + done, AS_FULL_ERROR))
    if missing := sum(entry.missing for entry in entries):
        remarks.append(f"Trials without a result: {missing}.")
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
