"""`python -m workers.train`: a trial on a bare machine, and what it says when it can't."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import endless_epochs
import pytest
import torch
from small_trials import small_spec

from results_schema import layout, tables
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.train import main
from workers.training.attempt import Outcome

ROOT = Path(__file__).parents[2]
# Without these a bare GPU machine does.
MISSING = ("click", "kaleido", "orchestrator", "plotly", "pydantic", "ray", "rich", "ruamel")
# Its import takes seconds, in each of a launch's processes.
COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
BLOCKER = f"""
import atexit, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())

@atexit.register
def check():
    if found := {COMPILER} & sys.modules.keys():
        print("the compiler was loaded:", *found, file=sys.stderr)
"""


@pytest.fixture
def spec() -> TrialSpec:
    return small_spec(epochs=4, batch_size=240)


@pytest.fixture
def path(tmp_path: Path, spec: TrialSpec) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(spec.to_json())
    return path


def start(path: Path, store: LocalStore, endless: int = 0) -> subprocess.Popen[str]:
    """The command, on a machine that lacks what only the orchestrator needs.

    Args:
        path: The trial's JSON.
        store: Where to train it.
        endless: First epoch that does not end, so that the command is there to be disturbed.
    """
    bare = path.parent / "bare"
    bare.mkdir(exist_ok=True)
    (bare / "sitecustomize.py").write_text(BLOCKER)
    program = [endless_epochs.__file__] if endless else ["-m", "workers.train"]
    return subprocess.Popen(
        [
            *(sys.executable, *program, str(path)),
            *("--store", str(store.root), "--device", "cpu", "--checkpoint-every", "0"),
        ],
        cwd=ROOT,
        env={
            "PYTHONPATH": f"{bare}{os.pathsep}{ROOT}",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            endless_epochs.VARIABLE: str(endless),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs(store: LocalStore, spec: TrialSpec) -> int:
    """How many rows the trial has just now."""
    key = layout.metrics(spec.trial_id)
    if not store.has(key):
        return 0
    return len(tables.from_parquet(store.get(key), tables.METRICS, key))


def wait_for_epoch(number: int, command: subprocess.Popen[str], store: LocalStore, spec: TrialSpec):
    while command.poll() is None and epochs(store, spec) < number:
        time.sleep(0.01)


def test_interrupted_on_a_bare_machine_it_resumes_and_a_second_signal_stops_it_at_once(
    path: Path, store: LocalStore, spec: TrialSpec
):
    with start(path, store, endless=2) as command:
        wait_for_epoch(1, command, store, spec)
        command.send_signal(signal.SIGINT)
        _, complaint = command.communicate()
    assert command.returncode == 130, complaint
    assert "interrupted after epoch 1 of 4" in complaint
    assert "; run it again to resume from there" in complaint
    with start(path, store, endless=3) as command:
        wait_for_epoch(2, command, store, spec)
        # Both before it can ask again.
        os.kill(command.pid, signal.SIGSTOP)
        command.send_signal(signal.SIGHUP)
        command.send_signal(signal.SIGTERM)
        os.kill(command.pid, signal.SIGCONT)
        _, complaint = command.communicate()
    assert command.returncode == 130, complaint
    assert "error: interrupted; run it again to resume from its newest checkpoint" in complaint
    assert "Traceback" not in complaint
    assert store.leases.held() == {}
    with start(path, store) as command:
        said, complaint = command.communicate()
    assert (command.returncode, complaint) == (0, "")
    lines = said.splitlines()
    assert lines[0] == f"training {spec.trial_id} into {store.root}"
    assert lines[-2].startswith("epoch 4/4: train loss ")
    assert lines[-1] == "done: trained 4 epochs"
    assert not any(line.startswith("epoch 1/4") for line in lines), "which was kept"


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code and what is said, on stderr alone and without a traceback."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    return code, said.err


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_no_spec_is_reported_with_the_file(capsys: pytest.CaptureFixture[str], path: Path):
    edit(path, learning_rate=-1)
    code, message = fails(capsys, path)
    assert code == 2
    assert message.startswith(f"error: {path}") and "learning_rate is -1" in message
    for text in (b"", b"[1]", b"\xff"):
        path.write_bytes(text)
        code, message = fails(capsys, path)
        assert code == 2
        assert message.startswith(f"error: {path}: ") and "JSON" in message
    missing = path.parent / "none.json"
    assert fails(capsys, missing) == (2, f"error: {missing}: No such file or directory\n")
    assert fails(capsys, path.parent) == (2, f"error: {path.parent}: Is a directory\n")


def test_a_failed_attempt_has_an_exit_code_by_its_kind_and_a_fix(capsys, path, store, tmp_path):
    if not torch.cuda.is_available():
        gone = fails(capsys, path, "--store", store.root, "--device", "cuda")
        fix = "use --device cpu, or repair the driver"
        assert gone == (3, f"error: no CUDA GPU is visible\n  {fix}\n")
    edit(path, dataset="digitz")
    code, message = fails(capsys, path, "--store", store.root, "--device", "cpu")
    assert code == 2
    assert message.startswith("error: unknown data set 'digitz'\n  did you mean digits")
    file = tmp_path / "file"
    file.write_text("mine")
    code, message = fails(capsys, path, "--store", file)
    assert code == 3
    assert str(file) in message and "--store" in message
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome("done", "trained 4 epochs"), 0),
        (Outcome("diverged", "a weight is not finite"), 0),
        (Outcome("held", "another worker holds its lease"), 1),
        (Outcome("superseded", "another worker has taken over"), 1),
        (Outcome("stopped", "after epoch 2"), 130),
        *((Outcome("failed", "why", 0, kind), 3) for kind in ("data", "machine", "store", "full")),
        (Outcome("failed", "why", 0, "spec"), 2),
        *((Outcome("failed", "why", 0, kind), 1) for kind in ("error", "memory", "cuda")),
    ],
)
def test_the_exit_code_is_the_outcomes(capsys, monkeypatch, path, store, spec, outcome, code):
    """What has no fix in its message points to the log."""
    monkeypatch.setattr("workers.train.train", lambda *_, **__: outcome)
    assert main([str(path), "--store", str(store.root), "--device", "cpu"]) == code
    said = capsys.readouterr()
    assert outcome.reason in said.out + said.err
    log = str(store.root / layout.log(spec.trial_id))
    assert (log in said.err) == (outcome.kind in ("error", "memory", "cuda"))
