"""Who may reach a Ray cluster: the token that it asks for, and whether it asks at all.

Whoever reaches a Ray cluster that asks for no token runs code on all of its nodes. Call `admit`
before Ray is imported: it decides on settings that Ray reads then.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from results_schema.errors import MachineError

TOKEN, TOKEN_PATH, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"
DEFAULT = "~/.ray/auth_token"

PATIENCE = 5.0
"""Seconds that a head may take to answer."""

_WHICH = "give HOST:PORT of the cluster's head (port 6379 by default), or auto on a node"
_JOBS = "/api/jobs/"
_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""A question to Ray's head that changes nothing; an empty message asks about no node."""


class Token(NamedTuple):
    """A token, and where it was found: never print the value."""

    value: str
    source: str


def token() -> Token | None:
    """The token that Ray would take: of the environment, of the named file, or of its own."""
    if value := os.environ.get(TOKEN, "").strip():
        return Token(value, f"the value of {TOKEN}")
    path = token_path()
    try:
        value = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return Token(value, f"cat {path}") if value else None


def token_path() -> Path:
    """The file in which Ray looks for a token."""
    return Path(os.environ.get(TOKEN_PATH) or DEFAULT).expanduser()


def disabled() -> bool:
    """Whether the user has said that Ray is to ask for no token."""
    return os.environ.get(MODE, "").lower() == "disabled"


def admit(address: str | None, *, allow_open: bool = False) -> None:
    """Makes ready for Ray: a token for one that is started here, or that of a running cluster.

    Args:
        address: "auto" or HOST:PORT of a running cluster, or its dashboard's URL; None if Ray is
            started on this machine.
        allow_open: Whether to join a cluster that asks for no token.

    Raises:
        MachineError: No token can be made; nothing answers at the address; or the cluster asks for
            a token that is not here, refuses the one that is, or asks for none.
    """
    if address is None:
        if not disabled():
            _keep()
        return
    told, found = f"--address {address}", token()
    if head := _head(address):
        check_listening(head, told)
        asked = asks(head)
    else:
        asked = not allow_open  # Ray looks for it among this machine's processes
    if not asked:
        refuse_open(told, allow_open=allow_open)
        os.environ[MODE] = "disabled"  # a token must not be told to whoever asks for none
        return
    if found is None:
        raise MachineError(
            "joining a cluster takes its token, and there is none here",
            where=told,
            fix=f"copy the head's {DEFAULT} to {token_path()}, or set {TOKEN}; "
            "--allow-open-cluster joins one that asks for none",
        )
    if head and asks(head, found.value):
        raise MachineError(
            f"the cluster refuses the token ({found.source})",
            where=told,
            fix=f"copy the head's {DEFAULT} to {token_path()}, or set {TOKEN}",
        )
    os.environ[MODE] = "token"


def check_listening(head: str, told: str) -> None:
    """Spares the user the two minutes that Ray tries an address where nothing answers.

    Args:
        head: HOST:PORT, or a URL.
        told: How the user named it.

    Raises:
        MachineError: Nothing answers there.
    """
    try:
        if is_dashboard(head):
            url = urlsplit(head)
            host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        else:
            host, _, port = head.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise MachineError(
            f"nothing answers there: {error}",
            where=told,
            fix=_WHICH,
        ) from error


def is_dashboard(address: str) -> bool:
    """Whether an address is the URL of a cluster's dashboard, which takes jobs."""
    return address.startswith(("http://", "https://"))


def asks(head: str, token: str = "") -> bool:
    """Whether the head of a cluster asks for a token, or for another one than is given.

    Args:
        head: HOST:PORT, or the URL of its dashboard.
        token: To try.

    Raises:
        MachineError: What answers is no head of a Ray cluster.
    """
    if is_dashboard(head):
        return _dashboard_asks(head, token)
    import grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(head) as channel:
        try:
            channel.unary_unary(_ALIVE)(b"", timeout=PATIENCE, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return True
            raise MachineError(
                f"what answers there is no head of a Ray cluster ({code.name})",
                where=f"--address {head}",
                fix=_WHICH,
            ) from error
    return False


def _dashboard_asks(url: str, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    question = urllib.request.Request(f"{url.rstrip('/')}{_JOBS}", headers=headers)
    try:
        with urllib.request.urlopen(question, timeout=PATIENCE) as answer:
            is_ray = answer.headers.get_content_type() == "application/json"
        what = "what answers there is no Ray dashboard"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return True
        is_ray, what = False, f"what answers there is no Ray dashboard (HTTP {error.code})"
    except (OSError, http.client.HTTPException) as error:
        is_ray, what = False, f"nothing answers there: {error}"
    if not is_ray:
        raise MachineError(what, where=f"--address {url}", fix=_WHICH)
    return False


def refuse_open(told: str, *, allow_open: bool) -> None:
    """Returns if a cluster that asks for no token may be joined.

    Raises:
        MachineError: It may not.
    """
    if not allow_open:
        raise MachineError(
            "the cluster asks for no token: whoever reaches it can run code on every node",
            where=told,
            fix=f"start all of its nodes with {MODE}=token (docs: SECURITY.md), "
            "or add --allow-open-cluster on a network that you trust",
        )


def _head(address: str) -> str:
    """HOST:PORT, empty if it is Ray that finds the cluster of this machine."""
    if address != "auto":
        return address.removeprefix("ray://")
    return os.environ.get("RAY_ADDRESS", "").removeprefix("ray://")


def _keep() -> None:
    """Makes a token if there is none, which no other user of this machine can read."""
    path = token_path()
    if token() is not None:
        if TOKEN_PATH not in os.environ and TOKEN not in os.environ:
            with contextlib.suppress(OSError):
                path.chmod(0o600)  # Ray leaves its own readable by every user of the machine
        return
    staged = path.with_name(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            # A link, so that of two launches the second takes the first one's.
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
