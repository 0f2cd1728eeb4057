"""The check of a GPU, at a tiny size on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.checks.parts import PARTS, Outcome, Scale

ROOT = Path(__file__).parents[2]

MISSING = (
    *("click", "kaleido", "plotly", "PIL", "pydantic", "ray", "rich", "ruamel", "torchvision"),
    *("orchestrator", "pytest"),
)
"""Without these a bare GPU machine does."""

BLOCKER = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def test_every_part_passes_dry_on_a_bare_machine(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/gpu_check.py"), "--dry", "--out", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert [(part["part"], part["passed"]) for part in found["parts"]] == [
        (name, True) for name in PARTS
    ]
    loops = found["parts"][-1]["numbers"]["found"]
    assert [loop["error"] for loop in loops] == [""] * len(loops)
    assert all(rate > 0 for loop in loops for rate in loop["speed"]["rates"])
    assert "fixed" in (tmp_path / "gpu_check.md").read_text()
    assert found["machine"]["command"].startswith("python ")


def test_a_part_that_fails_stops_no_other_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def broken(scale: Scale) -> Outcome:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nlong advice")

    monkeypatch.setitem(PARTS, "gradients", broken)
    code = gpu_check.main(
        ["--dry", "--parts", "gradients", "ceilings", "--out", str(tmp_path / "new")]
    )
    assert code == 1
    broke, fine = json.loads((tmp_path / "new/gpu_check.json").read_text())["parts"]
    assert not broke["passed"]
    assert (
        broke["text"]
        == "Stopped: RuntimeError: CUDA error: an illegal memory access was encountered"
    )
    assert "in broken" in broke["numbers"]["found"]
    assert fine["passed"]
    assert "FAILED: gradients" in capsys.readouterr().out


def test_what_is_unfit_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--dry", "--parts", "ceilings", "--out", str(tmp_path)]
    assert gpu_check.main([*words, "--write", str(tmp_path / "none.md")]) == 2
    assert "none.md" in capsys.readouterr().err
    assert gpu_check.main(["--device", "tpu", "--parts", "ceilings"]) == 3
    assert "tpu" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert gpu_check.main([*words[:-1], str(tmp_path / "file")]) == 3
