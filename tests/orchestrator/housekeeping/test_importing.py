"""Other people's results in each form that is accepted, and what is refused without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import stated_target
from orchestrator.figures import draw, read_choice
from orchestrator.housekeeping.contract import check_tables
from orchestrator.paper.claims import findings
from orchestrator.paper.claims.population import Population
from orchestrator.planning.plan import make_plan
from orchestrator.report.write import make_report
from results_schema import layout
from results_schema.results import Results
from results_schema.store import open_store
from workers.cells.bases import named
from workers.cells.variants import connection_variants

EPOCHS = 20
CELLS = {"DARTS": named("DARTS")} | {
    f"C{v.index}": v.genotype for v in connection_variants("DARTS", "paper13")[:5]
}
NAMES = list(CELLS)
ACCURACIES = np.array(
    [
        [0.9 * (1 - np.exp(-(0.1 + 0.05 * g.width) * e)) for e in range(1, EPOCHS + 1)]
        for g in CELLS.values()
    ]
) * (1 - 0.001 * np.arange(len(CELLS))[:, None])  # by number, as some cells are equally wide


def flat(cell: Any) -> list[tuple[str, int]]:
    return [(edge.op, edge.source) for node in cell.nodes for edge in node]


def nested(cell: Any) -> list[list[tuple[str, int]]]:
    return [[(edge.op, edge.source) for edge in node] for node in cell.nodes]


def text(form: Callable[[Any], Any]) -> str:
    parts = "normal={!r}, normal_concat=range(2, 6), reduce={!r}, reduce_concat=range(2, 6)"
    calls = [
        f"{name} = Genotype({parts.format(form(one.normal), form(one.reduce))})"
        for name, one in CELLS.items()
    ]
    return "\n".join(["from model.genotypes import Genotype", *calls])


def darts(form: Callable[[Any], Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "normal": form(one.normal), "normal_concat": [2, 3, 4, 5]}
        | {"reduce": form(one.reduce), "reduce_concat": [2, 3, 4, 5]}
        for name, one in CELLS.items()
    ]


def long() -> pd.DataFrame:
    rows = [
        {"cell": name, "epoch": e + 1, "test_accuracy": curve[e], "test_loss": 2 * (1 - curve[e])}
        for name, curve in zip(NAMES, ACCURACIES, strict=True)
        for e in range(EPOCHS)
    ]
    return pd.DataFrame(rows)


def shapes() -> pd.DataFrame:
    rows = [{"cell": name, "width": g.width, "depth": g.depth} for name, g in CELLS.items()]
    return pd.DataFrame(rows)


def by_epoch() -> pd.DataFrame:
    wide = pd.DataFrame(ACCURACIES, columns=[f"epoch_{e}" for e in range(EPOCHS)])
    return wide.assign(name=NAMES)


def by_cell() -> pd.DataFrame:
    return pd.DataFrame(ACCURACIES.T, columns=NAMES).assign(epoch=range(1, EPOCHS + 1))


CELL_FILES: dict[str, Any] = {
    "cells.json": {name: one.to_json() for name, one in CELLS.items()},
    "listed.json": [{"name": n, "genotype": one.to_json()} for n, one in CELLS.items()],
    "flat.json": darts(flat),
    "nested.json": darts(nested),
    "flat.txt": text(flat),
    "nested.py": text(nested),
    "shapes.csv": shapes(),
    "genotypes.parquet": pd.DataFrame(
        {"variant": NAMES, "genotype": [json.dumps(one.to_json()) for one in CELLS.values()]}
    ),
}
WIDE = "test_accuracy="
CURVE_FILES: dict[str, tuple[str, Any, list[str]]] = {
    "acc.npy": (WIDE, ACCURACIES, []),
    "seeds.npy": (WIDE, np.stack([ACCURACIES, 0.99 * ACCURACIES], axis=1), []),
    "long.csv": ("", long(), []),
    "long.parquet": ("", long(), []),
    "by_epoch.csv": (WIDE, by_epoch(), ["--first-epoch", "0"]),
    "by_cell.parquet": (WIDE, by_cell(), []),
    "percent.csv": ("", long().assign(test_accuracy=100 * long()["test_accuracy"]), []),
}
KNOWN = ["--dataset", "cifar10", "--learning-rate", "0.025", "--base", "DARTS", "--unit", "share"]


def put(path: Path, content: Any) -> Path:
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, pd.DataFrame):
        write = content.to_parquet if path.suffix == ".parquet" else content.to_csv
        write(path, index=False)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def imported(tmp_path: Path, run: Any) -> Callable[..., Any]:
    """Import files of these names and contents; returns what `run` does."""

    def call(cells: tuple[str, Any], curves: tuple[str, Any], options: list[str], measure=""):
        files = [put(tmp_path / name, content) for name, content in (cells, curves)]
        words = ["import", "--experiment", "ours", "--store", str(tmp_path / "results"), "--yes"]
        words += ["--cells", str(files[0]), "--curves", f"{measure}{files[1]}", *options]
        return run(*words)

    return call


@pytest.fixture
def results(tmp_path: Path, imported: Callable[..., Any]) -> Results:
    code, _, problem = imported(("flat.txt", CELL_FILES["flat.txt"]), ("long.csv", long()), KNOWN)
    assert code == 0, problem
    return Results(tmp_path / "results")


@pytest.mark.parametrize("name", CELL_FILES)
def test_cells_of_every_form_are_the_same(tmp_path, imported, name):
    code, output, problem = imported((name, CELL_FILES[name]), ("long.csv", long()), KNOWN)
    assert code == 0, problem
    assert "6 trials written" in output
    found = Results(tmp_path / "results")
    members = found.members("ours")
    assert members["variant"].tolist() == NAMES
    assert members["index"].tolist() == list(range(6))
    assert members["width"].tolist() == [one.width for one in CELLS.values()]
    assert set(members["base"]) == {"DARTS"}
    assert len(found.cells("ours")) == (0 if name == "shapes.csv" else 6)


@pytest.mark.parametrize("name", CURVE_FILES)
def test_curves_of_every_form_are_the_same(tmp_path, imported, name):
    measure, content, options = CURVE_FILES[name]
    known = [*KNOWN[:-1], "percent" if name == "percent.csv" else "share", *options]
    cells = ("flat.txt", CELL_FILES["flat.txt"])
    code, _, problem = imported(cells, (name, content), known, measure)
    assert code == 0, problem
    metrics = Results(tmp_path / "results").metrics("ours")
    first = metrics[metrics["seed"] == 0]
    assert first["epoch"].tolist() == [*range(1, EPOCHS + 1)] * len(CELLS)
    assert first["test_accuracy"].tolist() == pytest.approx(ACCURACIES.ravel().tolist())
    assert sorted(set(metrics["seed"])) == ([0, 1] if name == "seeds.npy" else [0])


def test_every_reader_reads_them_and_no_plan_reuses_them(tmp_path, results, run):
    trials = results.trials("ours")
    assert set(trials["origin"]) == {"imported"}
    assert set(trials["status"]) == {"done"}
    assert trials["test_accuracy"].tolist() == pytest.approx(ACCURACIES[:, -1].tolist())
    assert trials["best_test_accuracy"].tolist() == pytest.approx(ACCURACIES.max(1).tolist())
    late = ACCURACIES[:, -10:].mean(1)
    assert trials["late_test_accuracy"].tolist() == pytest.approx(late.tolist())
    assert [one.verdict for one in check_tables(results.store)] == ["ok"] * 9

    code, output, _ = run("status", "--store", str(tmp_path / "results"), "--format", "json")
    assert code == 0
    assert json.loads(output)["experiments"]["ours"]["done"] == 6

    def read(name: str) -> pd.DataFrame:
        return getattr(results, name)("ours")

    assert draw(read_choice("convergence"), read, "x").data
    experiment = tmp_path / "own.yaml"
    experiment.write_text("title: T\nclaim: C\ngrid: {genotype: [DARTS], dataset: [cifar10]}\n")
    plan = make_plan([load_experiment(experiment)], results.store)
    assert (len(plan.remaining), plan.earlier_ids) == (1, 0)
    assert run("retry", "--store", str(tmp_path / "results"), "ours")[0] == 0
    assert len(results.trials("ours")) == 6


@pytest.mark.docs
def test_a_report_draws_what_was_imported(results):
    assert any(one.cells for one in findings(results, ["ours"]))
    made = make_report(results.store, ["ours"], to=None, single=False, pictures=[])
    assert not made.failures
    assert {"accuracy", "convergence"} <= {
        key.rpartition("/")[2].partition(".")[0].removeprefix("ours-")
        for key in results.store.list("reports/")
    }


def test_a_curve_that_ends_without_a_number_diverged(tmp_path, imported):
    curves = ACCURACIES.copy()
    curves[3, 7:] = np.nan
    curves[4] = np.nan
    code, _, problem = imported(
        ("flat.txt", CELL_FILES["flat.txt"]), ("acc.npy", curves), KNOWN, WIDE
    )
    assert code == 0, problem
    trials = Results(tmp_path / "results").trials("ours").set_index("variant")
    assert trials.loc["C3", ["status", "epochs"]].tolist() == ["diverged", 8]
    assert trials.loc["C4", ["status", "epochs"]].tolist() == ["diverged", 1]
    assert trials["status"].tolist().count("diverged") == 2


def test_without_a_base_a_target_stands_in(tmp_path, imported):
    options = [*KNOWN[:4], "--unit", "share", "--no-base", "--target", "0.85"]
    code, _, problem = imported(("s.csv", shapes()), ("acc.npy", ACCURACIES), options, WIDE)
    assert code == 0, problem
    found = Results(tmp_path / "results")
    assert found.members("ours")["index"].tolist() == [1, 2, 3, 4, 5, 6]
    assert stated_target(found.store, "ours") == 0.85
    times = Population(found, ["ours"]).trials["epochs_90"]
    assert all(1 <= time <= EPOCHS for time in times)


def test_nothing_is_written_without_a_yes_and_nothing_twice(tmp_path, imported, results, run):
    again = imported(("flat.txt", CELL_FILES["flat.txt"]), ("long.csv", long()), KNOWN)
    assert again[0] == 2
    assert "--experiment" in again[2]
    words = ["--cells", str(tmp_path / "flat.txt"), "--curves", str(tmp_path / "long.csv"), *KNOWN]
    code, output, problem = run(
        "import", "--experiment", "x", "--store", str(tmp_path / "s"), *words
    )
    assert code == 2
    assert "C5" in output and "--yes" in problem
    assert not (tmp_path / "s").exists()


def without(*options: str) -> list[str]:
    return [word for i, word in enumerate(KNOWN) if not {word, *KNOWN[i - 1 : i]} & {*options}]


def changed(rows: Any, column: str, value: Any) -> pd.DataFrame:
    frame = long().astype({column: object})
    frame.loc[rows, column] = value
    return frame


GOOD = ("shapes.csv", shapes())
FLAT = text(flat)
BAD: dict[str, tuple[Any, Any, list[str], str]] = {
    "percent as share": (GOOD, changed([5], "test_accuracy", 61.2), KNOWN, "--unit percent"),
    "above one": (GOOD, changed([5], "test_accuracy", 1.2), KNOWN, "1.2"),
    "share as percent": (GOOD, long(), [*KNOWN[:-1], "percent"], "--unit share"),
    "above 100 percent": (
        GOOD,
        long().assign(test_accuracy=150.0),
        [*KNOWN[:-1], "percent"],
        "use numbers from 0 to 100",
    ),
    "semicolons": (GOOD, "cell;epoch;test_accuracy\nC0;1;50,2\n", KNOWN, "separated by ';'"),
    "UTF-16": (GOOD, "cell,epoch\nC0,1\n".encode("utf-16"), KNOWN, "save it in UTF-8"),
    "two units": (GOOD, long().assign(train_accuracy=60.0), KNOWN, "train_accuracy"),
    "negative accuracy": (GOOD, changed([5], "test_accuracy", -0.1), KNOWN, "-0.1"),
    "negative loss": (GOOD, changed([7], "test_loss", -2.0), KNOWN, "-2"),
    "duplicate": (GOOD, pd.concat([long(), long().iloc[[3]]]), KNOWN, "epoch 4"),
    "gap": (GOOD, long().drop(index=[4]), KNOWN, "epoch 6"),
    "hole": (GOOD, changed([4], "test_loss", np.nan), KNOWN, "epoch 5"),
    "short": (GOOD, long().drop(index=[19]), KNOWN, "epoch 19"),
    "no numbers": (GOOD, changed([4], "test_accuracy", "61.2%"), KNOWN, "61.2%"),
    "half an epoch": (GOOD, changed([4], "epoch", 4.5), KNOWN, "4.5"),
    "late start": (GOOD, long().assign(epoch=long()["epoch"] + 3), KNOWN, "epoch 4"),
    "from zero": (GOOD, long().assign(epoch=long()["epoch"] - 1), KNOWN, "--first-epoch"),
    "unknown cell": (GOOD, changed([4], "cell", "C9"), KNOWN, "C9"),
    "no measure": (GOOD, long()[["cell", "epoch"]], KNOWN, "test_accuracy"),
    "no test accuracy": (GOOD, long().drop(columns="test_accuracy"), KNOWN, "test_accuracy"),
    "no rows": (GOOD, long().iloc[:0], KNOWN, "no rows"),
    "one curve twice": (
        GOOD,
        changed(range(20, 40), "test_accuracy", ACCURACIES[0].tolist()),
        KNOWN,
        "same curve",
    ),
    "wrong rows": (GOOD, ACCURACIES[:4], KNOWN, "[4, 20]"),
    "pickled": (GOOD, np.array([[{}]], dtype=object), KNOWN, "pickle"),
    "which unit": (GOOD, long(), without("--unit"), "--unit"),
    "which dataset": (GOOD, long(), without("--dataset"), "--dataset"),
    "which rate": (GOOD, long(), without("--learning-rate"), "--learning-rate"),
    "which base": (GOOD, long(), without("--base"), "--no-base"),
    "no such base": (GOOD, long(), [*without("--base"), "--base", "X"], "'X'"),
    "rate of zero": (GOOD, long(), [*without("--learning-rate"), "--learning-rate", "0"], "rate"),
    "two datasets": (GOOD, long().assign(dataset="svhn"), KNOWN, "--dataset"),
    "bad dataset": (GOOD, long().assign(dataset="CIFAR 10"), without("--dataset"), "CIFAR 10"),
    "target of a base": (GOOD, long(), [*KNOWN, "--target", "0.9"], "--no-base"),
    "a name twice": (("s.csv", pd.concat([shapes(), shapes()])), long(), KNOWN, "DARTS"),
    "a cell twice": (("c.txt", f"{FLAT}\nX{FLAT.splitlines()[1][5:]}"), long(), KNOWN, "X"),
    "no depth": (("s.csv", shapes().drop(columns="depth")), long(), KNOWN, "depth"),
    "unknown operation": (("c.txt", FLAT.replace("max_pool_3x3", "blur")), long(), KNOWN, "blur"),
    "code": (("c.py", "import os\nos.system('true')\nx = 1"), long(), KNOWN, "c.py"),
    "no JSON": (("c.json", "{"), long(), KNOWN, "c.json"),
    "unknown file": (("c.pkl", "x"), long(), KNOWN, ".json"),
    "a base without": (
        ("s.csv", shapes().assign(index=range(1, 7), base="X")), long(), without("--base"), "X",
    ),
    "no bases": (("s.csv", shapes().assign(index=range(6))), long(), without("--base"), "base"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_a_line_and_nothing_is_written(tmp_path, imported, name):
    cells, curves, options, named_in = BAD[name]
    array = isinstance(curves, np.ndarray)
    file, measure = ("a.npy", WIDE) if array else ("a.csv", "")
    code, output, problem = imported(cells, (file, curves), options, measure)
    assert code == 2, output
    assert named_in in problem
    what, *fix = problem.strip().splitlines()
    assert what.startswith("error: ") and len(fix) <= 1
    assert not (tmp_path / "results").exists()


def test_the_check_of_tables_names_what_is_wrong_in_anyone_s_folder(tmp_path):
    for table, rows in {
        "members": pd.DataFrame({"trial_id": ["a"], "index": [0], "experiment": ["x"]}),
        "trials": pd.DataFrame(
            {"trial_id": ["a"], "status": ["completed"], "test_accuracy": [97.0]}
        ),
        "metrics": pd.DataFrame(
            {"trial_id": ["a"] * 2, "epoch": [0, 2], "test_accuracy": [0.1, 0.2]}
        ),
    }.items():
        (tmp_path / table).mkdir()
        rows.to_parquet(tmp_path / table / ("x.parquet" if table == "members" else "all.parquet"))
    found = list(check_tables(open_store(tmp_path)))
    bad = " ".join(one.found for one in found if one.verdict == "bad")
    assert "neither done nor diverged" in bad
    assert "trials have a test_accuracy outside 0 to 1: 1" in bad
    assert "1 epochs are missing, stand twice or begin with 0" in bad
    notes = {one.name: one.found for one in found if one.verdict == "note"}
    assert "members/base" in notes["claims"]
    assert "status" in notes


def test_a_column_of_another_type_is_named(tmp_path):
    (tmp_path / "trials").mkdir()
    pd.DataFrame({"trial_id": ["a"], "test_accuracy": ["high"]}).to_parquet(
        tmp_path / "trials/a.parquet"
    )
    found = {one.name: one for one in check_tables(open_store(tmp_path))}
    assert found["trials"].verdict == "bad"
    assert "trials/a.parquet" in found["trials"].found and "'high'" in found["trials"].found


def test_the_tables_of_our_own_store_are_sound(trained):
    assert {one.verdict for one in check_tables(trained.store)} == {"ok"}


def test_a_damaged_table_is_named_with_its_own_remedy(trained):
    key = layout.surface(f"{trained.ids[0]}@e002-0123456789")
    trained.store.put(key, b"PAR1")
    [bad] = [one for one in check_tables(trained.store) if one.verdict == "bad"]
    assert (bad.name, key in bad.found, "launch again" in bad.fix) == ("surfaces", True, True)


def test_the_document_lists_every_column_with_who_needs_it():
    from orchestrator.housekeeping.contract import SCHEMAS, needed_by

    document = Path("docs/import.md").read_text("utf-8")
    for folder, schema in SCHEMAS.items():
        for field in schema:
            if commands := needed_by(folder, field.name):
                unit = field.metadata.get(b"unit", b"").decode() or "–"
                row = f"| {folder}{field.name} | {field.type} | {unit} | {', '.join(commands)} |"
                assert row in document
