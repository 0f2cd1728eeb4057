"""Where the processor time of a laptop trial goes: a process that trains one, from its start.

    python benchmarks/laptop.py [--genotype DARTS] [--epochs 6] [--trials 3]

Processor time at one thread, which other programs don't count towards. The first trial bears what a
process does once; the table is of the mean of those after it, as a sweep's workers train many.
"""

from __future__ import annotations

import time

STARTED = time.process_time()

import argparse  # noqa: E402
import tempfile  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

TORCH = time.process_time()

from results_schema.store import open_store  # noqa: E402
from results_schema.trial import NetworkSpec, Recipe, TrialSpec  # noqa: E402
from workers.cells.bases import named  # noqa: E402
from workers.data.catalog import describe  # noqa: E402
from workers.training import device, setup, trial  # noqa: E402
from workers.training.attempt import ItemLog  # noqa: E402
from workers.training.checkpoint import History  # noqa: E402
from workers.training.engine import Engine  # noqa: E402

IMPORTED = time.process_time()

Spent = dict[str, float]


class Account:
    """Seconds by part; what a part calls that is a part itself counts there alone."""

    def __init__(self) -> None:
        self.spent: Spent = defaultdict(float)
        self._inner = 0.0

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Counts every call of a function or method from now on."""
        function: Callable[..., Any] = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.process_time() - start
                self.spent[part] += taken - self._inner
                self._inner = outer + taken

        setattr(owner, name, watched)


def main() -> None:
    """Trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotype", default="DARTS")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--trials", type=int, default=3)
    options = parser.parse_args()
    account = Account()
    account.watch(setup, "load", "data set")
    account.watch(setup, "build_network", "network")
    account.watch(device, "provenance", "provenance")
    account.watch(trial, "count_attempt", "store: attempt")
    account.watch(Engine, "__init__", "network")
    account.watch(torch.Tensor, "backward", "backward pass")
    account.watch(Engine, "train_epoch", "forward pass, descent and batches")
    account.watch(Engine, "evaluate", "evaluation")
    account.watch(Engine, "take_snapshot", "snapshot of the state")
    account.watch(History, "add", "store: rows of an epoch")
    account.watch(History, "commit", "store: checkpoint")
    account.watch(ItemLog, "flush", "store: log")
    account.watch(trial, "training_batches", "forward pass, descent and batches")
    rounds = [
        _trial(options.genotype, options.epochs, seed, account) for seed in range(options.trials)
    ]
    print(f"starts with importing torch {TORCH - STARTED:.2f} s, the rest {IMPORTED - TORCH:.2f} s")
    first, others = rounds[0], rounds[1:] or rounds
    print(f"first trial {sum(first.values()):.2f} s; a later one, of {options.epochs} epochs:")
    parts = {part: sum(one[part] for one in others) / len(others) for part in first}
    whole = sum(parts.values())
    for part, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"{part:36} {seconds:8.3f} s  {100 * seconds / whole:5.1f} %")
    print(f"{'together':36} {whole:8.3f} s")


def _trial(genotype: str, epochs: int, seed: int, account: Account) -> Spent:
    spec = TrialSpec(
        genotype=named(genotype),
        dataset="digits",
        preprocessing=describe("digits").preprocessing,
        network=NetworkSpec(cells=5, channels=4),
        recipe=Recipe(epochs=epochs),
        learning_rate=0.025,
        seed=seed,
    )
    account.spent.clear()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        start = time.process_time()
        outcome = trial.train(spec, store, device="cpu")
        whole = time.process_time() - start
    assert outcome.status == "done", outcome
    parts = dict(account.spent)
    return {**parts, "the rest": whole - sum(parts.values())}


if __name__ == "__main__":
    main()
