"""Retry forgets failures and puts ended trials back, and never under a worker's hands."""

import io
import json

import pytest
from small_stores import contents
from small_trials import COMMIT_LAST, assert_same, train_on_few_digits

from results_schema import layout
from workers.training.checkpoint import epochs


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
    assert epochs(trained.store, one) == [2]


def test_a_diverged_trial_is_put_back_and_trains_to_the_same_end(run, trained, tmp_path):
    one, spec = trained.ids[0], trained.specs[0]
    untouched = trained.copied(tmp_path / "copy")
    trained.diverge(one)
    log = trained.store.get(layout.log(one))
    code, output, _ = run("retry", "small.yaml", "--diverged", "--yes")
    assert code == 0
    assert "1 ended trials lose their results" in output
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


@pytest.mark.parametrize("name", ["nowhere.yaml", "digits", "../members", "smal", None])
def test_a_name_that_fits_nothing_too_much_or_what_is_to_do_is_refused(run, trained, name):
    trained.cut_off(trained.ids[0])
    before = contents(trained.store)
    code, _, errors = run("retry", name or trained.ids[0], "--yes")
    assert code == 2
    assert name or "launch its experiment" in errors
    assert contents(trained.store) == before
