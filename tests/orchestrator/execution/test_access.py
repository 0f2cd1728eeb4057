"""The token that a Ray cluster asks for: kept from others, and missed or refused at once."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ray_heads import TOKEN, running_head

from orchestrator.execution import access
from results_schema.errors import MachineError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and no word of one in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (access.TOKEN, access.TOKEN_PATH, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(access.MODE, "token")  # so that what is set is undone at the end
    return tmp_path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory):
    """Of a cluster that asks for a token."""
    with running_head(
        tmp_path_factory.mktemp("h"), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN
    ) as at:
        yield at


def refused(address: str | None, **options: bool) -> str:
    with pytest.raises(MachineError) as told:
        access.admit(address, **options)
    return str(told.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:none", "127.0.0.1:99999999"])
def test_an_address_where_nothing_answers_is_told_before_ray_tries_it(address: str):
    told = refused(address)
    assert f"--address {address}: nothing answers there" in told


def test_a_token_is_made_that_no_other_user_can_read(home: Path):
    umask = os.umask(0)
    try:
        access.admit(None)
    finally:
        os.umask(umask)
    file = home / ".ray/auth_token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]
    made = access.find_token()
    assert made is not None
    assert len(bytes.fromhex(made.value)) == 32
    access.admit(None)
    assert access.find_token() == made


def test_launches_at_one_moment_agree_on_a_token():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: access.admit(None), range(8)))
        assert len(set(pool.map(lambda _: access.find_token(), range(8)))) == 1


def test_a_token_that_others_can_read_is_closed_to_them(home: Path):
    file = home / ".ray/auth_token"
    file.parent.mkdir()
    file.write_text("ab" * 32)
    file.chmod(0o644)
    access.admit(None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "ab" * 32


def test_a_token_is_made_where_the_user_wants_it(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(access.TOKEN_PATH, str(home / "elsewhere/token"))
    access.admit(None)
    assert stat.S_IMODE((home / "elsewhere/token").stat().st_mode) == 0o600
    assert not (home / ".ray").exists()


def test_no_token_is_made_where_none_is_needed(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(access.TOKEN, TOKEN)
    access.admit(None)
    monkeypatch.delenv(access.TOKEN)
    monkeypatch.setenv(access.MODE, "disabled")
    access.admit(None)
    assert list(home.iterdir()) == []


def test_a_home_that_takes_no_token_is_told(home: Path):
    (home / ".ray").write_text("a file is in the way")
    told = refused(None)
    assert f"{home}/.ray/auth_token: no token can be kept" in told
    assert "RAY_AUTH_TOKEN_PATH" in told


def test_a_cluster_is_not_joined_without_its_token(head: str, monkeypatch: pytest.MonkeyPatch):
    told = refused(head)
    assert (
        f"--address {head}: joining a cluster takes its token, and this machine has no token"
        in told
    )
    assert told.count("\n") == 1
    monkeypatch.setenv(access.TOKEN, "wrong" * 9)
    told = refused(head)
    assert "the cluster refuses the token (the value of RAY_AUTH_TOKEN)" in told
    assert "wrong" not in told


def test_the_right_token_turns_authentication_on(head: str, home: Path):
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text(f"{TOKEN}\n")
    os.environ.pop(access.MODE)
    access.admit(head)
    assert os.environ[access.MODE] == "token"


def dashboard(head: str) -> str:
    host, port = head.split(":")
    return f"http://{host}:{int(port) + 2}"


def test_a_dashboard_asks_for_the_token_too(head: str, monkeypatch: pytest.MonkeyPatch):
    at = dashboard(head)
    assert f"--address {at}: joining a cluster takes its token" in refused(at)
    monkeypatch.setenv(access.TOKEN, "wrong" * 9)
    assert "the cluster refuses the token" in refused(at)
    monkeypatch.setenv(access.TOKEN, TOKEN)
    access.admit(at)
    assert os.environ[access.MODE] == "token"


def test_auto_without_a_token_is_told_too():
    assert "--address auto: joining a cluster takes its token" in refused("auto")


def test_what_is_no_head_is_told(head: str):
    host, port = head.split(":")
    told = refused(f"{host}:{int(port) + 2}")  # its dashboard
    assert "what answers there is no head of a Ray cluster" in told


@pytest.mark.timeout(240)
def test_an_open_cluster_is_joined_on_demand_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with running_head(tmp_path / "h", RAY_AUTH_MODE="disabled") as head:
        monkeypatch.setenv(access.TOKEN, TOKEN)
        told = refused(head)
        assert "the cluster asks for no token: whoever reaches it can run code" in told
        assert "--allow-open-cluster" in told
        assert "the cluster asks for no token" in refused(dashboard(head))
        access.admit(head, allow_open=True)
        # Else Ray would send the token, unencrypted, to whoever answers there.
        assert os.environ[access.MODE] == "disabled"
