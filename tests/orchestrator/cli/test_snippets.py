"""Every snippet of the README and the documents runs on a store of several seeds, learning rates,
data sets and experiments, and its queries compare like with like."""

import ast
import io
import itertools
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_stores import EPOCHS, Trial, synthetic_store, synthetic_trials

from orchestrator.query.engine import query
from results_schema.store import LocalStore

pytestmark = pytest.mark.docs
ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = {page.name: FENCED.findall(page.read_text("utf-8")) for page in PAGES}

ELSEWHERE = {
    "README.md": {"yaml"},  # test_experiments_docs.py
    "SECURITY.md": {"nft", "sh"},  # tests/docker/test_nodes.py
    "experiments.md": {"yaml", "json", "sh"},  # test_experiments_docs.py
    "monitoring.md": {"yaml", "sh"},  # test_monitoring.py
    "claims.md": {"yaml"},  # paper/claims/test_stated.py
    "own-study.md": {"python", "yaml"},  # test_wheel.py
    "plugins.md": {"yaml"},  # config/test_plugins.py
    "programs.md": {"yaml"},  # workers/program/test_documented.py
    "stopping.md": {"yaml"},  # config/test_program.py
    "slurm.md": {"sh"},  # execution/test_slurm.py
}
"""Languages of blocks that have tests of their own."""

COMMANDS = sorted(
    {
        command.split("#")[0].strip()
        for page in PAGES
        for command in re.findall(
            r"(?:^    |`)(nas-sweep (?:query |status|export |claims --)[^`\n|]*)",
            page.read_text("utf-8"),
            re.MULTILINE,
        )
        # Those that wait, go elsewhere, take another file, or need a surface or a declared figure.
        if not re.search(r"--watch|--store|<|fig6|FORMAT|--figure", command)
    }
)

BEST = 3
"""Index of the variant that beats its base in every setting, by a hundredth."""

SETTINGS = {"datasets": ("cifar10", "cifar100"), "rates": (0.025, 0.25), "seeds": (0, 1, 2)}


def accuracies(trial: Trial) -> np.ndarray:
    """Test accuracies that differ more between settings than between cells."""
    spec = trial.spec
    final = 0.9 - 0.05 * spec.seed - 0.1 * (spec.dataset == "cifar100")
    final -= 0.15 * (spec.learning_rate > 0.1)
    final += 0.01 if trial.index == BEST else -0.01 * trial.index
    return np.linspace(0.1, final, EPOCHS)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store in which two experiments share their trials."""
    folder = tmp_path_factory.mktemp("varied")
    for experiment in ("fig9", "fig3"):
        trials = synthetic_trials(bases=("DARTS", "ENAS"), connections="paper4", **SETTINGS)
        store = synthetic_store(
            folder / "results", trials, accuracies, experiment=experiment, packed=False
        )
    return store


@pytest.fixture
def here(varied: LocalStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds the store, as working directory."""
    monkeypatch.chdir(varied.root.parent)
    return varied.root.parent


def code(page: str, language: str) -> list[str]:
    return [text for known, text in BLOCKS[page] if known == language]


def shown(snippet: str, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Run a snippet; return the values of its bare expressions, as a notebook shows them, and its
    names."""
    body = ast.parse(snippet).body
    lines = [
        f"shown.append({ast.unparse(each)})" if isinstance(each, ast.Expr) else ast.unparse(each)
        for each in body
    ]
    (folder / "snippet.py").write_text("\n".join(["shown = []", *lines]))
    names = runpy.run_path(str(folder / "snippet.py"))
    return names["shown"], names


def check_gains(better: pd.DataFrame) -> None:
    """Each base is beaten once in each setting, by as much as was put there."""
    assert np.allclose(better["gain"], 0.01)
    assert set(better["variant"]) == {f"seed {BEST}"}
    expected = itertools.product(("DARTS", "ENAS"), *SETTINGS.values())
    found = better[["base", "dataset", "learning_rate", "seed"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(expected)


def test_the_queries_of_the_readme_compare_trials_of_one_setting(here: Path):
    [snippet] = code("README.md", "python")
    (by_shape, better), names = shown(snippet, here)

    trials: Any = names["trials"]
    assert len(trials) == 2 * 5 * 12
    for (dataset, rate, *_), row in by_shape.iterrows():
        of = trials[(trials["dataset"] == dataset) & (trials["learning_rate"] == rate)]
        assert of["test_accuracy"].min() <= row["mean"] <= of["test_accuracy"].max()
    assert by_shape["count"].sum() == len(trials)

    check_gains(better)


@pytest.mark.parametrize(
    "page", [n for n in BLOCKS if n != "README.md" and "python" not in ELSEWHERE.get(n, ())]
)
def test_the_programs_of_a_document_run(here: Path, page: str, capsys: pytest.CaptureFixture[str]):
    for number, text in enumerate(code(page, "python")):
        (here / f"snippet{number}.py").write_text(text)
        runpy.run_path(str(here / f"snippet{number}.py"))
    assert page != "claims.md" or "wider-faster" in capsys.readouterr().out


def test_the_questions_in_sql_compare_trials_of_one_setting(varied: LocalStore):
    [block] = code("query.md", "sql")
    questions = [part for part in block.split(";") if part.strip()]
    reached, better = (query(varied, sql).to_pandas() for sql in questions)
    names = ["base", "variant", "dataset", "learning_rate", "seed"]
    assert not reached.duplicated(names).any()
    trials = query(varied, "SELECT * FROM member_metrics WHERE experiment = 'fig9'").to_pandas()
    expected = trials[trials["test_accuracy"] >= 0.8].groupby(names)["epoch"].min()
    assert reached.set_index(names)["reached"].sort_index().to_dict() == expected.to_dict()
    check_gains(better)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_reads_a_store_runs(here: Path, run, monkeypatch, command: str):
    _, *arguments = shlex.split(command)
    monkeypatch.setattr("sys.stdin", io.StringIO("FROM trials"))
    returned, output, errors = run(*arguments)
    assert returned == 0, errors
    assert output


def test_no_snippet_is_without_a_test():
    assert len(COMMANDS) > 5
    for page, blocks in BLOCKS.items():
        languages = {language for language, _ in blocks} - ELSEWHERE.get(page, set())
        assert languages <= ({"python", "sql"} if page == "query.md" else {"python"}), page
        # Programs that are indented alone would escape the tests above.
        text = (ROOT / ("" if page in ("README.md", "SECURITY.md") else "docs") / page).read_text()
        assert not re.search(r"^    (from \w+[\w.]* import|import \w)", FENCED.sub("", text), re.M)
