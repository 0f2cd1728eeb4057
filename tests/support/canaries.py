"""Invented credentials under the names that programs look for, and a search for them in files."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

CANARY = "canary-4f1c9a7e2b"
NAMES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"),
    *("AZURE_CLIENT_SECRET", "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING"),
    *("GOOGLE_API_KEY", "GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "COMET_API_KEY"),
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("NEPTUNE_API_TOKEN", "OPENAI_API_KEY", "KAGGLE_KEY"),
    *("GITHUB_TOKEN", "GH_TOKEN", "UV_PUBLISH_TOKEN", "TWINE_PASSWORD"),
    *("PASSWORD", "PGPASSWORD", "DATABASE_URL", "RAY_REDIS_PASSWORD", "CANARY"),
)
SECRETS = {name: f"{CANARY}-{name.lower()}" for name in NAMES} | {
    "RAY_AUTH_TOKEN": f"{CANARY}-ray_auth_token-{'5e' * 16}",
    "RAY_AUTH_MODE": "token",
}
"""An environment; each value names its variable."""


def hits(folder: Path) -> Iterator[str]:
    """The files that hold a canary; tables are searched decoded too."""
    for path in regular_files(folder):
        text = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text += f"{table.to_pylist()} {table.schema}".encode()
        if CANARY.encode() in text:
            yield str(path)


def regular_files(folder: Path) -> Iterator[Path]:
    """Everything below a folder that can be read: no sockets, no links."""
    for path in folder.rglob("*"):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except FileNotFoundError:
            continue
