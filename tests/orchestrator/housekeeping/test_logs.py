"""A trial's log is found by the start of its id, and followed to the trial's end."""

import threading

import pytest
from small_stores import empty_store
from small_trials import COMMIT_LAST, small_spec, train_on_few_digits

from orchestrator.housekeeping.logs import read_log
from results_schema import layout


def test_a_unique_start_is_enough(run, trained):
    trial_id = trained.ids[1]
    code, output, _ = run("logs", trial_id[:-3])
    assert code == 0
    assert output == trained.store.get(layout.log(trial_id)).decode()
    assert "epoch 2" in output


@pytest.mark.parametrize("start", ["digits", "", "d"])
def test_an_ambiguous_start_names_some_that_begin_so(run, trained, start):
    code, output, errors = run("logs", start)
    assert code == 2
    assert not output
    assert f"3 trials begin with {start!r}" in errors
    assert trained.ids[0] in errors


@pytest.mark.parametrize(
    "start", ["../../etc/passwd", "digit-w3", "\x1b[2J", "0-schema", "a" * 999]
)
def test_an_unknown_start_is_refused(run, trained, start):
    code, _, errors = run("logs", start)
    assert code == 2
    assert "the store has no trial" in errors
    assert "\x1b" not in errors


def test_the_nearest_ids_are_named(run, trained):
    wrong = trained.ids[0].replace("digits", "digit")
    _, _, errors = run("logs", wrong)
    assert trained.ids[0] in errors


def test_without_a_store_or_a_log_it_says_so(run, trained, tmp_path):
    assert run("logs", "x", "--store", "nowhere")[0] == 3
    code, _, errors = run("logs", "x", "--store", empty_store(tmp_path).root)
    assert code == 2
    assert "no trial yet" in errors
    trained.store.delete(layout.log(trained.ids[0]))
    code, _, errors = run("logs", trained.ids[0])
    assert code == 3
    assert "no log yet" in errors


def test_nothing_in_a_log_is_obeyed_by_the_terminal(run, trained):
    lines = [
        ("clear \x1b[2J\x1b]0;title\x07", r"clear \x1b[2J\x1b]0;title\x07"),
        ("over\rwrite \x7f \x9b31m", r"over\rwrite \x7f \x9b31m"),
        ("\u202eback\u2028 ä 日本", r"\u202eback\u2028 ä 日本"),
        ("a\ttab", "a\ttab"),
    ]
    log = "".join(f"{written}\n" for written, _ in lines).encode() + b"\xff\n"
    trained.store.put(layout.log(trained.ids[0]), log)
    code, output, _ = run("logs", trained.ids[0])
    assert code == 0
    assert output == "".join(f"{shown}\n" for _, shown in lines) + "\ufffd\n"


def test_following_a_real_trial_shows_every_line_once_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.housekeeping.logs.POLL_SECONDS", 0.02)
    store, spec = empty_store(tmp_path), small_spec(epochs=4)
    worker = threading.Thread(target=train_on_few_digits, args=(spec, store, COMMIT_LAST))
    worker.start()
    text = "".join(read_log(store, spec.trial_id, follow=True))
    worker.join()
    assert text == store.get(layout.log(spec.trial_id)).decode()
    assert "done: trained 4 epochs" in text.splitlines()[-1]


def test_following_ends_with_a_failure_once_nobody_tries_again(trained, monkeypatch):
    trial_id = trained.ids[0]
    trained.fail(trial_id)
    lease = trained.store.leases.take(trial_id)
    monkeypatch.setattr("orchestrator.housekeeping.logs.time.sleep", lambda _: lease.release())
    pieces = list(read_log(trained.store, trial_id, follow=True))
    assert "".join(pieces) == trained.store.get(layout.log(trial_id)).decode()
    assert lease.folder.exists() is False


def test_a_half_written_character_and_a_half_written_line_wait(trained, monkeypatch):
    trial_id, store = trained.ids[0], trained.store
    trained.cut_off(trial_id)
    texts = ["one\ntw", "one\ntwo é\n"]
    store.put(layout.log(trial_id), texts[0].encode())

    def go_on(_: float) -> None:
        store.put(layout.log(trial_id), texts[1].encode())
        trained.fail(trial_id)

    monkeypatch.setattr("orchestrator.housekeeping.logs.time.sleep", go_on)
    assert list(read_log(store, trial_id, follow=True)) == ["one\n", "two é\n"]
