"""Retry puts back what failed or ended; neither it nor `gc` removes what anyone is using."""

import io
import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from small_stores import Trained, contents, renamed_members
from small_trials import COMMIT_LAST, assert_same, few_digits, train_on_few_digits

from orchestrator.config.experiment import load_experiment
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.store import LocalStore
from results_schema.tables import WANTED
from workers.landscape.survey import survey
from workers.training import checkpoint

LANDSCAPE = "landscape: {contour: {grid: [3, 5]}}\n"


def test_failures_are_forgotten_and_what_was_trained_stays(run, trained):
    before = contents(trained.store)
    assert "nothing to put back" in run("retry")[1]
    assert contents(trained.store) == before
    one, two, three = trained.ids
    trained.fail(one)
    trained.fail(two)
    trained.diverge(three)
    code, output, _ = run("retry", "small")
    assert code == 0
    assert "2 failures forgotten" in output
    assert trained.store.list(layout.FAILURES) == []
    assert trained.store.has(layout.trial(three))
    assert checkpoint.epochs(trained.store, one) == [2]


def test_a_diverged_trial_is_put_back_and_trains_to_the_same_end(run, trained, tmp_path):
    one, spec = trained.ids[0], trained.specs[0]
    untouched = trained.copied(tmp_path / "copy")
    trained.diverge(one)
    log = trained.store.get(layout.log(one))
    code, output, _ = run("retry", "small.yaml", "--diverged", "--yes")
    assert code == 0
    assert "1 ended trial to lose results" in output
    assert [key for key in contents(trained.store) if one in key] == [layout.log(one)]
    assert len(trained.store.list(layout.TRIALS)) == 3, "the schema and the two others"
    assert train_on_few_digits(spec, trained.store, COMMIT_LAST).epochs == 2
    assert_same(trained.store, untouched.store, spec)
    assert trained.store.get(layout.log(one)).startswith(log)


def test_a_named_trial_is_put_back_only_after_a_yes(run, trained, monkeypatch):
    before = contents(trained.store)
    for answer, code in (("", 1), ("n\n", 1), ("y\n", 0)):
        assert contents(trained.store) == before
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run("retry", trained.ids[0])[0] == code
    assert not trained.store.has(layout.trial(trained.ids[0]))


def test_what_runs_is_left_out_or_refused_if_it_is_named(run, trained):
    one, two, three = trained.ids
    trained.fail(one)
    trained.fail(two)
    trained.held_elsewhere(one)
    trained.diverge(three)
    trained.held_elsewhere(three)
    surface = f"{two}@e2-contour-0123456789"
    trained.held_elsewhere(surface)
    before = contents(trained.store)
    for names, held in (([one], one), (["small", "--diverged"], three), (trained.ids, one)):
        code, _, errors = run("retry", *names, "--yes")
        assert code == 2
        assert f"held by a worker: {held} by node7" in errors
        assert contents(trained.store) == before
    assert run("retry", "small", "--yes")[0] == 0, "what runs has not failed"
    assert trained.store.list(layout.FAILURES) == [layout.failure(one)]


def test_a_trial_one_of_whose_surfaces_is_measured_is_refused(run, trained):
    surface = f"{trained.ids[0]}@e2-contour-0123456789"
    trained.held_elsewhere(surface)
    before = contents(trained.store)
    code, _, errors = run("retry", *trained.ids, "--yes")
    assert code == 2
    assert f"held by a worker: {surface} by node7" in errors
    assert contents(trained.store) == before


def test_a_dead_workers_trial_is_put_back(run, trained):
    trial_id = trained.ids[0]
    beat = trained.store.leases.take(trial_id).folder / "heartbeat"
    beat.write_text(json.dumps(json.loads(beat.read_text()) | {"born": 1}))
    assert run("retry", trial_id, "--yes")[0] == 0
    assert not trained.store.has(layout.trial(trial_id))
    assert trained.store.leases.held() == {}


def test_what_has_neither_ended_nor_failed_is_refused(run, trained):
    trained.cut_off(trained.ids[0])
    before = contents(trained.store)
    code, _, errors = run("retry", trained.ids[0], "--yes")
    assert (code, "launch its experiment" in errors) == (2, True)
    assert contents(trained.store) == before


# Beside workers and other commands


def forget(trained: Trained) -> None:
    """Makes the first trial one that no experiment names, nor any of its surfaces."""
    renamed_members(trained.store, "small", trained.ids[1:], like="small")
    trained.store.put(layout.wanted("small"), tables.to_parquet([], WANTED))


@pytest.mark.parametrize("command", ["retry", "gc"])
def test_a_trial_stays_while_one_of_its_surfaces_is_measured(run, trained, command):
    """Its worker has read the checkpoint already, and writes its row in the end."""
    trained.want(LANDSCAPE)
    surface = load_experiment(trained.experiment).surfaces()[0]
    store, codes = trained.store, list[int]()
    words, code = (["retry", trained.ids[0]], 2) if command == "retry" else (["gc", "--unnamed"], 0)
    if command == "gc":
        forget(trained)
    before = contents(store)

    def interfere(done: int, total: int) -> None:
        if done == 3:
            codes.append(run(*words, "--yes")[0])

    with few_digits():
        assert survey(surface, store, device="cpu", on_points=interfere).status == "done"
    assert codes == [code]
    assert before.items() <= contents(store).items()
    assert len(Results(store).surfaces()) == 1


@pytest.mark.parametrize("command", ["retry", "gc"])
def test_a_surface_does_not_begin_while_its_trial_is_removed(run, trained, monkeypatch, command):
    """The store has nothing of the surface yet; its experiment wants it."""
    trained.want(LANDSCAPE)
    surface = load_experiment(trained.experiment).surfaces()[0]
    delete, statuses = LocalStore.delete, set[str]()
    if command == "gc":
        renamed_members(trained.store, "small", trained.ids[1:], like="small")

    def interfere(store: LocalStore, key: str, **options: Any) -> None:
        if trained.ids[0] in key:
            statuses.add(survey(surface, LocalStore(store.root), device="cpu").status)
        delete(store, key, **options)

    monkeypatch.setattr(LocalStore, "delete", interfere)
    words = ["--unnamed"] if command == "gc" else trained.ids[:1]
    with few_digits():
        assert run(command, *words, "--yes")[0] == 0
    assert statuses == {"held"}
    assert not [key for key in contents(trained.store) if key.startswith("surfaces/digits")]


def at_the_prompt(monkeypatch, act: Callable[[], object]) -> None:
    """Does something after the preview, while the user is asked."""
    monkeypatch.setattr(click, "confirm", lambda *_, **__: act())


def test_what_changes_after_the_preview_stays(run, trained, monkeypatch):
    """A checkpoint is completed, a lease taken, and a request made for a trial to be trained."""
    store, (one, two, three) = trained.store, trained.ids
    trained.cut_off(one)
    key = layout.state(one, 2)
    state = store.get(key)
    store.delete(key)
    (store.root / "leases" / three).mkdir()
    store.put(layout.cancel(two), b"")

    def act() -> None:
        store.put(key, state)
        assert store.leases.take(three)
        store.delete(layout.trial(two))

    at_the_prompt(monkeypatch, act)
    assert run("gc")[0] == 0
    assert len(checkpoint.load(store, one, 2).rows) == 2
    assert set(store.leases.held()) == {three}
    assert store.has(layout.cancel(two)), "the trial has not ended any more"


@pytest.mark.parametrize("happens", ["named", "trained again"])
def test_a_trial_that_is_wanted_after_the_preview_stays(run, trained, monkeypatch, happens):
    store, trial_id = trained.store, trained.ids[0]
    forget(trained)

    def act() -> None:
        if happens == "named":
            renamed_members(store, "another", [trial_id], like="small")
        else:
            store.put(layout.trial(trial_id), store.get(layout.trial(trial_id)))

    at_the_prompt(monkeypatch, act)
    assert run("gc", "--unnamed")[0] == 0
    assert checkpoint.epochs(store, trial_id) == [2]
    assert store.has(layout.trial(trial_id))


def test_an_ended_trial_that_changes_at_the_prompt_keeps_its_results(run, trained, monkeypatch):
    store, key = trained.store, layout.trial(trained.ids[0])
    before = contents(store)
    at_the_prompt(monkeypatch, lambda: store.put(key, store.get(key)))
    assert run("retry", trained.ids[0])[0] == 2
    assert contents(store) == before
