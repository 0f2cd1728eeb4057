"""Leases: who holds one, and the thread that keeps it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from os_calls import Call, watched

from results_schema import lease as leases_module
from results_schema.errors import StoreError
from results_schema.folder.store import FolderLease
from results_schema.lease import Holder
from results_schema.store import LocalStore


@pytest.fixture
def holder() -> Holder:
    return Holder.here("token")


def test_this_process_lives_and_comes_back_from_its_heartbeat(holder: Holder):
    assert holder.pid == os.getpid()
    assert holder.host
    assert not holder.dead
    beating = replace(holder, beat=7)
    assert Holder.from_json(beating.to_json().encode(), "token") == beating
    # The folder decides the token.
    text = replace(holder, token="../../metrics").to_json().encode()
    assert Holder.from_json(text, "token") == holder


def test_another_process_lives_until_it_is_reaped_or_only_its_remains_are_left():
    tell = (
        "from results_schema.lease import Holder; import sys;"
        "print(Holder.here('token').to_json(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", tell]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        other = Holder.from_json(process.stdout.readline(), "token")
        assert (other.pid, other.dead) == (process.pid, False)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert other.dead
    assert other.dead


def test_who_is_known_to_be_dead(holder: Holder, monkeypatch: pytest.MonkeyPatch):
    gone = replace(holder, pid=2**22 + 1, born=1)
    assert gone.dead
    assert not replace(gone, machine="another machine").dead
    assert replace(holder, born=holder.born - 1).dead, "its ID is used again"
    with monkeypatch.context() as patch:  # as where /proc is mounted with `hidepid`
        patch.setattr(leases_module, "_process_stat", lambda pid: ("", 0))
        assert not holder.dead
        assert not Holder.here("token").dead
        assert gone.dead
    with monkeypatch.context() as patch:  # another user's process

        def refuse(pid: int, number: int) -> None:
            raise PermissionError

        patch.setattr(os, "kill", refuse)
        assert not holder.dead
        assert replace(holder, born=holder.born - 1).dead


def test_who_cannot_be_read_is_known_by_the_token_and_neither_dead_nor_signalled(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("it was signalled"))
    texts = [b"", b"\xff\xfe", b"[]", b"null", b'"beat"', b'{"token": "t"}']
    whole = b'{"token": "t", "host": "h", "machine": "m", "pid": %s, "born": 1, "beat": 1%s}'
    texts += [whole % (pid, b"") for pid in (b'"1"', b"null", b"-1", b"1e99", b"1%080d" % 0)]
    for text in (*texts, whole % (b"1", b', "more": 1')):
        unknown = Holder.from_json(text, "token")
        assert unknown == Holder("token", "unknown", "", 0, 0, 0)
        assert not unknown.dead
        assert not replace(unknown, machine=Holder.here("t").machine, born=1).dead


ITEM = "cifar10-w2.5d3-lr0.025-s0-0123456789"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats without pause, none of which is slow, however busy the machine is."""
    monkeypatch.setattr(leases_module, "BEAT", 0.01)
    monkeypatch.setattr(leases_module, "SLOW", 1e9)


def take(store: LocalStore) -> FolderLease:
    lease = store.leases.take(ITEM, "mine")
    assert lease is not None
    return lease


def soon(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_what_others_hold_for_moments_is_waited_for(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    held = store.leases.take(ITEM)
    assert held is not None
    with pytest.raises(StoreError, match=f"keeps the lease on {ITEM}"):
        store.leases.wait(ITEM, most=-1)
    monkeypatch.setattr(time, "sleep", lambda seconds: held.release())
    assert store.leases.wait(ITEM).token != held.token


def test_a_holder_that_is_fenced_notices_at_its_next_heartbeat(store: LocalStore, quick: None):
    with take(store) as lease:
        assert not lease.lost.is_set()
        store.leases.fence(ITEM, "mine")
        assert lease.lost.wait(30)
        assert store.leases.take(ITEM) is not None
    assert len(store.leases.held()) == 1, "the successor's lease is left alone"


def test_heartbeats_that_fail_are_reported_once_and_so_is_their_success(
    store: LocalStore, quick: None
):
    said: list[str] = []
    lease = take(store)
    lease.warn = said.append
    obstacle = lease.folder / "heartbeat.new"
    obstacle.mkdir()
    with lease:
        soon(lambda: said)
        assert not lease.healthy
        obstacle.rmdir()
        soon(lambda: lease.healthy)
        beaten = (lease.folder / "heartbeat").stat().st_mtime_ns
        soon(lambda: (lease.folder / "heartbeat").stat().st_mtime_ns > beaten)
    assert len(said) == 2
    assert said[0].startswith(f"heartbeats fail: {obstacle}: Is a directory")
    assert said[1].startswith("heartbeats succeed again after ")
    assert not lease.lost.is_set()


def test_a_heartbeat_that_took_long_is_reported(
    store: LocalStore, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases_module, "SLOW", 0.0)
    said: list[str] = []
    lease = take(store)
    lease.warn = said.append
    with lease:
        soon(lambda: "the store took 0 s to answer heartbeats" in said)


@pytest.mark.parametrize("error", [OSError("no answer"), ValueError("nonsense")])
def test_a_duty_that_fails_is_reported_and_ends_no_heartbeat(
    store: LocalStore, quick: None, error: Exception
):
    said: list[str] = []
    calls = threading.Semaphore(0)

    def fail() -> None:
        calls.release()
        raise error

    lease = take(store)
    lease.warn, lease.duty = said.append, fail
    with lease:
        for _ in range(3):
            assert calls.acquire(timeout=30)
        store.leases.fence(ITEM, "mine")
        assert lease.lost.wait(30)
    assert said == [f"stop requests fail: {error}"]


def test_leaving_a_lease_does_not_wait_for_a_heartbeat_that_hangs(
    store: LocalStore, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases_module, "RELEASE_TIMEOUT", 0.05)
    lease, hung = take(store), threading.Event()
    pipe = lease.folder / "heartbeat.new"
    os.mkfifo(pipe)  # opening it for writing waits for a reader

    def look(call: Call) -> None:
        if call.path.endswith(pipe.name):
            hung.set()

    with watched(store.root, look), lease:
        assert hung.wait(30)
    assert lease._thread.is_alive()
    assert set(store.leases.held()) == {ITEM}
    with pipe.open("rb"):
        lease._thread.join(30)
    assert store.leases.held() == {}, "it is released once the store answers"
