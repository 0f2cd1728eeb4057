"""The token that a Ray cluster asks for: kept from others, and missed or refused at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from ray_heads import TOKEN, small_head

from orchestrator.execution import access
from results_schema.errors import MachineError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and none in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (access.TOKEN, access.TOKEN_PATH, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(access.MODE, "token")  # so that what is set is undone at the end
    monkeypatch.setattr(access, "TIMEOUT", 60.0)  # for a busy machine
    return tmp_path


def refused(address: str | None, **options: bool) -> str:
    with pytest.raises(MachineError) as raised:
        access.admit(address, **options)
    return str(raised.value)


class Dashboard(BaseHTTPRequestHandler):
    """Answers as Ray's dashboard does, or like another web server."""

    token, kind, code = TOKEN, "application/json", 200

    def do_GET(self) -> None:
        let_in = not self.token or self.headers["Authorization"] == f"Bearer {self.token}"
        self.send_response(self.code if let_in and self.path == "/api/jobs/" else 401)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: object) -> None:
        return


class Service(grpc.GenericRpcHandler):
    """Answers as Ray's head does when it is asked whether a node lives."""

    token = TOKEN

    def service(self, handler_call_details):
        let_in = not self.token or ("authorization", f"Bearer {self.token}") in (
            handler_call_details.invocation_metadata or ()
        )

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if not let_in:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
            return b""

        known = handler_call_details.method == "/ray.rpc.NodeInfoGcsService/CheckAlive"
        return grpc.unary_unary_rpc_method_handler(answer) if known else None


@pytest.fixture(params=["head", "dashboard"])
def cluster(request: pytest.FixtureRequest, monkeypatch) -> Iterator[str]:
    """Address of what answers for a cluster; `Dashboard` and `Service` say how."""
    if request.param == "head":
        server = grpc.server(ThreadPoolExecutor(1), handlers=[Service()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None)
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_cluster_is_joined_with_its_token_alone(cluster: str, home: Path, monkeypatch):
    missing = refused(cluster)
    assert f"--address {cluster}: joining a cluster takes its token" in missing
    assert "--allow-open-cluster" in missing
    monkeypatch.setenv(access.TOKEN, "wrong" * 9)
    wrong = refused(cluster)
    assert "the cluster refuses the token (the value of RAY_AUTH_TOKEN)" in wrong
    assert "wrong" not in wrong.replace("wrong token", "")
    monkeypatch.delenv(access.TOKEN)
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text(f"{TOKEN}\n")
    os.environ.pop(access.MODE)
    access.admit(cluster)
    assert os.environ[access.MODE] == "token"
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    access.admit("auto")


def test_an_open_cluster_is_joined_on_demand_alone(cluster: str, monkeypatch):
    monkeypatch.setattr(Dashboard, "token", "")
    monkeypatch.setattr(Service, "token", "")
    monkeypatch.setenv(access.TOKEN, TOKEN)
    error = refused(cluster)
    assert "the cluster asks for no token" in error
    assert "--allow-open-cluster" in error
    access.admit(cluster, allow_open=True)
    # Else Ray would send the token, unencrypted, to whoever answers there.
    assert os.environ[access.MODE] == "disabled"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.0.0.1:none", "ray://127.0.0.1:1", "http://127.0.0.1:1", "http://[::1"],
)
def test_an_address_where_nothing_answers_is_refused_before_ray_tries_it(address: str):
    error = refused(address)
    assert f"{address.removeprefix('ray://')}: no " in error
    assert "answers there" in error
    assert "HOST:PORT" in error


def test_other_servers_are_no_cluster(cluster: str, monkeypatch):
    monkeypatch.setattr(access, "_CHECK_ALIVE", "/another/Service")
    monkeypatch.setattr(Dashboard, "token", "")
    monkeypatch.setattr(Dashboard, "kind", "text/html")
    assert "answers there (" in refused(cluster)
    if access.is_dashboard(cluster):
        monkeypatch.setattr(Dashboard, "kind", "application/json")
        monkeypatch.setattr(Dashboard, "code", 500)
        assert "answers there (HTTP 500)" in refused(cluster)


def test_auto_without_a_token_is_refused_and_checked_again_once_joined(monkeypatch):
    assert "--address auto: joining a cluster takes its token" in refused("auto")
    access.admit("auto", allow_open=True)
    assert os.environ[access.MODE] == "disabled"
    monkeypatch.setenv(access.TOKEN, TOKEN)
    access.admit("auto")
    assert os.environ[access.MODE] == "token"


@pytest.mark.parametrize("place", [".ray/auth_token", "elsewhere/token"])
def test_a_token_is_made_that_no_other_user_can_read(home: Path, monkeypatch, place: str):
    if place.startswith("elsewhere"):
        monkeypatch.setenv(access.TOKEN_PATH, str(home / place))
    umask = os.umask(0)
    try:
        access.admit(None)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((home / place).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / place).parent.stat().st_mode) == 0o700
    assert [path.relative_to(home).as_posix() for path in home.rglob("*to*")] == [place]
    made = access.find_token()
    assert made is not None
    assert (len(bytes.fromhex(made.value)), made.source) == (32, f"cat {home / place}")
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
    assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o600, "ab" * 32)


def test_no_token_is_made_where_none_is_needed(home: Path, monkeypatch):
    monkeypatch.setenv(access.TOKEN, TOKEN)
    access.admit(None)
    monkeypatch.delenv(access.TOKEN)
    monkeypatch.setenv(access.MODE, "Disabled")
    access.admit(None)
    assert list(home.iterdir()) == []


def test_a_home_that_takes_no_token_is_reported(home: Path):
    (home / ".ray").write_text("a file is in the way")
    error = refused(None)
    assert f"{home}/.ray/auth_token: no token can be kept" in error
    assert "RAY_AUTH_TOKEN_PATH" in error


def test_settings_of_ray_are_applied_but_for_those_of_the_user(monkeypatch):
    for name in access.RAY_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "7")
    access.apply_ray_settings()
    applied = {name: os.environ[name] for name in access.RAY_SETTINGS}
    assert applied == access.RAY_SETTINGS | {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "7"}


@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_real_heads_and_dashboards_are_asked_in_the_same_way(tmp_path: Path, monkeypatch):
    for mode in ("token", "disabled"):
        own = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": TOKEN}
        with small_head(tmp_path / mode, **own) as head:
            for address in (head.address, head.dashboard):
                monkeypatch.delenv(access.TOKEN, raising=False)
                assert ("takes its token" if mode == "token" else "no token") in refused(address)
                monkeypatch.setenv(access.TOKEN, "wrong" * 9)
                assert ("refuses" if mode == "token" else "asks for no token") in refused(address)
                monkeypatch.setenv(access.TOKEN, TOKEN)
                access.admit(address, allow_open=True)
                assert os.environ[access.MODE] == mode
            dashboard = head.dashboard.removeprefix("http://")
            assert "no head of a Ray cluster" in refused(dashboard)
