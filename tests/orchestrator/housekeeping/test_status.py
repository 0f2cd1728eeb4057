"""Status shows the state of every trial, from the store alone, and changes nothing in it."""

import json
import os
import time

import pytest
from small_stores import contents, empty_store, renamed_members, shown_counts
from small_trials import few_digits

from orchestrator.housekeeping.status import ItemTables, StatusReader, remove_damaged
from results_schema import layout
from results_schema.lease import Holder
from results_schema.store import LocalStore
from workers.training.trial import train


def test_every_state_is_counted_and_nothing_is_touched(run, trained):
    one, two, three = trained.ids
    trained.diverge(one)
    trained.fail(two, "no memory\n\x1b[31mleft:car:")
    trained.cut_off(three)
    beat = trained.held_elsewhere(three)
    before = contents(trained.store)
    code, output, _ = run("status")
    assert code == 0
    assert shown_counts(output) == {"diverged": 1, "running": 1, "failed": 1}
    assert f"{three}: epoch 2 of 2, last row" in output
    assert "node7" in output
    assert f"failed after epoch 1 of 2: {two}: memory: no memory  [31mleft:car:" in output
    assert f"log: results/{layout.log(two)}" in output
    data = json.loads(run("status", "small.yaml", "--format", "json")[1])
    counts = data["experiments"]["small"]
    assert {k: n for k, n in counts.items() if n} == {"diverged": 1, "failed": 1, "running": 1}
    [running] = data["running"]
    assert (running["trial_id"], running["host"], running["lost"]) == (three, "node7", False)
    assert [(f["trial_id"], f["kind"]) for f in data["failed"]] == [(two, "memory")]
    for option, shown in (("--failed", [two]), ("--diverged", [one])):
        output = run("status", option)[1]
        assert [trial_id for trial_id in trained.ids if trial_id in output] == shown
    assert contents(trained.store) == before
    assert beat.exists()


@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_or_dead_holder_is_shown_as_cut_off_and_its_lease_stays(run, trained, silent):
    trial_id = trained.ids[0]
    trained.cut_off(trial_id)
    if silent:
        beat = trained.held_elsewhere(trial_id)
        os.utime(beat, (time.time() - 600, time.time() - 600))
    else:
        beat = trained.store.leases.take(trial_id).folder / "heartbeat"
        beat.write_text(json.dumps(json.loads(beat.read_text()) | {"born": 1}))
    output = run("status")[1]
    assert shown_counts(output) == {"done": 2, "to do": 1}
    assert ("cut off, no heartbeat for 10 min" if silent else "cut off, no heartbeat") in output
    assert beat.exists()


def test_experiments_share_trials_and_trials_of_none_are_shown_apart(run, trained):
    renamed_members(trained.store, "other", trained.ids[:1], like="small")
    output = run("status")[1]
    assert shown_counts(output, "other") == {"done": 1}
    assert "in no experiment" not in output
    trained.store.delete(layout.members("small"))
    assert shown_counts(run("status")[1], "in no experiment") == {"done": 2}
    assert "in no experiment" not in run("status", "other")[1]


def test_damaged_files_do_not_stop_it(run, trained):
    one, two, three = trained.ids
    trained.store.put(layout.trial(one), b"PAR1 torn")
    trained.fail(two)
    trained.store.put(layout.failure(two), b"[1, ")
    trained.cut_off(three)
    trained.store.put(layout.metrics(three), b"")
    trained.held_elsewhere(three)
    (trained.store.root / "members/.DS_Store").write_text("junk")
    (trained.store.root / "leases/a file").write_text("junk")
    code, output, _ = run("status")
    assert code == 0
    assert shown_counts(output) == {"damaged": 1, "running": 1, "failed": 1}
    assert f"damaged tables: {one}" in output
    assert "memory" not in output


def test_a_missing_store_is_reported_and_not_made(run, trained, tmp_path):
    code, _, errors = run("status", "--store", tmp_path / "nowhere")
    assert code == 3
    assert "no store here" in errors
    assert not (tmp_path / "nowhere").exists()
    assert "nothing yet" in run("status", "--store", empty_store(tmp_path).root)[1]
    assert run("status", "smal")[0] == 2


def test_watching_ends_when_all_has_ended(run, trained, monkeypatch):
    trial_id = trained.ids[0]
    row = trained.store.get(layout.trial(trial_id))
    trained.cut_off(trial_id)
    assert run("status", "--watch")[0] == 0, "without a launch it ends at once"
    trained.store.put(layout.launch("abc"), Holder.here("abc").to_json().encode())
    monkeypatch.setattr(
        "orchestrator.cli.status.time.sleep",
        lambda _: trained.store.put(layout.trial(trial_id), row),
    )
    code, output, _ = run("status", "--watch")
    assert code == 0
    first, last = output.split("experiment")[1:]
    assert shown_counts(f"experiment{first}") == {"done": 2, "to do": 1}
    assert shown_counts(f"experiment{last}") == {"done": 3}


@pytest.mark.parametrize("command", [("status", "--watch"), ("logs", "--follow")])
def test_ctrl_c_is_the_quiet_way_out_of_watching(run, trained, monkeypatch, command):
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    trained.store.put(layout.launch("abc"), Holder.here("abc").to_json().encode())
    trained.cut_off(trained.ids[0])
    code, output, errors = run(*command, *(trained.ids[:1] if command[0] == "logs" else ()))
    assert code == 130
    assert output
    assert not errors


class Counting(LocalStore):
    """Counts the rows of trials that are read."""

    read = 0

    def get(self, key, **how):
        self.read += key.startswith(layout.TRIALS)
        return super().get(key, **how)


def test_an_ending_is_read_once_by_all_commands_of_a_user(trained):
    counts = []
    for _ in range(3):
        store = Counting(trained.store.root)
        assert StatusReader(store).read().trials.having("done") == trained.ids
        counts.append(store.read)
    assert counts == [3, 0, 0]
    trained.diverge(trained.ids[1])
    store = Counting(trained.store.root)
    reader = StatusReader(store)
    assert reader.read().trials.having("diverged") == [trained.ids[1]]
    assert store.read == 1, "what has changed is read"
    assert reader.read().over
    trained.cut_off(trained.ids[0])
    assert reader.read().trials.having("owed") == trained.ids[:1]


@pytest.mark.parametrize("kept", [b"", b"[1]", b'{"a": 7}', b'{"a": ["b", "done\\u001b"]}', None])
def test_without_a_usable_cache_folder_endings_are_read(trained, kept, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    StatusReader(trained.store).read()
    [file] = (tmp_path / "cache/nas-sweep/tables").iterdir()
    if kept is None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(trained.store.root / layout.trial(trained.ids[0])))
    else:
        file.write_bytes(kept)
    store = Counting(trained.store.root)
    assert StatusReader(store).read().trials.having("done") == trained.ids
    assert store.read == 3


def test_readers_leave_out_what_is_damaged_and_the_next_launch_writes_it_again(run, trained):
    (one, two, three), store = trained.ids, trained.store
    before = contents(store)
    for key in (layout.trial(one), layout.metrics(two)):
        flipped = bytearray(before[key])
        flipped[len(flipped) // 2] ^= 1
        store.put(key, bytes(flipped))
    assert shown_counts(run("status")[1]) == {"done": 1, "damaged": 2}
    for words in (
        ("query", "SELECT trial_id FROM member_trials WHERE status = 'done'"),
        ("claims", "small"),
        ("export", "small", "--to", "out"),
        ("report", "small"),
    ):
        code, output, errors = run(*words)
        assert code == 1
        assert [f"{name} is left out" in errors for name in trained.ids] == [True, True, False]
        assert words[0] != "query" or (three in output and one not in output)
    assert set(remove_damaged(store, set(trained.ids))) == {one, two}
    with few_digits():
        outcomes = [train(spec, store, device="cpu") for spec in trained.specs]
    assert {(one.status, one.epochs) for one in outcomes} == {("done", 0)}, "from its checkpoint"
    assert ItemTables(store).damaged() == {}
    assert store.get(layout.metrics(two)) == before[layout.metrics(two)]


@pytest.mark.parametrize(
    ("noted", "epochs"), [(b'{"attempts": 2, "epochs": 600}', 600), (b"{}", None), (b"7", None)]
)
def test_a_running_trial_shows_how_many_epochs_it_is_to_train(trained, noted, epochs):
    trained.cut_off(trained.ids[0], rows=0)
    trained.held_elsewhere(trained.ids[0])
    trained.store.put(layout.attempts(trained.ids[0]), noted)
    [running] = StatusReader(trained.store).read().trials.running
    assert (running.epoch, running.epochs, running.row_age) == (0, epochs, None)


def test_trials_have_names_in_experiments_by_which_they_are_shown(run, trained):
    one, two, _ = trained.ids
    trained.cut_off(two, rows=1)
    output = run("status", "--trials")[1]
    shown = [line.split() for line in output.splitlines() if "/base/" in line]
    assert [line[-1] for line in shown] == trained.ids
    assert f"small/DARTS/base/s1  interrupted after epoch 1 of 2  {two}" in output
    listed = json.loads(run("status", "--trials", "--format", "json")[1])["trials"]
    assert listed[0] == {"name": "small/DARTS/base/s0", "state": "done", "trial_id": one}
    code, output, _ = run("show", "small/darts/c0/s0")
    assert (code, one in output, "checkpoints: 2" in output) == (0, True, True)
    found = json.loads(run("show", two[:-2], "--format", "json")[1])
    assert (found["state"], found["members"], found["spec"]) == (
        *("interrupted after epoch 1 of 2", ["small/DARTS/base/s1"], {}),
    )
    assert run("logs", "small/DARTS/base/s2")[0] == 0
    for name, problem in (("small/DARTS", "3 members are called"), ("small/ENAS", "no member")):
        code, _, errors = run("show", name)
        assert (code, problem in errors, "small/DARTS/base/s0" in errors) == (2, True, True)


def test_what_an_experiment_takes_is_told_by_the_pace_of_what_runs(trained):
    one, two, _ = trained.ids
    for trial_id in (one, two):
        trained.cut_off(trial_id, rows=1)
    trained.held_elsewhere(one)
    status = StatusReader(trained.store).read()
    [running] = status.trials.running
    assert running.pace
    assert running.left == running.pace
    assert status.left(status.trials, "small") == pytest.approx(2 * running.pace)
    assert status.left(status.surfaces, "small") is None
