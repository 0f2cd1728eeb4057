"""Print figures about the structure of the code: `uv run python .ci/structure.py [--enters]`.

Lines and modules of each package, the modules that a module reaches by static imports, comments
for each hundred lines of code, and words that CONTRIBUTING.md rules out. With `--enters` it also
runs `plan` and a launch of one trial, and counts the files of ours in which a function runs.
"""

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nas_sweep", "orchestrator", "workers", "results_schema")
CLOSURES = ("workers.train", "results_schema.lease")
COMMENTED = (
    "orchestrator/execution", "workers/training", "workers/landscape",
    "results_schema/lease.py", "results_schema/s3/leases.py",
)  # fmt: skip
WORDS = {
    "told, tells": r"\b(told|tells)\b",
    "is none": r"\b(it )?is none\b",
    "anew, mend, goes on, leaves off, is owed": (
        r"\b(anew|mends?|mended|goes on|leaves? off|is owed)\b"
    ),
}
SMALL = """
title: One small trial
claim: None.
grid: {genotype: [DARTS], dataset: [digits], learning_rate: [0.025]}
network: {cells: 3, channels: 2}
recipe: {epochs: 1}
figures: {}
"""
COUNT = """
import inspect, sys, threading
root, out = sys.argv[1:3]
seen = set()
def profile(frame, event, argument):
    code = frame.f_code
    # Neither modules and bodies of classes, which are not optimized, nor lambdas.
    function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
    if event == "call" and function and code.co_filename.startswith(root):
        seen.add(code.co_filename)
sys.setprofile(profile)
threading.setprofile(profile)
sys.argv = ["nas-sweep", *sys.argv[3:]]
from orchestrator.cli.main import main
try:
    main()
finally:
    sys.setprofile(None)
    open(out, "w").write("\\n".join(sorted(seen)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enters", action="store_true", help="run `plan` and a launch too")
    options = parser.parse_args()
    modules = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    print("lines and modules")
    lines = Counter(package_of(path) for path in modules for _ in path.read_text().splitlines())
    for package, count in sorted(lines.items()):
        print(f"  {package:32} {count:7,} {sum(package_of(p) == package for p in modules):4}")
    print(f"  {'together':32} {lines.total():7,} {len(modules):4}")
    benchmarks = (ROOT / "benchmarks").rglob("*.py")
    print(f"  {'benchmarks':32} {sum(len(p.read_text().splitlines()) for p in benchmarks):7,}")
    folders = Counter(path.parent for path in modules)
    folder, most = folders.most_common(1)[0]
    print(f"  fullest folder: {folder.relative_to(ROOT)}, {most} modules")
    print("modules reached by static imports")
    for name in CLOSURES:
        print(f"  {name:32} {len(closure(name)):4}")
    print("comments for each 100 lines of code")
    for place in COMMENTED:
        paths = sorted((ROOT / place).rglob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
        code, comments = map(sum, zip(*map(count_comments, paths), strict=True))
        print(f"  {place:32} {100 * comments / code:6.1f}")
    print("words, in code and documents outside tests")
    texts = [path.read_text() for path in [*modules, *documents()]]
    for name, pattern in WORDS.items():
        print(f"  {name:42} {sum(len(re.findall(pattern, text)) for text in texts):4}")
    if options.enters:
        print("files in which a function runs")
        print(f"  plan experiments/fig9.yaml  {enters('plan', 'experiments/fig9.yaml'):4}")
        with tempfile.TemporaryDirectory(prefix="s") as folder:
            experiment = Path(folder, "small.yaml")
            experiment.write_text(SMALL)
            store = str(Path(folder, "results"))
            count = enters("launch", str(experiment), "--store", store, "--device", "cpu")
            print(f"  launch of one trial         {count:4}")


def package_of(path: Path) -> str:
    """Return the folder of a module: `workers/training` for one in it or below."""
    return "/".join(path.relative_to(ROOT).parts[:-1][:2])


def closure(name: str) -> set[str]:
    """Return the modules that a module imports, at any level of its code, itself among them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in found or path is None:
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                waiting += [node.module, *names]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
    return {module for module in found if path_of(module).name != "__init__.py"}  # type: ignore


def path_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    if path.name and path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def count_comments(path: Path) -> tuple[int, int]:
    """Return a module's lines of code, without docstrings and blank lines, and its comments."""
    text = path.read_text()
    code, comments = set(), 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(
            r"# (type|fmt|noqa|pyright)", token.string
        ):
            comments += 1
        elif token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
                                tokenize.DEDENT, tokenize.ENDMARKER):  # fmt: skip
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code), comments


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docker").glob("*.md")]


def enters(*words: str) -> int:
    """Return in how many files of ours a function runs while a command runs, in its own process."""
    with tempfile.NamedTemporaryFile("r") as out:
        command = [sys.executable, "-c", COUNT, str(ROOT), out.name, *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        found = [name for name in out.read().split("\n") if ".venv" not in name]
    return len(found)


if __name__ == "__main__":
    main()
