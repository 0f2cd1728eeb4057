"""A trial's log is found by the start of its id, and followed to the trial's end."""

import threading

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
    code, output, errors = run("logs", "\x1b[2J")
    assert (code, output, "\x1b" in errors) == (2, "", False)


def test_without_a_store_or_a_log_it_says_so(run, trained, tmp_path):
    assert run("logs", "x", "--store", "nowhere")[0] == 3
    code, _, errors = run("logs", "x", "--store", empty_store(tmp_path).root)
    assert (code, "no trial yet" in errors) == (2, True)
    trained.store.delete(layout.log(trained.ids[0]))
    code, _, errors = run("logs", trained.ids[0])
    assert (code, "--follow waits" in errors) == (3, True)


def test_nothing_in_a_log_is_obeyed_by_the_terminal(run, trained):
    lines = [
        ("clear \x1b[2J\x1b]0;title\x07", r"clear \x1b[2J\x1b]0;title\x07"),
        ("over\rwrite \x7f \x9b31m", r"over\rwrite \x7f \x9b31m"),
        ("\u202eback\u2028 ä 日本", r"\u202eback\u2028 ä 日本"),
        ("a\ttab", "a\ttab"),
    ]
    log = "".join(f"{written}\n" for written, _ in lines).encode() + b"\xff\n"
    trained.store.put(layout.log(trained.ids[0]), log)
    output = run("logs", trained.ids[0])[1]
    assert output == "".join(f"{shown}\n" for _, shown in lines) + "\ufffd\n"


def test_following_a_real_trial_shows_every_line_once_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.housekeeping.logs.POLL_SECONDS", 0.02)
    store, spec = empty_store(tmp_path), small_spec(epochs=2)
    worker = threading.Thread(target=train_on_few_digits, args=(spec, store, COMMIT_LAST))
    worker.start()
    text = "".join(read_log(store, spec.trial_id, follow=True))
    worker.join()
    assert text == store.get(layout.log(spec.trial_id)).decode()
    assert "done: trained 2 epochs" in text.splitlines()[-1]


def test_following_ends_with_a_failure_once_nobody_tries_again(trained, monkeypatch):
    trial_id = trained.ids[0]
    trained.fail(trial_id)
    lease = trained.store.leases.take(trial_id)
    monkeypatch.setattr("orchestrator.housekeeping.logs.time.sleep", lambda _: lease.release())
    pieces = list(read_log(trained.store, trial_id, follow=True))
    assert "".join(pieces) == trained.store.get(layout.log(trial_id)).decode()
    assert not lease.folder.exists()


def test_a_half_written_character_and_a_half_written_line_wait(trained, monkeypatch):
    trial_id, store = trained.ids[0], trained.store
    trained.cut_off(trial_id)
    store.put(layout.log(trial_id), "one\ntwo é".encode()[:-1])

    def go_on(_: float) -> None:
        store.put(layout.log(trial_id), "one\ntwo é\n".encode())
        trained.fail(trial_id)

    monkeypatch.setattr("orchestrator.housekeeping.logs.time.sleep", go_on)
    assert list(read_log(store, trial_id, follow=True)) == ["one\n", "two é\n"]
