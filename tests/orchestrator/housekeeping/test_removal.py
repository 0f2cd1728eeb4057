"""Retry forgets failures and puts ended trials back, and never under a worker's hands."""

import io
import json

import pytest
from small_stores import contents
from small_trials import COMMIT_LAST, assert_same, train_on_few_digits

from results_schema import layout
from workers.training.checkpoint import epochs


def test_failures_are_forgotten_and_what_was_trained_stays(run, trained):
    one, two, three = trained.ids
    trained.fail(one)
    trained.fail(two)
    trained.diverge(three)
    code, output, _ = run("retry", "small")
    assert code == 0
    assert "2 failures forgotten" in output
    assert trained.store.list(layout.FAILURES) == []
    assert trained.store.has(layout.trial(three))
    assert epochs(trained.store, one) == [2]


def test_a_diverged_trial_is_put_back_and_trains_to_the_same_end(run, trained, tmp_path):
    one, spec = trained.ids[0], trained.specs[0]
    untouched = trained.copied(tmp_path / "copy")
    trained.diverge(one)
    log = trained.store.get(layout.log(one))
    code, output, _ = run("retry", "small.yaml", "--diverged", "--yes")
    assert code == 0
    assert "1 ended trials lose their results" in output
    left = [key for key in contents(trained.store) if one in key]
    assert left == [layout.log(one)]
    assert len(trained.store.list(layout.TRIALS)) == 3, "the schema and the two others"
    assert train_on_few_digits(spec, trained.store, COMMIT_LAST).epochs == 2
    assert_same(trained.store, untouched.store, spec)
    assert trained.store.get(layout.log(one)).startswith(log)


def test_a_named_trial_is_put_back_only_after_a_yes(run, trained, monkeypatch):
    before = contents(trained.store)
    for answer in ("", "n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        code, output, _ = run("retry", trained.ids[0])
        assert code == 1
        assert "Remove them?" in output
        assert contents(trained.store) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run("retry", trained.ids[0])[0] == 0
    assert not trained.store.has(layout.trial(trained.ids[0]))


def test_nothing_failed_is_said(run, trained):
    before = contents(trained.store)
    code, output, _ = run("retry")
    assert code == 0
    assert "nothing to put back" in output
    assert contents(trained.store) == before


@pytest.mark.parametrize("names", [("small",), ("small", "--diverged"), ("digits",), ()])
def test_what_is_held_is_refused_and_left_whole(run, trained, names):
    one, two, three = trained.ids
    trained.fail(one)
    trained.fail(two)
    trained.diverge(three)
    trained.held_elsewhere(one)
    names = [one if name == "digits" else name for name in names]
    before = contents(trained.store)
    code, _, errors = run("retry", *names, "--yes")
    if one in names:
        assert code == 2
        assert f"held by a worker: {one} by node7" in errors
        assert contents(trained.store) == before
    else:
        assert code == 0, "what runs has not failed"
        assert trained.store.has(layout.failure(one))
        assert not trained.store.has(layout.failure(two))


def test_a_held_trial_that_has_diverged_is_refused(run, trained):
    trained.diverge(trained.ids[0])
    trained.held_elsewhere(trained.ids[0])
    before = contents(trained.store)
    code, _, errors = run("retry", "--diverged", "--yes")
    assert code == 2
    assert "node7" in errors
    assert contents(trained.store) == before


def test_a_trial_one_of_whose_surfaces_is_measured_is_refused(run, trained):
    surface = f"{trained.ids[0]}@e2-contour-0123456789"
    trained.held_elsewhere(surface)
    before = contents(trained.store)
    for names in (trained.ids[:1], trained.ids):
        code, _, errors = run("retry", *names, "--yes")
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


def test_an_owed_trial_needs_no_retry(run, trained):
    trained.cut_off(trained.ids[0])
    code, _, errors = run("retry", trained.ids[0])
    assert code == 2
    assert "launch its experiment" in errors


@pytest.mark.parametrize("name", ["nowhere.yaml", "digits", "../members", "smal"])
def test_a_name_that_fits_nothing_or_too_much_is_refused(run, trained, name):
    before = contents(trained.store)
    assert run("retry", name, "--yes")[0] == 2
    assert contents(trained.store) == before
