"""`launch --detach`: what a job is told, and what is refused before there is one."""

import shlex
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from orchestrator.cli import run as cli
from orchestrator.execution.jobs import REPLACED, Shipment, job_command

SHIPMENT = Shipment(["files/a/x.yaml", "files/y.yaml"], "files/a/profiles/laptop.yaml")


def context(*arguments: str):
    return cli.launch.make_context("launch", list(arguments))


def test_a_job_is_told_what_the_user_said_and_nothing_else():
    given = context(
        "a/x.yaml", "y.yaml", "--profile", "laptop", "--set", "recipe.epochs=2", "--store", "r",
        "--set", "grid.seed=[0, 1]", "--address", "head:6379", "--detach", "--ship-code",
        "--device", "cpu", "--gpus-per-trial", "auto", "--checkpoint-at", "3", "--deterministic",
        "--allow-open-cluster",
    )  # fmt: skip
    command = shlex.split(shlex.join(job_command(SHIPMENT, "s3://bucket/my results", given)))
    assert command[:6] == [
        "python", "-m", "orchestrator.cli", "launch", "files/a/x.yaml", "files/y.yaml",
    ]  # fmt: skip
    assert set(command[6:]) == {
        "--profile=files/a/profiles/laptop.yaml",
        "--store=s3://bucket/my results",
        "--address=auto",
        "--set=recipe.epochs=2",
        "--set=grid.seed=[0, 1]",
        "--device=cpu",
        "--gpus-per-trial=auto",
        "--checkpoint-at=3",
        "--deterministic",
        "--allow-open-cluster",
    }
    again = context(*command[4:])
    assert all(again.params[n] == v for n, v in given.params.items() if n not in REPLACED)


def test_what_the_user_left_open_is_left_to_the_cluster():
    command = job_command(SHIPMENT._replace(profile=None), "/r", context("x.yaml", "--detach"))
    assert command[6:] == ["--store=/r", "--address=auto"]


def test_options_that_miss_a_cluster_are_told(run, folder):
    code, _, errors = run("launch", "x.yaml", "--detach")
    assert (code, "--detach leaves the launch to a cluster" in errors) == (2, True)
    code, _, errors = run("launch", "x.yaml", "--ship-code", "--device", "cpu")
    assert (code, "--ship-code sends this code to a cluster's nodes" in errors) == (2, True)
    assert not (folder / "results/experiments").exists()


def test_a_dashboard_takes_jobs_alone(run, folder):
    code, _, errors = run("launch", "x.yaml", "--address", "http://head:8265")
    assert (code, "add --detach" in errors) == (2, True)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_where_no_cluster_takes_jobs_nothing_is_sent(run, folder, page, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")  # which is not what the user names
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    code, _, errors = run("launch", "x.yaml", "--detach", "--address", page)
    assert (code, f"--address {page}: what answers there is no Ray dashboard" in errors) == (
        3,
        True,
    )
    code, _, errors = run("launch", "x.yaml", "--detach", "--address", "http://127.0.0.1:1")
    assert (code, "nothing answers there" in errors) == (3, True)
    assert "Traceback" not in errors
