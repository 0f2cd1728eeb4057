"""Pins every package: writes uv's resolution to constraints.txt and to pyproject.toml.

`uv run python .ci/pin.py` writes the versions of the present lock again, after a dependency came
or went; with `--upgrade` it first lets go of all pins and takes the newest versions that fit.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "constraints.txt"
BLOCK = re.compile(r"^constraint-dependencies = \[\n.*?^\]\n", re.MULTILINE | re.DOTALL)
EXPORT = "export --all-groups --no-emit-project --no-hashes --no-annotate --no-header --quiet"


def main(upgrade: bool) -> None:
    if upgrade:
        write_block([])
        uv("lock", "--upgrade")
    pins = uv(*EXPORT.split()).splitlines()
    CONSTRAINTS.write_text("".join(f"{pin}\n" for pin in pins))
    write_block(pins)
    uv("lock")


def write_block(pins: list[str]) -> None:
    block = "".join(f'    "{pin}",\n' for pin in pins)
    text, count = BLOCK.subn(f"constraint-dependencies = [\n{block}]\n", PROJECT.read_text())
    if count != 1:
        sys.exit(f"{PROJECT} has {count} lists of constraint-dependencies, not one")
    PROJECT.write_text(text)


def uv(*words: str) -> str:
    return subprocess.run(
        ["uv", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    main(upgrade="--upgrade" in sys.argv[1:])
