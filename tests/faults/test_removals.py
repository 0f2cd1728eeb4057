"""`gc` and `retry` beside workers and other commands: nothing is removed under anyone's hands."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest
from small_stores import Trained, contents, renamed_members
from small_trials import few_digits

from orchestrator.config.experiment import load_experiment
from orchestrator.housekeeping import gc
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.store import LocalStore
from results_schema.tables import WANTED
from workers.landscape.survey import survey
from workers.training import checkpoint

Run = Callable[..., tuple[int, str, str]]


def forget(trained: Trained) -> None:
    """Makes the first trial one that no experiment names."""
    renamed_members(trained.store, "small", trained.ids[1:], like="small")
    key = layout.wanted("small")
    rows = tables.from_parquet(trained.store.get(key), WANTED, key).to_pylist()
    rows = [row for row in rows if row["trial_id"] != trained.ids[0]]
    trained.store.put(key, tables.to_parquet(rows, WANTED))


@pytest.mark.parametrize("command", ["retry", "gc"])
def test_a_trial_stays_while_one_of_its_surfaces_is_measured(
    trained: Trained, run: Run, command: str
):
    """Its worker has read the checkpoint already, and writes its row in the end."""
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
    after = contents(store)
    assert {key: after[key] for key in before} == before
    assert len(Results(store).surfaces()) == 1


@pytest.mark.parametrize("command", ["retry", "gc"])
def test_a_surface_does_not_begin_while_its_trial_is_removed(
    trained: Trained, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
):
    """The store has nothing of the surface yet; its experiment wants it."""
    surface = load_experiment(trained.experiment).surfaces()[0]
    delete, statuses = LocalStore.delete, set[str]()
    if command == "gc":
        renamed_members(trained.store, "small", trained.ids[1:], like="small")
        words = ["--unnamed"]
    else:
        words = [trained.ids[0]]

    def interfere(store: LocalStore, key: str, **options: object) -> None:
        if trained.ids[0] in key:
            statuses.add(survey(surface, LocalStore(store.root), device="cpu").status)
        delete(store, key, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(LocalStore, "delete", interfere)
    with few_digits():
        assert run(command, *words, "--yes")[0] == 0
    assert statuses == {"held"}
    assert not [key for key in contents(trained.store) if key.startswith("surfaces/digits")]


def at_the_prompt(monkeypatch: pytest.MonkeyPatch, moment: str, act: Callable[[], object]) -> str:
    """Does something after the preview: while the user is asked, or before anything is removed."""
    if moment == "asked":
        monkeypatch.setattr(click, "confirm", lambda *_, **__: act())
        return ""
    find = gc.find_garbage

    def find_then_act(*arguments: object, **options: object) -> object:
        found = find(*arguments, **options)  # pyright: ignore[reportArgumentType]
        act()
        return found

    monkeypatch.setattr(gc, "find_garbage", find_then_act)
    return "--yes"


MOMENTS = ["asked", "not asked"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_changes_after_the_preview_stays(
    trained: Trained, run: Run, monkeypatch: pytest.MonkeyPatch, moment: str
):
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

    yes = at_the_prompt(monkeypatch, moment, act)
    assert run("gc", *filter(None, [yes]))[0] == 0
    assert len(checkpoint.load(store, one, 2).rows) == 2
    assert set(store.leases.held()) == {three}
    assert store.has(layout.cancel(two)), "the trial has not ended any more"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("happens", ["named", "trained again"])
def test_a_trial_that_is_wanted_after_the_preview_stays(
    trained: Trained, run: Run, monkeypatch: pytest.MonkeyPatch, moment: str, happens: str
):
    store, trial_id = trained.store, trained.ids[0]
    forget(trained)

    def act() -> None:
        if happens == "named":
            renamed_members(store, "another", [trial_id], like="small")
        else:
            store.put(layout.trial(trial_id), store.get(layout.trial(trial_id)))

    yes = at_the_prompt(monkeypatch, moment, act)
    assert run("gc", "--unnamed", *filter(None, [yes]))[0] == 0
    assert checkpoint.epochs(store, trial_id) == [2]
    assert store.has(layout.trial(trial_id))


def test_an_ended_trial_that_changes_at_the_prompt_keeps_its_results(
    trained: Trained, run: Run, monkeypatch: pytest.MonkeyPatch
):
    store, key = trained.store, layout.trial(trained.ids[0])
    before = contents(store)
    at_the_prompt(monkeypatch, "asked", lambda: store.put(key, store.get(key)))
    assert run("retry", trained.ids[0])[0] == 2
    assert contents(store) == before
