"""Trains one trial without Ray: `python -m workers.train SPEC.json`.

For debugging, and for GPU machines that have torch but no Ray. SPEC.json is a trial's canonical
JSON, as `nas-sweep plan EXPERIMENT --spec TRIAL` prints it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from results_schema import layout, plugins
from results_schema.errors import ConfigError, NasSweepError
from results_schema.program import read_trial
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers import signals
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

# The same codes as the commands', so that a script need not know which one has run.
_EXIT_CODES = {"spec": 2, "data": 3, "machine": 3, "store": 3, "full": 3}
"""By the kind of a failure; 1 for any other."""


def main(arguments: list[str] | None = None) -> int:
    """Train the trial, print each epoch, and return the exit code.

    It is 0 when the trial has ended, 1 when it failed or another worker has it, 2 for a bad spec, 3
    for an unfit store or machine, 130 when SIGINT, SIGTERM or SIGHUP stopped it.
    """
    parser = argparse.ArgumentParser(prog="python -m workers.train", description=__doc__)
    add = parser.add_argument
    add("spec", type=Path, help="the trial's JSON")
    where = "folder or s3://bucket/prefix of results (default: results)"
    add("--store", default=os.environ.get("NAS_SWEEP_STORE", "results"), help=where)
    add("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    seldom = "least seconds between checkpoints (default: 60)"
    add("--checkpoint-every", type=float, default=60.0, metavar="S", help=seldom)
    add("--deterministic", action="store_true", help="the same bits again on a GPU too; slower")
    add("--plugin", action="append", default=[], help="file or entry point that the trial uses")
    options = parser.parse_args(arguments)
    try:
        for name in options.plugin:
            plugins.load(name)
        spec = _read(options.spec)
        store = open_store(options.store)
        print(f"training {spec.trial_id} into {store.location}", flush=True)
        with signals.stoppable() as stop:
            outcome = train(
                spec,
                store,
                device=options.device,
                deterministic=options.deterministic,
                checkpointing=Checkpointing(every=options.checkpoint_every),
                on_epoch=lambda row: _print(row, spec.recipe.epochs),
                stop=stop,
            )
    except NasSweepError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; run it again to resume from its newest checkpoint", 130)
    if outcome.status == "stopped":
        return _fail(f"interrupted {outcome.reason}; run it again to resume from there", 130)
    if outcome.status == "failed":
        # A message that says how to fix it needs no traceback beside it.
        log = store.locate(layout.log(spec.trial_id))
        hint = "" if outcome.kind in _EXIT_CODES else f"\n  see {log}"
        return _fail(outcome.reason + hint, _EXIT_CODES.get(outcome.kind, 1))
    print(f"{outcome.status}: {outcome.reason}")
    # Divergence is a result.
    return 0 if outcome.status in ("done", "diverged") else 1


def _read(path: Path) -> TrialSpec:
    try:
        spec = read_trial(path.read_bytes())
    except OSError as error:
        raise ConfigError(error.strerror or str(error), where=str(path)) from error
    except NasSweepError as error:
        where = f"{path} {error.where}".strip()
        raise ConfigError(error.what, where=where, fix=error.fix) from error
    if not isinstance(spec, TrialSpec):
        fix = "use nas-sweep launch, which finds its source"
        raise ConfigError("this is a program's trial", where=str(path), fix=fix)
    return spec


def _print(row: dict[str, Any], epochs: int) -> None:
    losses = f"train loss {row['train_loss']:.4f}, test accuracy {row['test_accuracy']:.4f}"
    # Flushed, as whoever reads a pipe would wait for many epochs.
    print(f"epoch {row['epoch']}/{epochs}: {losses}, {row['seconds']:.2f} s", flush=True)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
