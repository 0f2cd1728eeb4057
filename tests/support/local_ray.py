"""Ray started in the process of the tests, for what needs no command line."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import pytest
import ray


@contextlib.contextmanager
def local_ray(cpus: int, gpus: int = 0) -> Iterator[None]:
    """Ray on one node with so many CPUs and GPUs, in name alone, for as long as this lasts."""
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder,  # sockets' paths are short
        pytest.MonkeyPatch.context() as patch,
    ):
        # Under `uv run pytest`, workers would be started by uv from a copy of the folder.
        patch.setattr("ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV", False)
        ray.init(
            "local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
            object_store_memory=100_000_000, _temp_dir=folder,
        )  # fmt: skip
        try:
            yield
        finally:
            ray.shutdown()
