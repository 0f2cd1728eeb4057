"""The check of a GPU, at a tiny size on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.checks import works
from benchmarks.gpu_check import COMMANDS, Part

ROOT = Path(__file__).parents[2]

MISSING = (
    *("click", "kaleido", "plotly", "PIL", "pydantic", "ray", "rich", "ruamel", "torchvision"),
    *("orchestrator", "pytest"),
)
"""A bare GPU machine has none of these."""

BLOCKER = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.mark.docs
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["works", "speed"])
def test_every_part_passes_dry_on_a_bare_machine(tmp_path: Path, command: str):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    script = str(ROOT / "benchmarks/gpu_check.py")
    done = subprocess.run(
        [sys.executable, script, command, "--dry", "--out", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"gpu_check_{command}.json").read_text())
    names = [part.name for part in COMMANDS[command]]
    assert [(part["part"], part["passed"]) for part in found["parts"]] == [(n, True) for n in names]
    assert "torch" in found["machine"]
    assert (tmp_path / f"gpu_check_{command}.md").read_text().count("passed") == len(names)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_launch_passes_dry(tmp_path: Path):
    code = gpu_check.main(["sweep", "--dry", "--parts", "pack", "--out", str(tmp_path)])
    [found] = json.loads((tmp_path / "gpu_check_sweep.json").read_text())["parts"]
    assert code == 0, found


def test_a_part_is_killed_at_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    sleeping = Part("sleeping", 1, "")
    # A part's process runs this file, so name one that sleeps whatever is asked of it.
    script = tmp_path / "sleeps.py"
    script.write_text("import time; print('here', flush=True); time.sleep(600)")
    monkeypatch.setattr(gpu_check, "__file__", str(script))
    monkeypatch.setitem(COMMANDS, "works", (sleeping,))
    assert gpu_check.main(["works", "--device", "cpu", "--out", str(tmp_path)]) == 1
    [killed] = json.loads((tmp_path / "gpu_check_works.json").read_text())["parts"]
    assert not killed["passed"]
    assert "limit of 1 s" in killed["text"]


def test_a_part_that_raises_is_reported_with_its_traceback(monkeypatch, tmp_path):
    def broken(scale: gpu_check.Scale) -> gpu_check.Outcome:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nlong advice")

    monkeypatch.setattr(works, "landscape", broken)
    result = tmp_path / "result.json"
    words = ["works", "--dry", "--parts", "landscape", "--result", str(result)]
    assert gpu_check.main(words) == 0
    found = json.loads(result.read_text())
    assert not found["passed"]
    assert found["text"].startswith("Stopped: RuntimeError: CUDA error: an illegal memory access")
    assert "in broken" in found["found"]


def test_wrong_usage_and_unfit_places_are_refused_in_a_line(tmp_path: Path, capsys):
    assert gpu_check.main(["speed", "--parts", "landscap"]) == 2
    assert "speed has no part 'landscap'; use ceilings" in capsys.readouterr().err
    assert gpu_check.main(["budget", "--write", str(tmp_path / "none.md")]) == 2


def test_the_budget_fits_a_lent_gpu_and_is_documented():
    totals = {command: sum(part.limit for part in parts) for command, parts in COMMANDS.items()}
    assert totals == {"works": 310, "speed": 230, "sweep": 180}
    assert gpu_check.budget() in (ROOT / "docs/performance.md").read_text("utf-8")
