"""The command line starts quickly. Directions of imports are import-linter's to check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


SLOW = {"dash", "duckdb", "kaleido", "pandas", "plotly", "pyarrow", "ray", "torch", "torchvision"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--help"], set()),
        (["plan", "experiments/fig9.yaml", "--store", "-"], set()),
        (["cells", "DARTS", "--variants", "profile"], set()),
        (["claims", "--store"], {"pandas", "pyarrow"}),
        (["query", "SELECT 1", "--store"], {"duckdb", "pyarrow"}),
    ],
)
def test_the_command_line_starts_without_the_slow_packages(tmp_path, words, needed):
    place = [str(tmp_path)] * (words[-1] == "--store")
    command = [sys.executable, "-X", "importtime", "-m", "orchestrator.cli", *words, *place]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "click" in loaded
    assert SLOW & loaded <= needed
