"""The report of a small store: what it shows, from the store alone, whatever names are in it."""

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.report.write import report_name
from results_schema import layout

HOSTILE = "</script><script>alert(1)</script> & <b>β</b>"
EXPERIMENT = f"""
title: "{HOSTILE}"
claim: A claim of <i>ours</i>.
grid: {{genotype: [DARTS], dataset: [digits], seed: [0, 1, 2]}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: EPOCHS, batch_size: 480}}
figures: {{small: accuracy_by_index}}
tables: {{sizes: parameters}}
"""


@pytest.fixture
def declare(trained, tmp_path, monkeypatch):
    """Records an experiment of the three trials of a store, with replaced parts; no browser."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    text = EXPERIMENT.replace("EPOCHS", str(trained.specs[0].recipe.epochs))

    def declare(name="small", replaced="", by=""):
        (tmp_path / f"{name}.yaml").write_text(text.replace(replaced, by) if replaced else text)
        record(load_experiment(tmp_path / f"{name}.yaml"), trained.store)

    declare()
    return declare


@pytest.fixture
def report(run, declare):
    """Runs `report` with some arguments; returns the page at a path, without scripts and styles."""

    def report(*arguments, page="results/reports/small/index.html"):
        code, output, errors = run("report", *arguments)
        assert code == 0, errors
        assert Path(page).name in output
        text = Path(page).read_text("utf-8")
        return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)

    return report


def words(page: str) -> str:
    """What a reader sees, roughly."""
    return unescape(re.sub(r"<[^>]*>", " ", page))


def test_a_folder_shows_what_was_run_made_and_tested(report, trained):
    page = report("small")
    folder, shown = Path("results/reports/small"), words(page)
    assert "3 done" in shown
    assert "A claim of <i>ours</i>." in shown and HOSTILE in shown
    assert all(trial_id in shown for trial_id in trained.ids)
    assert shown.count("ended there") == 1 and "3 trials, 0 surfaces" in shown
    # A picture that no browser can draw leaves the figure open.
    assert "PNG skipped" in shown
    assert '<details data-page="small.html"' in page and " open>" in page
    row = re.search(r"Normal cells of popular searches.*?popular-widest\s+(\w+)", shown, re.DOTALL)
    assert row and row[1] == "supported"
    assert re.search(r"Adapted cells have a lower error on CIFAR-100\.\s+needs ", shown)
    rows = (folder / "sizes.csv").read_text().splitlines()
    assert rows[0].startswith("base,index,variant,printed,parameters")
    assert rows[1].split(",")[:5] == ["DARTS", "0", "DARTS", "3.35", "3349342"]
    for target in re.findall(r'(?:href|src|data-page)="([^"#][^"]*)"', page):
        assert not target.startswith(("http", "/")), target
        assert (folder / target).exists(), target
    for file in folder.glob("*.html"):
        assert "<script>alert" not in file.read_text("utf-8")
    [script] = re.findall(r'<script src="(.*?)"', (folder / "small.html").read_text("utf-8"))
    assert (folder / script).samefile(trained.store.root / layout.PLOTLY)
    assert not list(folder.glob("*.js")), "the reports of a store share it"
    report("small", "--to", "alone", page="alone/index.html")
    [script] = re.findall(r'<script src="(.*?)"', Path("alone/small.html").read_text("utf-8"))
    assert Path("alone", script).stat().st_size > 1_000_000, "a folder of its own needs no other"


def test_one_file_holds_everything(report, tmp_path):
    file = tmp_path / "shared/all.html"
    page = report("small", "--single", "--to", file, page=file)
    assert list(file.parent.iterdir()) == [file]
    text = file.read_text("utf-8")
    assert "plotly.js v" in text
    assert "<script>alert" not in text.replace("\\u003c", "«")
    assert not re.findall(r'(?:src|data-page)="(?!data:)', page)


def test_what_failed_is_shown_and_leaves_the_rest(report, trained):
    trained.fail(trained.ids[0], message="out of <memory>")
    # A launch would refuse a figure without its surfaces.
    declared = json.loads(trained.store.get(layout.experiment("small")))
    declared["figures"]["small"] = {"kind": "contours"}
    trained.store.put(layout.experiment("small"), json.dumps(declared).encode())
    shown = words(report("small"))
    assert "out of <memory>" in shown and "2 done, 1 failed" in shown
    assert "contours has no surface of kind contour to show" in shown
    assert "Table 3" in shown


@pytest.mark.parametrize(
    ("arguments", "declaration", "message"),
    [
        (["small"], None, "launch the experiment again"),
        (["small"], b'{"title": 3', "experiments/small.json"),
        (["small", "--to", "small.yaml/below"], b"", "cannot write the report"),
        (["large"], b"", "large"),
        (["small", "--single", "--picture", "pdf"], b"", "a single file holds no PDF"),
    ],
)
def test_what_cannot_be_reported_is_named(run, declare, trained, arguments, declaration, message):
    if declaration is None:
        trained.store.delete(layout.experiment("small"))
    elif declaration:
        trained.store.put(layout.experiment("small"), declaration)
    code, _, errors = run("report", *arguments)
    assert code in (2, 3)
    assert message in errors and "Traceback" not in errors


def test_figures_of_one_name_in_two_experiments_are_two(report, declare, tmp_path):
    figures = {"one": "small", "two": "small", "claims": "index", "odd": "one-small"}
    for name, figure in (figures | {"forest": "all-claims"}).items():
        declare(name, "{small:", f"{{{figure}:")
    page = report(*figures, "forest", page=f"results/reports/{'+'.join(figures)}+forest/index.html")
    files = {file.name for file in (tmp_path / "results/reports").rglob("*.html")}
    assert files == {
        "index.html", "one-small-again.html", "two-small.html", "claims-index.html",
        "one-small.html", "forest-all-claims.html", "claims-all-claims.html",
    }  # fmt: skip
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))


def test_links_lead_to_logs_whatever_the_folder_is_called(report, trained, tmp_path):
    odd = tmp_path / "50% #1?"
    trained.store.root.rename(odd)
    page = report("small", "--store", odd, "--to", "out", page="out/index.html")
    links = re.findall(r'href="([^"]*\.log)"', page)
    assert len(set(links)) == 3
    assert all("attempt 1" in (tmp_path / "out" / unquote(link)).read_text() for link in links)


def test_many_experiments_make_a_name_that_a_file_can_have():
    assert report_name(["fig3", "fig9"]) == "fig3+fig9"
    many = [f"fig{n}" for n in range(1, 27)]
    assert report_name(many).startswith("fig1+25-more-")
    assert report_name(many) != report_name([*many[:-1], "fig99"])
    assert report_name(["x" * 80]) == "x" * 80
