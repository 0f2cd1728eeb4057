"""docs/claims.md: its example works, and it tells every claim."""

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
    told = {(one["claim"], one["measure"]): one for one in json.loads(output)}
    main = told["wider-faster", "mean test accuracy over the first 20 % of epochs"]
    assert (main["verdict"], main["cells"]) == ("not a test", 8)
    assert main["size"] == pytest.approx(1)
    assert main["p"] < 0.01
    assert "as measured on svhn" in main["reading"]


def test_every_claim_is_told():
    short = ("popular-widest", "c2-amoebanet")
    for claim in CLAIMS:
        assert claim.id in TEXT or claim.id.startswith(short)


def test_the_experiments_that_would_provide_data_exist():
    named = {
        name for claim in CLAIMS for name in re.findall(r"experiments/\S+?\.yaml", claim.needs)
    }
    assert len(named) > 5
    assert all((ROOT / name).is_file() for name in named)
