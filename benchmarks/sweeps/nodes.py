"""A Ray cluster of several nodes, emulated on this machine: each has a raylet of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator

from orchestrator.execution.access import MODE, TOKEN

NODES = 8
"""Of one core each, whatever this machine has."""

OBJECTS = 80_000_000
"""Bytes of each node's object store, near the least that Ray takes."""


@contextlib.contextmanager
def emulated(nodes: int) -> Iterator[str]:
    """So many nodes beside a head that does no work; all are gone at the end.

    Call it before Ray is imported, which reads then that a token is asked for, and which.

    Args:
        nodes: Their number.

    Yields:
        The cluster's address.
    """
    os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32)}
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(
        prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        # Where Ray notes the cluster's address; elsewhere it would be taken for the user's own.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        settings = {"object_store_memory": OBJECTS, "include_dashboard": False}
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, **settings)
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, **settings)
            yield str(cluster.address)
        finally:
            cluster.shutdown()
