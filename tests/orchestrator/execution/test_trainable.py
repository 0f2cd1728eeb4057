"""What a worker runs: an item of a launch, if it runs the same code as the launch."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from items import sent
from small_trials import EPOCHS, few_digits, small_spec

from orchestrator.execution import trainable
from orchestrator.execution.jobs import pack_code
from orchestrator.execution.trainable import (
    WORKER_MODULES,
    NamedItem,
    code_digest,
    own_versions,
    train_item,
    version_mismatch,
)
from results_schema import layout
from results_schema.store import open_store
from results_schema.surface import SurfaceSpec
from workers.training.attempt import Outcome


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offers an item whose store lies elsewhere; returns what its worker reports."""
    spec, told = small_spec(), []
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)

    def offer(**settings: Any) -> dict:
        train_item(sent(str(tmp_path / "elsewhere"), spec, **settings))
        (result,) = told
        assert not (tmp_path / "elsewhere").exists()
        assert (result["item"], result["status"]) == (spec.trial_id, "failed")
        return result

    return offer


def test_a_node_that_does_not_share_the_store_trains_nothing_and_says_so(offered):
    result = offered()
    assert result["kind"] == "unfit"
    assert "every node must reach" in result["reason"]


def test_a_node_that_runs_something_else_does_not_even_look_for_the_store(offered):
    result = offered(versions=own_versions() | {"torch": "0.1"}, store="gone://away")
    assert result["kind"] == "unfit"
    assert "and this launch has torch 0.1" in result["reason"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains a trial; returns its id and what its worker reports."""
    store, spec = open_store(tmp_path / "results"), small_spec()
    store.put(layout.launch("now"), b"")
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)

    def train(**settings: Any) -> tuple[str, list[dict[str, Any]]]:
        with few_digits():
            train_item(sent(store.location, spec, **settings))
        return spec.trial_id, told

    return train


def test_every_epoch_is_reported_with_its_speed(trained):
    name, told = trained()
    assert [result["epoch"] for result in told] == [*range(1, EPOCHS + 1)]
    assert {result["trained"] for result in told} == {1}
    assert all(result["images_per_second"] > 0 < result["peak_memory"] for result in told)
    assert (told[-1]["item"], told[-1]["status"]) == (name, "done")


def test_quick_epochs_are_reported_together_the_last_with_the_outcome(trained):
    name, (first, last) = trained(report_every=1e9)
    assert (first["item"], first["epoch"], first["trained"]) == (name, 1, 1)
    assert (last["epoch"], last["trained"], last["status"]) == (EPOCHS, EPOCHS - 1, "done")


def test_an_outcome_without_new_epochs_tells_of_none(trained):
    trained()
    *_, again = trained()[1]
    assert again["status"] == "done"
    assert "epoch" not in again


def test_points_are_reported_now_and_then_and_the_last_one_at_once(tmp_path, monkeypatch):
    def survey(surface: SurfaceSpec, *_: Any, on_points: Any, **__: Any) -> Outcome:
        for done in (11, 12, 13):  # ten were measured by another launch
            on_points(done, 13)
        return Outcome("done", "")

    told, now = [], iter([5.0, 5.5])
    monkeypatch.setattr(trainable, "survey", survey)
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)
    monkeypatch.setattr("orchestrator.execution.trainable.time.monotonic", lambda: next(now))
    store, surface = open_store(tmp_path), SurfaceSpec(small_spec(), 1, "contour")
    store.put(layout.launch("now"), b"")
    config = sent(store.location, small_spec(), report_every=1.0)
    train_item(config | {"names": [surface.surface_id], "specs": [surface.to_json()]})
    assert {result["item"] for result in told} == {surface.surface_id}
    assert [(r["points"], r["measured"]) for r in told[:-1]] == [(11, 1), (13, 2)]
    assert told[-1]["status"] == "done"


def test_a_process_that_does_one_item_is_named_by_it():
    named = object.__new__(NamedItem)
    named.config = {"names": ["a", "b"]}
    # Ray's dashboard shows an actor's repr; `test_monitoring` looks there.
    assert repr(named) == "a, b"


ROOT = Path(__file__).parents[3]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """This code in another place."""
    pack_code(tmp_path)
    return tmp_path


def test_a_process_fits_itself():
    assert version_mismatch(own_versions()) == ""


def test_no_file_is_read_but_the_code_that_workers_run(copied: Path):
    before = code_digest(copied)
    for place in ("orchestrator/other.py", "results/data.py", "workers/.hidden.py"):
        (copied / place).parent.mkdir(exist_ok=True)
        os.mkfifo(copied / place)  # to read it would wait for ever
    assert code_digest(copied) == before


@pytest.mark.parametrize(
    ("name", "word"), [("python", "Python"), ("ray", "Ray"), ("torch", "torch")]
)
def test_what_differs_is_told_of_both_with_a_way_to_mend_it(name: str, word: str):
    here = own_versions()
    told = version_mismatch(here | {name: "0.1"})
    assert f"it has {word} {here[name]}, and this launch has {word} 0.1" in told
    assert told.startswith("node ")
    assert "\n  install the same on every node" in told
    assert "--ship-code" not in told, "which would not help"


def test_other_code_of_the_same_release_is_told_and_can_be_shipped():
    here = own_versions()
    told = version_mismatch(own_versions() | {"code": "5e" * 5, "commit": "1234567890"})
    assert f"code {here['code']})" in told
    assert f"nas-sweep {here['release']} (commit 1234567890, code 5e5e5e5e5e)" in told
    assert "--ship-code" in told


def test_the_same_code_of_another_commit_or_release_fits():
    assert version_mismatch(own_versions() | {"commit": "1234567890", "release": "7.0"}) == ""


def test_code_is_the_same_wherever_it_lies(copied: Path):
    assert code_digest(copied) == own_versions()["code"]


@pytest.mark.parametrize("file", ["workers/draws.py", "orchestrator/execution/trainable.py"])
def test_a_change_of_what_workers_run_is_another_code(copied: Path, file: str):
    with (copied / file).open("a") as code:
        code.write("# another\n")
    assert code_digest(copied) != own_versions()["code"]


def test_a_change_of_what_is_drawn_is_not(copied: Path):
    with (copied / "orchestrator/report/write.py").open("a") as code:
        code.write("# another\n")
    assert code_digest(copied) == own_versions()["code"]


def test_a_worker_imports_nothing_else_of_the_orchestrator():
    found, waiting = set(), ["orchestrator.execution.trainable"]
    while waiting:
        file = waiting.pop().replace(".", "/") + ".py"
        found.add(file)
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.ImportFrom):
                named = {node.module or "", *(f"{node.module}.{a.name}" for a in node.names)}
                waiting += [
                    one
                    for one in named
                    if one.startswith("orchestrator.")
                    and (path := one.replace(".", "/") + ".py") not in found
                    and (ROOT / path).exists()
                ]
    assert found == set(WORKER_MODULES)
