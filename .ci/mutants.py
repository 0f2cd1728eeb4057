"""Change the code in small ways and count the changes that its package's own tests notice.

    uv run python .ci/mutants.py --count 300 --seed 0

Each mutant is one change of one expression or statement, drawn by the seed with the same share for
every package. It is tested in a process of its own by the package's tests that are run by default:
those of the changed module first and real launches last, for 60 seconds at most. A mutant is killed
if a test fails; one whose tests pass or do not end in time survives. Code that tests run in
processes of their own is changed too.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil

TESTS = {
    "results_schema": "tests/results_schema",
    "workers/training": "tests/workers/training",
    "orchestrator/execution": "tests/orchestrator/execution",
    "orchestrator/paper/statistics": "tests/orchestrator/paper/statistics",
}
LIMIT = 60
LAST = "test_end_to_end"
"""Tests that take most of that time."""
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
}  # fmt: skip

# Loads the changed module in this process and in those that it starts.
SITE = """
import importlib.abc, importlib.util, os, sys
class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("MUTANT_MODULE"):
            return importlib.util.spec_from_loader(name, self, origin=os.environ["MUTANT_PATH"])
    def exec_module(self, module):
        module.__file__ = os.environ["MUTANT_PATH"]
        # Closed at once: tests take a warning of an open file for a failure.
        with open(os.environ["MUTANT_SOURCE"]) as source:
            code = compile(source.read(), module.__file__, "exec")
        exec(code, module.__dict__)
sys.meta_path.insert(0, Changed())
"""

# Keeps the order of the files in the command, whatever the tests' own configuration does.
ORDER = """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    yield
    places = {path: place for place, path in enumerate(config.args)}
    items.sort(key=lambda item: places[str(item.path)])
"""


class Mutant(NamedTuple):
    """A changed module: its path, the line and the kind of the change, and its whole source."""

    package: str
    path: Path
    line: int
    kind: str
    source: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--package", choices=TESTS, action="append")
    parser.add_argument("--out", type=Path, help="write a line of JSON for each mutant")
    options = parser.parse_args()
    packages = options.package or list(TESTS)
    mutants = list(draw(options.root, packages, options.count // len(packages), options.seed))
    counts: Counter[tuple[str, str]] = Counter()
    with ThreadPoolExecutor(options.processes) as pool, tempfile.TemporaryDirectory() as site:
        Path(site, "sitecustomize.py").write_text(SITE)
        Path(site, "given_order.py").write_text(ORDER)
        results = pool.map(lambda mutant: run(mutant, options.root, site), mutants)
        for mutant, (outcome, seconds) in zip(mutants, results, strict=True):
            counts[mutant.package, outcome] += 1
            place = f"{mutant.path}:{mutant.line}"
            print(f"{outcome:9} {seconds:5.1f} s  {place}  {mutant.kind}", flush=True)
            if options.out:
                row = [outcome, seconds, mutant.package, str(mutant.path), mutant.line, mutant.kind]
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    for package in packages:
        killed = counts[package, "killed"]
        drawn = sum(count for (name, _), count in counts.items() if name == package)
        late = counts[package, "too slow"]
        print(f"{package:32} {killed:4} of {drawn:4} killed, {killed / drawn:.0%}; {late} too slow")
    killed = sum(count for (_, outcome), count in counts.items() if outcome == "killed")
    print(f"{'together':32} {killed:4} of {counts.total():4} killed, {killed / counts.total():.0%}")


def draw(root: Path, packages: list[str], count: int, seed: int) -> Iterator[Mutant]:
    """Yield `count` mutants of each package."""
    for package in packages:
        sites = []
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            places = range(sum(1 for _ in changes(tree)))
            sites += [(path.relative_to(root), place) for place in places]
        generator = random.Random(f"{seed} {package}")
        for path, place in generator.sample(sites, min(count, len(sites))):
            tree = ast.parse((root / path).read_text())
            node, kind, change = list(changes(tree))[place]
            line = getattr(node, "lineno", 0)
            change()
            yield Mutant(package, path, line, kind, ast.unparse(ast.fix_missing_locations(tree)))


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, object]]:
    """Yield every change of a module: its node, its kind and a function that makes it in place."""
    skipped = set(map(id, not_run(tree)))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                new = COMPARISONS[type(operator)]
                kind = f"{type(operator).__name__} to {new.__name__}"
                yield node, kind, lambda n=node, p=place, o=new: n.ops.__setitem__(p, o())
        elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC:
            new = ARITHMETIC[type(node.op)]
            kind = f"{type(node.op).__name__} to {new.__name__}"
            yield node, kind, lambda n=node, o=new: setattr(n, "op", o())
        elif isinstance(node, ast.BoolOp):
            new = ast.And if isinstance(node.op, ast.Or) else ast.Or
            kind = f"{type(node.op).__name__} to {new.__name__}"
            yield node, kind, lambda n=node, o=new: setattr(n, "op", o())
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node, "condition negated", lambda n=node: negate(n)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            new = not node.value if isinstance(node.value, bool) else node.value + 1
            kind = f"{node.value} to {new}"
            yield node, kind, lambda n=node, v=new: setattr(n, "value", v)
        elif isinstance(node, ast.Return) and node.value is not None:
            yield node, "returns None", lambda n=node: setattr(n, "value", ast.Constant(None))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            kind = "call left out"
            yield node, kind, lambda n=node: setattr(n, "value", ast.Constant(None))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield node, "raises another error", lambda n=node: other_error(n)


def not_run(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes whose change no test could notice: annotations, messages and logging."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.JoinedStr) or is_typing_block(node):
            parts = [node]
        for part in parts:
            if part is not None:
                yield from ast.walk(part)


def is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def negate(node: ast.If | ast.IfExp | ast.While) -> None:
    node.test = ast.UnaryOp(ast.Not(), copy.deepcopy(node.test))


def other_error(node: ast.Raise) -> None:
    node.exc = ast.Call(ast.Name("ZeroDivisionError", ast.Load()), [], [])


def run(mutant: Mutant, root: Path, site: str) -> tuple[str, float]:
    """Return what the package's tests make of a mutant, and after how many seconds."""
    name = ".".join(mutant.path.with_suffix("").parts).removesuffix(".__init__")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.py")
        source.write_text(mutant.source)
        environment = os.environ | {
            "PYTHONPATH": f"{site}{os.pathsep}{root}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MUTANT_MODULE": name,
            "MUTANT_PATH": str(root / mutant.path),
            "MUTANT_SOURCE": str(source),
            "OMP_NUM_THREADS": "1",
        }
        tests = TESTS[mutant.package]
        own = sorted(root.glob(f"{tests}/**/test_{mutant.path.stem}*.py"))
        others = set(root.glob(f"{tests}/**/test_*.py")) - set(own)
        rest = sorted(others, key=lambda path: (path.stem == LAST, path))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
        command += ["-p", "given_order", "--timeout=30", *map(str, [*own, *rest])]
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            outcome = "survived" if process.wait(LIMIT) == 0 else "killed"
        except subprocess.TimeoutExpired:
            outcome = "too slow"
        finally:
            process.kill()
            process.wait()
            kill_started(source)
        return outcome, time.monotonic() - start


def kill_started(source: Path) -> None:
    """Kill what a test run has started, also what left its session, as Ray's processes do."""
    left = True
    while left:  # a process may start another one meanwhile
        left = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("MUTANT_SOURCE") == str(source):
                    process.kill()
                    left = True


if __name__ == "__main__":
    main()
