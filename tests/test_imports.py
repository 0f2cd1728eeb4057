"""Workers run on a bare machine, and the command line starts quickly.

Directions of imports are import-linter's to check.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HIGHER = (
    "click", "dash", "duckdb", "kaleido", "orchestrator", "plotly", "pydantic", "ray", "rich",
)  # fmt: skip
"""What a worker never imports."""

# Imports the modules named behind "--" as if the packages named before it were not installed.
IMPORT_WITHOUT = """
import importlib, sys

split = sys.argv.index("--")
missing = set(sys.argv[1:split])

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in missing:
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
for name in sys.argv[split + 1:]:
    importlib.import_module(name)
"""


def modules_in(folder: str) -> list[str]:
    """Every module in a folder of the repository, by its dotted name."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(name).removesuffix(".__init__") for name in names if name[-1] != "__main__"]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("folders", "missing"),
    [
        (["results_schema", "workers"], (*HIGHER, "boto3", "botocore", "ruamel")),
        (["results_schema", "workers/cells"], (*HIGHER, "ruamel", "torch", "torchvision")),
    ],
)
def test_lower_packages_import_where_the_higher_ones_are_missing(folders, missing):
    modules = [module for folder in folders for module in modules_in(folder)]
    ran = python("-c", IMPORT_WITHOUT, *missing, "--", *modules)
    assert ran.returncode == 0, ran.stderr


def test_a_module_that_needs_a_missing_package_does_not_import():
    ran = python("-c", IMPORT_WITHOUT, "click", "--", "click")
    assert "No module named 'click'" in ran.stderr


@pytest.mark.parametrize("words", [("--help",), ("plan", "experiments/fig9.yaml", "--store", "-")])
def test_the_command_line_starts_without_the_slow_packages(words):
    ran = python("-X", "importtime", "-m", "orchestrator.cli", *words)
    assert ran.returncode == 0, ran.stderr
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    slow = {"dash", "duckdb", "kaleido", "pandas", "plotly", "pyarrow", "ray", "torch"}
    assert "click" in loaded
    assert not slow & loaded
