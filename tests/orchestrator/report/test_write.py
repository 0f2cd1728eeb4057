"""The report of a small store: what it tells, from the store alone, whatever names are in it."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.report.write import head_rows, report_name
from results_schema import layout

HOSTILE = "</script><script>alert(1)</script> & <b>β</b>"
EXPERIMENT = f"""
title: "{HOSTILE}"
claim: A claim of <i>ours</i>.
grid: {{genotype: [DARTS], dataset: [digits], seed: [0, 1, 2]}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: 3, batch_size: 480}}
figures: {{small: accuracy_by_index}}
tables: {{sizes: parameters}}
"""


@pytest.fixture
def store(trained, tmp_path, monkeypatch):
    """Three ended trials whose experiment asks for a figure and a table; no browser."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    text = EXPERIMENT.replace("epochs: 3", f"epochs: {epochs(trained)}")
    (tmp_path / "small.yaml").write_text(text)
    record(load_experiment(tmp_path / "small.yaml"), trained.store)
    return trained


def epochs(trained) -> int:
    return load_experiment(trained.experiment).members()[0].spec.recipe.epochs


def words(page: Path) -> str:
    """What a reader sees, roughly."""
    return unescape(re.sub(r"<[^>]*>", " ", markup(page)))


def markup(page: Path) -> str:
    """The page without what its scripts and styles say."""
    text = page.read_text("utf-8")
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_the_folder_tells_what_was_run_and_links_only_to_what_is_there(run, store):
    code, output, _ = run("report", "small")
    assert code == 0
    page = Path("results/reports/small/index.html")
    assert str(page) in output
    said = words(page)
    assert "3 done" in said
    assert "A claim of <i>ours</i>." in said
    for trial_id in store.ids:
        assert trial_id in said
    for target in re.findall(r'(?:href|src|data-page)="([^"#][^"]*)"', page.read_text("utf-8")):
        assert not target.startswith(("http", "/")), target
        assert (page.parent / target).exists(), target


def test_names_are_shown_as_they_stand_and_run_nothing(run, store):
    run("report", "small")
    page = Path("results/reports/small/index.html")
    assert HOSTILE in words(page)
    for file in page.parent.glob("*.html"):
        assert "<script>alert" not in file.read_text("utf-8")


def test_one_file_holds_everything(run, store, tmp_path):
    code, output, _ = run("report", "small", "--single", "--to", tmp_path / "shared/all.html")
    assert code == 0 and "all.html" in output
    page = tmp_path / "shared/all.html"
    text = page.read_text("utf-8")
    assert list(page.parent.iterdir()) == [page]
    assert "plotly.js v" in text
    assert "<script>alert" not in text.replace("\\u003c", "«")
    assert not re.findall(r'(?:src|data-page)="(?!data:)', markup(page))


def test_pictures_that_no_browser_can_draw_are_told_and_the_figure_stands_open(run, store):
    run("report", "small")
    text = Path("results/reports/small/index.html").read_text("utf-8")
    assert "PNG skipped" in text
    assert '<details data-page="small.html"' in text and " open>" in text


def test_failures_and_what_is_owed_are_told(run, store):
    store.fail(store.ids[0], message="out of <memory>")
    run("report", "small")
    said = words(Path("results/reports/small/index.html"))
    assert "out of <memory>" in said
    assert "2 done, 1 failed" in said


def test_numbers_of_tables_stand_in_files_of_their_own(run, store):
    run("report", "small")
    rows = Path("results/reports/small/sizes.csv").read_text().splitlines()
    assert rows[0].startswith("base,index,variant,printed,parameters")
    assert rows[1].split(",")[:5] == ["DARTS", "0", "DARTS", "3.35", "3349342"]


def test_a_figure_that_can_not_be_drawn_leaves_the_rest(run, store, tmp_path):
    text = (tmp_path / "small.yaml").read_text()
    (tmp_path / "small.yaml").write_text(text.replace("accuracy_by_index", "contours"))
    record(load_experiment(tmp_path / "small.yaml"), store.store)
    code, _, _ = run("report", "small")
    assert code == 0
    said = words(Path("results/reports/small/index.html"))
    assert "contours has no surface of kind contour to show" in said
    assert "Table 3" in said


def test_a_store_of_an_older_release_is_told_to_launch_again(run, store):
    store.store.delete(layout.experiment("small"))
    code, _, errors = run("report", "small")
    assert code == 2
    assert "launch the experiment again" in errors


def test_a_damaged_declaration_is_named(run, store):
    store.store.put(layout.experiment("small"), b'{"title": 3')
    code, _, errors = run("report", "small")
    assert code != 0
    assert "experiments/small.json" in errors and "Traceback" not in errors


def test_a_place_that_can_not_be_written_is_told(run, store, tmp_path):
    (tmp_path / "file").touch()
    code, _, errors = run("report", "small", "--to", tmp_path / "file/below")
    assert code == 2
    assert "cannot write the report" in errors


def test_an_unknown_experiment_is_told(run, store):
    code, _, errors = run("report", "large")
    assert code == 2
    assert "large" in errors


def test_many_experiments_make_a_name_that_a_file_can_have():
    assert report_name(["fig3", "fig9"]) == "fig3+fig9"
    many = [f"fig{n}" for n in range(1, 27)]
    assert report_name(many).startswith("fig1+25-more-")
    assert report_name(many) != report_name([*many[:-1], "fig99"])
    assert report_name(["x" * 80]) == "x" * 80


def test_neighbours_share_the_first_line_of_a_tables_head():
    assert head_rows(["cell", "A\npaper", "A\nours", "B\npaper"]) == [
        [("", 1), ("A", 2), ("B", 1)],
        [("cell", 1), ("paper", 1), ("ours", 1), ("paper", 1)],
    ]
    assert head_rows(["a", "b"]) == [[("a", 1), ("b", 1)]]


def test_where_all_was_run_is_told_once(run, store):
    run("report", "small")
    said = words(Path("results/reports/small/index.html"))
    assert said.count("ended there") == 1
    assert "3 trials, 0 surfaces" in said


def test_claims_are_told_with_what_they_need(run, store):
    run("report", "small")
    said = words(Path("results/reports/small/index.html"))
    row = re.search(r"Normal cells of popular searches.*?popular-widest\s+(\w+)", said, re.DOTALL)
    assert row and row[1] == "supported"
    assert re.search(r"Adapted cells have a lower error on CIFAR-100\.\s+needs ", said)


def test_figures_of_one_name_in_two_experiments_are_two(run, store, tmp_path):
    text = (tmp_path / "small.yaml").read_text()
    other = text.replace("seed: [0, 1, 2]", "seed: [0]").replace("{small:", "{index:")
    for name, content in (("one", text), ("two", text), ("claims", other)):
        (tmp_path / f"{name}.yaml").write_text(content)
        record(load_experiment(tmp_path / f"{name}.yaml"), store.store)
    code, _, errors = run("report", "one", "two", "claims", "--to", "all")
    assert code == 0, errors
    page = (tmp_path / "all/index.html").read_text("utf-8")
    assert {"one-small.html", "two-small.html", "claims-index.html"} <= {
        file.name for file in (tmp_path / "all").iterdir()
    }
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))


def test_links_lead_to_logs_whatever_the_folder_is_called(run, store, tmp_path):
    odd = tmp_path / "50% #1?"
    store.store.root.rename(odd)
    code, _, errors = run("report", "small", "--store", odd, "--to", "out")
    assert code == 0, errors
    links = re.findall(r'href="([^"]*\.log)"', (tmp_path / "out/index.html").read_text("utf-8"))
    assert len(set(links)) == 3
    assert all("attempt 1" in (tmp_path / "out" / unquote(link)).read_text() for link in links)


def test_a_single_file_holds_no_pdf(run, store):
    code, _, errors = run("report", "small", "--single", "--picture", "pdf")
    assert code == 2
    assert "a single file holds no PDF" in errors
