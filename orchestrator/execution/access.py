"""What must be settled before Ray is imported: its settings, and the token of a cluster.

Whoever reaches a Ray cluster that asks for no token can run code on all of its nodes.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from results_schema.errors import MachineError

TOKEN, TOKEN_PATH, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"
DEFAULT_PATH = "~/.ray/auth_token"
TIMEOUT = 5.0
"""Seconds that a head may take to answer."""

RAY_SETTINGS = {
    # Tables, tips and logs that would hide our own progress.
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
    # Relative paths stay valid, and signals are ours (`orchestrator.execution.launch`).
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # What Tune sets in its workers.
    "PL_DISABLE_FORK": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Variables of the environment that Ray and Tune read when they are imported or started."""

_WHICH = "give HOST:PORT of the cluster's head (port 6379 by default), or auto on a node"
_JOBS = "/api/jobs/"
_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""A request to Ray's head that changes nothing, and needs no token to be heard."""


class Token(NamedTuple):
    """A token, and where it was found. The value is never printed."""

    value: str
    source: str


def apply_ray_settings() -> None:
    """Put the settings of Ray in force, but for variables that the user has set."""
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def without_log_lines(level: int) -> Iterator[None]:
    """Suppress Ray's log lines up to a level inside this context."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)


def find_token() -> Token | None:
    """Return the token that Ray would use, or None."""
    # In Ray's own order: the environment's, the named file's, that of the default file.
    if value := os.environ.get(TOKEN, "").strip():
        return Token(value, f"the value of {TOKEN}")
    path = token_path()
    try:
        value = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return Token(value, f"cat {path}") if value else None


def token_path() -> Path:
    """Return the file in which Ray looks for a token."""
    return Path(os.environ.get(TOKEN_PATH) or DEFAULT_PATH).expanduser()


def disabled() -> bool:
    """Return whether the user has set that Ray asks for no token."""
    return os.environ.get(MODE, "").lower() == "disabled"


def admit(address: str | None, *, allow_open: bool = False) -> None:
    """Get ready for Ray: create a token for one that is started here, or check a cluster's.

    Args:
        address: "auto" or HOST:PORT of a running cluster, or its dashboard's URL; None if Ray is
            started on this machine.
        allow_open: Whether to join a cluster that asks for no token.

    Raises:
        MachineError: No token can be created; nothing answers at the address; or the cluster asks
            for a token that is not here, refuses the one that is, or asks for none.
    """
    if address is None:
        if not disabled():
            _ensure_token()
        return
    option, found = f"--address {address}", find_token()
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    # Without a name Ray itself finds the cluster, among this machine's processes. `cluster` checks
    # again once it is joined.
    head = named.removeprefix("ray://")
    if not (asks_for_token(head) if head else not allow_open):
        refuse_open(option, allow_open=allow_open)
        # Ray would send the token, unencrypted, to a head that has no use for it.
        os.environ[MODE] = "disabled"
        return
    fix = f"copy the head's {DEFAULT_PATH} to {token_path()}, or set {TOKEN}"
    if found is None:
        raise MachineError(
            "joining a cluster takes its token, and this machine has no token",
            where=option,
            fix=f"{fix}; --allow-open-cluster joins one that asks for none",
        )
    if head and asks_for_token(head, found.value):
        raise MachineError(f"the cluster refuses the token ({found.source})", where=option, fix=fix)
    os.environ[MODE] = "token"


def is_dashboard(address: str) -> bool:
    """Return whether an address is the URL of a cluster's dashboard, which takes jobs."""
    return address.startswith(("http://", "https://"))


def asks_for_token(head: str, token: str = "") -> bool:
    """Return whether the head of a cluster asks for a token, or for another one than is given.

    Args:
        head: HOST:PORT, or the URL of its dashboard.
        token: The token to try.

    Raises:
        MachineError: Nothing answers, or what answers is no head of a Ray cluster.
    """
    # Ray has no call to ask this before it is joined, and tries for two minutes to join nothing.
    if is_dashboard(head):
        return _dashboard_asks(head, token)
    import grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(head) as channel:
        try:
            channel.unary_unary(_CHECK_ALIVE)(b"", timeout=TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return True
            what = f"no head of a Ray cluster answers there ({code.name}: {error.details()})"
            raise MachineError(what, where=f"--address {head}", fix=_WHICH) from error
    return False


def _dashboard_asks(url: str, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}{_JOBS}", headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found = answer.headers.get_content_type()
        # Any web server answers something: only Ray's answers JSON here.
        if found == "application/json":
            return False
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return True
        found = f"HTTP {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        found = str(error)
    what = f"no Ray dashboard answers there ({found})"
    raise MachineError(what, where=f"--address {url}", fix=_WHICH)


def refuse_open(option: str, *, allow_open: bool) -> None:
    """Raise MachineError for a cluster that asks for no token, unless the user allows it."""
    if not allow_open:
        raise MachineError(
            "the cluster asks for no token: whoever reaches it can run code on every node",
            where=option,
            fix=f"start all of its nodes with {MODE}=token (docs: SECURITY.md), "
            "or add --allow-open-cluster on a network that you trust",
        )


def _ensure_token() -> None:
    """Create a token unless one exists, which no other user of this machine can read."""
    path = token_path()
    if find_token() is not None:
        if TOKEN_PATH not in os.environ and TOKEN not in os.environ:
            # Ray leaves a token that it created readable by every user of the machine.
            with contextlib.suppress(OSError):
                path.chmod(0o600)
        return
    staged = path.with_name(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            # A link, which fails if the name is taken: of two launches the second uses the first
            # one's, and never half a file.
            with contextlib.suppress(FileExistsError):
                os.link(staged, path)
        finally:
            staged.unlink()
    except OSError as error:
        raise MachineError(
            f"no token can be kept: {error.strerror or error}",
            where=str(path),
            fix=f"set {TOKEN_PATH} to a file of your own, or {TOKEN} to a long random text",
        ) from error
