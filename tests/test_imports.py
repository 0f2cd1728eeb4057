"""The command line starts quickly. Directions of imports are import-linter's to check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("words", [("--help",), ("plan", "experiments/fig9.yaml", "--store", "-")])
def test_the_command_line_starts_without_the_slow_packages(words):
    command = [sys.executable, "-X", "importtime", "-m", "orchestrator.cli", *words]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    slow = {"dash", "duckdb", "kaleido", "pandas", "plotly", "pyarrow", "ray", "torch"}
    assert "click" in loaded
    assert not slow & loaded
