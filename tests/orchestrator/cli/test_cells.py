"""`nas-sweep cells`, from the command line."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from orchestrator.cli.main import cli
from orchestrator.figures.export import find_browser
from results_schema.errors import MachineError, NasSweepError
from results_schema.trial import NetworkSpec
from workers.cells.bases import named, zoo
from workers.cells.notation import parse_genotype
from workers.network.network import Network


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["cells", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_without_a_name_it_lists_what_there_is():
    text = run().stdout
    assert "3.5c,3" in text
    assert "NASNet_ADAPT" in text
    assert f"Zoo of {len(zoo())} cells" in text
    data = json.loads(run("--format", "json").stdout)
    names = ["NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS"]
    assert [base["name"] for base in data["bases"]] == names
    assert all(base["width"] == base["printed_width"] for base in data["bases"])
    assert data["zoo"] == list(zoo())


def test_json_holds_the_genotypes_themselves(tmp_path: Path):
    records = json.loads(run("DARTS", "--format", "json").stdout)
    assert [record["index"] for record in records] == list(range(14))
    conn3 = records[1]
    genotype = parse_genotype(conn3["genotype"])
    assert (genotype.width, genotype.depth) == (conn3["width"], conn3["depth"]) == (2.0, 4)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(conn3["genotype"]))
    again = json.loads(run(str(own), "--format", "json").stdout)
    assert again[0]["live_parameters"] == conn3["live_parameters"] == 2_773_918


@pytest.mark.parametrize("form", ["csv", "md", "latex", "json"])
def test_every_form_prints_every_table(form: str):
    for words, shown in (
        (["SNAS", "PDARTS"], "PDARTS"),
        (["--table", "2"], "seed 125"),
        (["--table", "3"], "AmoebaNet"),
        ([], "SNAS"),
    ):
        assert shown in run(*words, "--format", form).stdout


def test_the_size_of_the_network_can_be_chosen():
    words = ("--channels", "16", "--cells", "8", "--classes", "7", "--auxiliary")
    (row,) = json.loads(run("DARTS", "--variants", "none", *words, "--format", "json").stdout)
    with torch.device("meta"):
        network = Network(named("DARTS"), NetworkSpec(8, 16), classes=7, auxiliary=True)
    assert row["parameters"] == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["--table", "1", "DARTS"], "--table goes with a format alone"),
        (["--variants", "paper13"], "variants of which cell"),
        (["DARTS", "--variants", "paper14"], "use .*paper13"),
        (["DARTS", "--channels", "3"], "use an even number"),
        (["DARTS", "--draw", "cells.gif"], r"end its name in \.html"),
        (["DARTS", "--draw", "none/such/cells.html"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_refused(words: list[str], reported: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NasSweepError, match=reported) as caught:
        run(*words)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_page_is_drawn_without_a_browser_and_a_picture_is_not(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(NasSweepError, match="no file") as caught:
        run("DARTS", "--draw", str(tmp_path / "cells.png"))
    assert caught.value.exit_code == 3
    page = tmp_path / "cells.html"
    result = run("DARTS", "--variants", "none", "--draw", str(page), "--format", "json")
    assert json.loads(result.stdout)
    assert "Plotly.newPlot" in page.read_text()


@pytest.mark.browser
def test_it_draws_a_picture_where_there_is_a_browser(tmp_path: Path):
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: pictures of cells are not tested")
    picture = tmp_path / "cells.svg"
    result = run("AmoebaNet", "SNAS", "--variants", "none", "--reduction", "--draw", str(picture))
    assert f"drawn: {picture}" in result.stdout.replace("\n", "")
    text = picture.read_text()
    assert text.startswith("<svg")
    for title in ("AmoebaNet (4c, 4)", "AmoebaNet, reduction (4c, 3)", "SNAS (4c, 2)"):
        assert title in text
