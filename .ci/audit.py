"""Looks every pinned package up in the database of known vulnerabilities, by pip-audit.

`uv run python .ci/audit.py` fails if there is a finding that `EXPLAINED` does not excuse. Where the
database can't be reached nothing is known, and that is said.
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
AUDIT = "tool run pip-audit==2.10.1 --no-deps --disable-pip --progress-spinner off --format json"

EXPLAINED: dict[str, str] = {}
"""Id of an advisory, to why it does not concern us."""


def main() -> int:
    command = ["uv", *AUDIT.split(), "--requirement", str(CONSTRAINTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit does not run here, so that nothing is known:\n{done.stderr[-1000:]}")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    found = {
        advisory["id"]: f"{package['name']} {package['version']}"
        for package in asked
        for advisory in package["vulns"]
    }
    for advisory, package in found.items():
        print(f"{package}: {advisory}: {EXPLAINED.get(advisory, 'not explained')}")
    unexplained = len(found.keys() - EXPLAINED.keys())
    print(f"{unexplained} unexplained findings in {len(asked)} packages")
    if left := len(packages) - len(asked):
        print(f"{left} packages are not in the database that can be reached: nothing is known")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
