"""The scripts of docs/slurm.md, on hosts that are network namespaces, under a fake Slurm."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from marks import Mark
from soundness import assert_equal
from sweeps import trained_epochs, undisturbed, wait_for, write_experiment
from two_hosts import Host, missing, two_hosts

from orchestrator.cli import main as cli
from results_schema.results import Results
from results_schema.store import LocalStore

ROOT = Path(__file__).parents[3]
ONE, MANY = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/slurm.md").read_text(), re.S | re.M)
JOB = os.getpid()
EPOCHS, SEEDS = 12, 8
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="it makes the token")


def test_the_scripts_are_sound_and_their_options_exist():
    known = {text for one in cli.cli.commands["launch"].params for text in one.opts}
    for script in (ONE, MANY):
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
        [launch] = re.findall(r"^nas-sweep launch (.*) &$", script, re.MULTILINE)
        assert {word for word in launch.split() if word.startswith("--")} <= known
        assert "#SBATCH" in script.splitlines()[1]
        assert "ray stop" not in script


RAY = """
case $1 in
    health-check) [ -e up ]; exit;;
    start)
        echo "$@" >> starts
        [ -e broken ] && exit 1
        touch up "$RAY_TMPDIR/socket"
        exec sleep 600;;
esac
"""
LAUNCH = """
trap 'echo TERM > stopped; exit 130' TERM
sleep 0.3  # until the script knows this process
echo "$@" > launched
until [ -e done ]; do sleep 0.05; done
exit 143  # as a wait that a signal has ended
"""


class Job:
    """A job of two nodes, and a shell on the first of them.

    Attributes:
        folder: Working and home folder.
        store: Where its launch writes.
    """

    def __init__(self, folder: Path, *hosts: Host) -> None:
        self.folder, self._mark, self.store = folder, Mark("SLURM"), LocalStore(folder / "results")
        self._there = hosts[0].command() if hosts else []
        names = [host.name for host in hosts] or ["", ""]
        slurm = (ROOT / "tests/support/fake_slurm.py").read_text()
        for name in ("srun", "scontrol"):
            self.add_command(name, f"#!{sys.executable}\n{slurm}")
        places = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {
            **self._mark.environment,
            "PATH": os.pathsep.join(places),
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "STORE": str(self.store.root),
            "RAY_USAGE_STATS_ENABLED": "0",
            "SLURM_JOB_ID": str(JOB),
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_CPUS_ON_NODE": "2",
            "FAKE_HOSTS": json.dumps({f"n{i}": name for i, name in enumerate(names, start=1)}),
            "FAKE_REQUEUED": str(folder / "requeued"),
        }

    def add_command(self, name: str, text: str) -> None:
        """Put a program where the shell finds it first."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    @contextlib.contextmanager
    def started(self, script: str, launch: str = "launch fig9") -> Iterator[subprocess.Popen[str]]:
        """A script that runs on the first node; its output is kept.

        Args:
            script: One of the document's.
            launch: What replaces the beginning of its launch.
        """
        path = self.folder / "batch.sh"
        path.write_text(script.replace("launch fig9", launch).replace(" --gpus-per-trial auto", ""))
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [*self._there, "bash", str(path)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                text=True,
                env={**os.environ, **self.environment},
            )
            try:
                yield process
            finally:
                for one in self.alive():
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                process.wait()

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.folder / name).exists()

    @property
    def log(self) -> str:
        """All that its scripts have printed."""
        return (self.folder / "log").read_text()

    @property
    def starts(self) -> list[str]:
        """What the program that stands in for Ray was started with, the head first."""
        return (self.folder / "starts").read_text().splitlines()

    def alive(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return self._mark.alive()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """With programs that stand in for Ray and nas-sweep, on this machine alone."""
    job = Job(tmp_path)
    job.add_command("ray", f"#!/bin/bash\n{RAY}")
    job.add_command("nas-sweep", f"#!/bin/bash\n{LAUNCH}")
    yield job
    assert not [*Path("/tmp").glob(f"ray-{JOB}*")]


@pytest.mark.parametrize("script", [ONE, MANY], ids=["one", "many"])
@pytest.mark.parametrize(
    ("event", "code", "requeued"),
    [(signal.SIGUSR1, 130, True), (signal.SIGTERM, 130, False), ("done", 143, False)],
    ids=["limit", "cancelled", "done"],
)
@needs_openssl
def test_a_script_ends_what_it_has_started(job: Job, script, event, code, requeued):
    with job.started(script) as batch:
        wait_for(lambda: job.has("launched") and (script == ONE or len(job.starts) == 2))
        if isinstance(event, str):
            (job.folder / event).touch()
        else:
            batch.send_signal(event)
        assert batch.wait(timeout=60) == code, job.log
        assert job.has("requeued") == requeued
        assert job.has("stopped") == (event != "done")
        wait_for(lambda: not job.alive(), 20)
    if script == MANY:
        first, second = job.starts
        assert first.startswith(f"start --head --port={20000 + JOB % 1200 * 10} ")
        assert re.match(r"start --address=[0-9.]+:\d+ --num-cpus=2 --num-gpus=0 ", second)
        assert (job.folder / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    else:
        assert not job.has("starts")


@needs_openssl
def test_a_head_that_does_not_start_ends_the_job(job: Job):
    (job.folder / "broken").touch()
    with job.started(MANY) as batch:
        assert batch.wait(timeout=60) == 1
    assert not job.has("launched")


@pytest.mark.cluster
@pytest.mark.timeout(900)
@needs_openssl
def test_a_job_of_two_nodes_is_requeued_before_its_limit_and_ends_nothing_else(tmp_path: Path):
    if why := missing():
        pytest.skip(why)
    experiment = write_experiment(tmp_path, epochs=EPOCHS, seeds=", ".join(map(str, range(SEEDS))))
    launch = f"launch {experiment} --device cpu --checkpoint-every 0"
    with two_hosts() as hosts:
        job = Job(tmp_path, *hosts)
        with job.started(MANY, launch) as batch:
            wait_for(lambda: trained_epochs(job.store) >= 4 or batch.poll() is not None, 400)
            assert batch.poll() is None, job.log
            assert job.log.count("Ray runtime started") == 2
            batch.send_signal(signal.SIGUSR1)
            assert batch.wait(timeout=100) in (130, 143), job.log
            wait_for(lambda: not job.alive(), 60)
        assert job.has("requeued")
        assert not [*Path("/tmp").glob(f"ray-{JOB}*")]
        assert 4 <= trained_epochs(job.store) < EPOCHS * SEEDS, "it was to end in between"
        # The next run may be of one node.
        with job.started(ONE, launch) as batch:
            assert batch.wait(timeout=400) == 0, job.log
            wait_for(lambda: not job.alive(), 60)
    assert len(Results(job.store).trials()) == SEEDS
    assert_equal(job.store, undisturbed(experiment, tmp_path / "undisturbed"))
