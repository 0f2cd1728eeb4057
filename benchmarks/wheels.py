"""Gather what a bare GPU machine lacks for a launch: `python benchmarks/wheels.py site.tar.xz`.

Installs the pinned versions of Ray and its few dependencies for another machine's Python, removes
Ray's Java archives, and packs the rest. On the machine:

    mkdir site && tar -xf site.tar.xz -C site && export PYTHONPATH=$PWD/site

torch, numpy, pandas, pyarrow, safetensors, scikit-learn and their dependencies are expected there.
Needs uv here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = (
    *("aiohappyeyeballs", "aiohttp", "aiohttp-cors", "aiosignal", "annotated-types", "attrs"),
    *("click", "colorful", "filelock", "frozenlist", "google-api-core", "google-auth"),
    *("googleapis-common-protos", "idna", "jsonpointer", "jsonschema", "jsonschema-specifications"),
    *("msgpack", "multidict", "opencensus", "opencensus-context", "opentelemetry-api"),
    *("opentelemetry-exporter-prometheus", "opentelemetry-proto", "opentelemetry-sdk"),
    *("opentelemetry-semantic-conventions", "propcache", "psutil", "pydantic", "pydantic-core"),
    *("ray", "referencing", "rfc3339-validator", "rpds-py", "ruamel-yaml", "typing-inspection"),
    *("wcwidth", "yarl"),
)
"""What a launch imports beyond a bare machine's packages."""


def main() -> int:
    """Install and pack; return 0, 1 if a package can't be installed, 3 without uv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="file to write or replace: NAME.tar.xz")
    parser.add_argument("--python", default="3.12", help="version on the machine (default: 3.12)")
    parser.add_argument("--platform", default="x86_64-manylinux_2_34", help="as uv names it")
    options = parser.parse_args()
    uv = shutil.which("uv")
    if uv is None:
        print("error: uv is not on PATH; install it with: pip install uv", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder:
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--target", folder, "--python-version", options.python]
        command += ["--python-platform", options.platform, *pins()]
        if subprocess.run(command).returncode:
            return 1
        shutil.rmtree(Path(folder) / "ray/jars")
        with tarfile.open(options.archive, "w:xz", preset=6) as archive:
            archive.add(folder, arcname=".")
    print(f"{options.archive}: {options.archive.stat().st_size / 2**20:.1f} MiB")
    return 0


def pins() -> list[str]:
    """Return "name==version" of each package, as this repository pins it."""
    constraints = (Path(__file__).parents[1] / "constraints.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", constraints, re.MULTILINE))
    return [f"{name}=={pinned[name]}" for name in PACKAGES]


if __name__ == "__main__":
    sys.exit(main())
