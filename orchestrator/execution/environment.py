"""Settings that Ray and Tune read from the environment, when they are imported or started."""

from __future__ import annotations

import os

SETTINGS = {
    # Tables, tips and logs that would drown our own progress.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Traceback",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Files that nobody reads: what counts is in the store.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # A busy machine takes longer than Ray's minute to start the dashboard.
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
    # After Ray has ended, a thread that still calls it must not start another one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Under `uv run`, Ray would upload the current folder and start every worker by `uv run` again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Paths stay what they are, and signals are ours (`orchestrator.execution.interrupt`).
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def prepare() -> None:
    """Puts the settings in force; call it before Ray is imported. What a user has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
