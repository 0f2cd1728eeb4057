"""Holders: known to be dead only if they are, and to be somebody while nobody can read who."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from results_schema import lease as holder_module
from results_schema.lease import Holder


@pytest.fixture
def holder() -> Holder:
    return Holder.here("token")


def test_this_process_lives(holder: Holder):
    assert holder.pid == os.getpid()
    assert holder.host
    assert not holder.dead


def test_a_holder_comes_back_from_its_heartbeat(holder: Holder):
    beating = replace(holder, beat=7)
    assert Holder.from_json(beating.to_json().encode(), "token") == beating


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


def test_a_process_of_another_machine_is_never_known_to_be_dead(holder: Holder):
    gone = replace(holder, pid=2**22 + 1, born=1)
    assert gone.dead
    assert not replace(gone, machine="another machine").dead


def test_a_process_id_that_is_used_again_is_told_apart(holder: Holder):
    assert replace(holder, born=holder.born - 1).dead


def test_a_process_that_cannot_be_looked_at_is_dead_only_when_its_id_is_free(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
):
    """As another user's is where /proc is mounted with `hidepid`."""
    monkeypatch.setattr(holder_module, "_process_stat", lambda pid: ("", 0))
    assert not holder.dead
    assert not Holder.here("token").dead
    assert replace(holder, pid=2**22 + 1).dead


def test_another_users_process_lives(holder: Holder, monkeypatch: pytest.MonkeyPatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not holder.dead
    assert replace(holder, born=holder.born - 1).dead


@pytest.mark.parametrize("born", [0, 1])
def test_an_unknown_process_is_not_dead_and_never_signalled(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, born: int
):
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("it was signalled"))
    assert not replace(holder, pid=0, born=born).dead


HEARTBEATS = [
    b"",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'"beat"',
    b'{"token": "t"}',
    b'{"token": "t", "host": "h", "machine": "m", "pid": 1, "born": 1, "beat": 1, "more": 1}',
    *(
        b'{"token": "t", "host": "h", "machine": "m", "pid": %s, "born": 1, "beat": 1}' % pid
        for pid in (b'"1"', b"null", b"-1", b"1e99", b"1%080d" % 0)
    ),
]


@pytest.mark.parametrize("heartbeat", HEARTBEATS)
def test_who_cannot_be_read_is_known_by_the_token_and_not_dead(heartbeat: bytes):
    unknown = Holder.from_json(heartbeat, "token")
    assert unknown == Holder("token", "unknown", "", 0, 0, 0)
    assert not unknown.dead


def test_the_folder_decides_the_token(holder: Holder):
    text = replace(holder, token="../../metrics").to_json().encode()
    assert Holder.from_json(text, "token") == holder
