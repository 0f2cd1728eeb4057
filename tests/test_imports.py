"""Imports run one way, workers run on a bare machine, and the command line starts quickly."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
HIGHER = (
    "click", "dash", "duckdb", "kaleido", "orchestrator", "plotly", "pydantic", "ray", "rich",
)  # fmt: skip
"""What a worker never imports."""
SLOW = ("dash", "duckdb", "kaleido", "plotly", "ray", "torch", "torchvision")
"""What --help and plan do without."""

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


def imports(tree: ast.AST) -> Iterator[str]:
    """The packages that a module imports anywhere in it, by statement or by call."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name.partition(".")[0] for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(
                ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
                [ast.Constant(str(module)), *_],
            ):
                yield module.partition(".")[0]


def test_the_contracts_of_import_linter_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("workers", HIGHER),
        ("results_schema", (*HIGHER, "workers", "torch", "torchvision")),
        ("workers/cells", ("torch", "torchvision")),
    ],
)
def test_no_module_imports_what_its_room_does_without(folder: str, never: tuple[str, ...]):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in paths
        if (found := set(imports(ast.parse(path.read_text()))) & set(never))
    }
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "import ray",
        "import ray.tune as tune",
        "from ray.tune import Tuner",
        "def late():\n    from ray import tune",
        "import importlib\nimportlib.import_module('ray.tune')",
        "__import__('ray')",
    ],
)
def test_an_import_is_seen_however_it_is_written(text: str):
    assert "ray" in set(imports(ast.parse(text)))


@pytest.mark.parametrize(
    ("folders", "missing"),
    [
        (["results_schema", "workers"], (*HIGHER, "boto3", "botocore", "ruamel")),
        (["results_schema", "workers/cells"], (*HIGHER, "ruamel", "torch", "torchvision")),
    ],
)
def test_lower_rooms_import_where_the_higher_packages_are_missing(
    folders: list[str], missing: tuple[str, ...]
):
    modules = [module for folder in folders for module in modules_in(folder)]
    ran = python("-c", IMPORT_WITHOUT, *missing, "--", *modules)
    assert ran.returncode == 0, ran.stderr


def test_a_module_that_needs_a_missing_package_does_not_import():
    ran = python("-c", IMPORT_WITHOUT, "click", "--", "click")
    assert "No module named 'click'" in ran.stderr


@pytest.mark.parametrize(
    "module", ["cli.main", "config.documents", "config.experiment", "planning.plan"]
)
def test_the_command_line_starts_without_the_slow_packages(module: str):
    ran = python("-c", f"import orchestrator.{module}, sys; print(*sys.modules)")
    assert ran.returncode == 0, ran.stderr
    assert not set(SLOW) & set(ran.stdout.split())
