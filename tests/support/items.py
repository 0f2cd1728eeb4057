"""Items as a launch sends them to its workers."""

from __future__ import annotations

from typing import Any

from orchestrator.execution.trainable import own_versions
from results_schema.program import Trial


def sent(store: str, /, *pack: Trial, token: str = "t", **settings: Any) -> dict[str, Any]:
    """Trials to train on the CPU in one process, each epoch told at once.

    Args:
        store: Its location.
        pack: The trials.
        token: That the queue gave with the item.
        settings: Those that are to differ.
    """
    common = {
        "store": store,
        "launch": "now",
        "device": "cpu",
        "deterministic": False,
        "checkpoint_every": 1e9,
        "checkpoint_at": [],
        "versions": own_versions(),
        "plugins": [],
        "programs": [],
        "report_every": 0.0,
        "gpus_per_trial": 1.0,
        "gpus_per_surface": 1.0,
    }
    return {
        "token": token,
        "names": [spec.trial_id for spec in pack],
        "specs": [spec.to_json() for spec in pack],
        "until": [None for spec in pack],
        "settings": common | settings,
    }
