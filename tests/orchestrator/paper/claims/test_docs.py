"""docs/claims.md: its example works, and it names every claim."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.paper.claims import CLAIMS

ROOT = Path(__file__).parents[4]
TEXT = (ROOT / "docs/claims.md").read_text()


def test_a_store_filled_by_pandas_has_claims(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *_, example = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    subprocess.run([sys.executable, "-c", example], check=True)
    code, output, errors = run("claims", "--store", "ours", "--format", "json")
    assert code == 0, errors
    main = next(one for one in json.loads(output) if one["claim"] == "wider-faster")
    assert (main["verdict"], main["cells"]) == ("not testable", 8)
    assert main["size"] == pytest.approx(1)
    assert main["p"] < 0.01
    assert "measured on svhn" in main["reading"]


def test_every_claim_is_named():
    short = ("popular-widest", "c2-amoebanet")
    for claim in CLAIMS:
        assert claim.id in TEXT or claim.id.startswith(short)
