"""The collector removes litter alone, after a yes, and nothing that anyone holds or needs."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import pytest
from small_stores import contents, empty_store, renamed_members, shown_counts
from small_trials import train_on_few_digits

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import read_declared, record
from orchestrator.execution.launch import present
from results_schema import layout, tables
from results_schema.lease import Holder
from results_schema.results import Results
from results_schema.store import LocalStore
from results_schema.tables import WANTED
from workers.training import checkpoint
from workers.training.checkpoint import Checkpointing


def age(path: Path, days: float = 2) -> None:
    """Makes a path and all below it old."""
    then = time.time() - 86400 * days
    for one in [*path.rglob("*"), path]:
        os.utime(one, (then, then))


def litter(root: Path) -> None:
    """What cut-off workers of two days ago leave."""
    (root / ".staging").mkdir(exist_ok=True)
    (root / ".staging/abc").write_bytes(b"x" * 2000)
    (root / "leases/.new-1/token").mkdir(parents=True)
    (root / "leases/.new-1/token/heartbeat").write_text("{}")
    (root / "requests").mkdir()
    (root / "requests/stop-gone").touch()
    for name in (".staging/abc", "leases/.new-1", "requests/stop-gone"):
        age(root / name)
    (root / "leases/empty").mkdir()


def test_a_tidy_store_has_nothing_to_remove(run, trained, tmp_path):
    before = contents(trained.store)
    for root in (trained.store.root, empty_store(tmp_path).root, tmp_path):
        code, output, _ = run("gc", "--store", root)
        assert code == 0
        assert "nothing to remove" in output
    assert contents(trained.store) == before


def test_after_a_yes_litter_goes_and_everything_else_stays(run, trained, monkeypatch):
    root, before = trained.store.root, contents(trained.store)
    litter(root)
    half = root / layout.tensors(trained.ids[0], 1)
    half.parent.mkdir()
    half.write_bytes(b"half")
    littered = contents(trained.store)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("gc")[0] == 1
    assert contents(trained.store) == littered
    code, output, _ = run("gc", "--yes")
    assert code == 0
    assert "staged files: 1 file, 2.0 kB" in output
    assert "halves of checkpoints: 1 file of 1 trial, 4 bytes" in output
    assert "removed 2.0 kB" in output
    assert contents(trained.store) == before
    assert list((root / "leases").iterdir()) == []
    assert not half.parent.exists()
    assert "nothing to remove" in run("gc", "--yes")[1]


def test_what_is_young_or_held_stays(run, trained):
    root, trial_id = trained.store.root, trained.ids[0]
    litter(root)
    for path in (root / ".staging/abc", root / "leases/.new-1", root / "requests/stop-gone"):
        os.utime(path)
    trained.cut_off(trial_id)
    half = root / layout.tensors(trial_id, 1)
    half.parent.mkdir()
    half.write_bytes(b"being written")
    beat = trained.held_elsewhere(trial_id)
    trained.held_elsewhere(f"{trained.ids[1]}@e2-contour-0123456789")
    renamed_members(trained.store, "small", trained.ids[2:], like="small")
    before = contents(trained.store)
    code, output, _ = run("gc", "--unnamed", "--checkpoints", "--yes")
    assert code == 0
    assert "as a worker has it: 2 trials" in output
    assert contents(trained.store) == before
    assert beat.exists()


def test_checkpoints_kept_by_name_go_only_when_asked_for(run, trained, tmp_path):
    store, spec = trained.store, trained.specs[0]
    assert run("retry", trained.ids[0], "--yes")[0] == 0
    named = Checkpointing(every=1e9, at=frozenset({1}))
    assert train_on_few_digits(spec, store, named).status == "done"
    assert checkpoint.epochs(store, spec.trial_id) == [1, 2]
    assert "nothing to remove" in run("gc", "--yes")[1]
    row = store.get(layout.trial(spec.trial_id))
    store.delete(layout.trial(spec.trial_id))
    assert "nothing to remove" in run("gc", "--checkpoints", "--yes")[1], "it may resume from any"
    store.put(layout.trial(spec.trial_id), row)
    _, output, _ = run("gc", "--checkpoints", "--yes")
    assert "earlier checkpoints of ended trials: 2 files of 1 trial," in output
    assert checkpoint.epochs(store, spec.trial_id) == [2]
    checkpoint.load(store, spec.trial_id, 2)


def test_trials_that_no_experiment_names_go_when_asked_for(run, trained):
    one, *named = trained.ids
    renamed_members(trained.store, "small", named, like="small")
    assert "nothing to remove" in run("gc", "--yes")[1]
    code, output, _ = run("gc", "--unnamed", "--yes")
    assert (code, f"  {one}" in output) == (0, True)
    assert not [key for key in contents(trained.store) if one in key]
    assert shown_counts(run("status")[1]) == {"done": 2}


FLOWERS, ROSES = "flowers-0123456789", "roses-0123456789"


def put_dataset(trained, name: str = FLOWERS) -> list[str]:
    """Puts files of a user's own data set into the store, and returns their keys."""
    keys = [layout.dataset(name), layout.dataset_arrays(name)]
    for key in keys:
        trained.store.put(key, b"data")
    return keys


def train_on(trained, name: str) -> str:
    """Leaves the log of a trial on a data set, and returns the trial's id."""
    trial_id = f"{name}-w4d2-lr0.1-s0-r2-0123456789"
    trained.store.put(layout.log(trial_id), b"")
    return trial_id


@pytest.mark.parametrize("statistics", [ROSES, "roses"])
def test_a_data_set_stays_of_which_an_experiment_names_the_statistics(run, trained, statistics):
    keys, key = put_dataset(trained, ROSES), layout.experiment("small")
    declared = json.loads(trained.store.get(key))
    for recipe in declared["recipes"].values():
        recipe["statistics"] = statistics
    trained.store.put(key, json.dumps(declared).encode())
    assert "nothing to remove" in run("gc", "--unnamed", "--yes")[1]
    assert trained.store.list(layout.DATASETS) == keys


def test_data_sets_go_with_the_last_of_their_trials(run, trained):
    used, unused = put_dataset(trained, ROSES), put_dataset(trained)
    named = train_on(trained, ROSES)
    renamed_members(trained.store, "other", [named], like="small")
    key = layout.experiment("small")
    declared = json.loads(trained.store.get(key)) | {"former": [train_on(trained, FLOWERS)]}
    trained.store.put(key, json.dumps(declared).encode())
    others = [f"{layout.DATASETS}{name}" for name in ("notes.json", f"{FLOWERS}.txt")]
    for key in others:
        trained.store.put(key, b"mine")
    assert "nothing to remove" in run("gc", "--yes")[1], "not unless it is asked to"
    code, output, _ = run("gc", "--unnamed", "--yes")
    assert (code, "data sets that no experiment names: 2 files, 8 bytes" in output) == (0, True)
    assert all(f"  results/{key}\n" in output for key in unused)
    assert trained.store.list(layout.DATASETS) == sorted([*used, *others])
    trained.store.put(unused[1], b"of a removal that was cut short")
    assert "data sets that no experiment names: 1 file, " in run("gc", "--unnamed", "--yes")[1]
    assert not trained.store.has(unused[1])


@pytest.mark.parametrize("held", ["the data set", "its trial"])
def test_a_data_set_stays_while_a_launch_writes_it_or_a_worker_has_its_trial(run, trained, held):
    keys = put_dataset(trained)
    lease = layout.dataset_lease(FLOWERS)
    trained.held_elsewhere(lease if held == "the data set" else train_on(trained, FLOWERS))
    assert "nothing to remove" in run("gc", "--unnamed", "--yes")[1]
    assert trained.store.list(layout.DATASETS) == keys


@pytest.mark.parametrize("happens", ["named", "written again", "held"])
def test_a_data_set_that_is_wanted_after_the_preview_stays(run, trained, monkeypatch, happens):
    keys = put_dataset(trained)

    def act(*_: object, **__: object) -> None:
        if happens == "named":
            trial_id = f"{FLOWERS}-w4d2-lr0.1-s0-r2-0123456789"
            renamed_members(trained.store, "other", [trial_id], like="small")
        elif happens == "written again":
            trained.store.put(keys[0], b"data")
        else:
            trained.held_elsewhere(layout.dataset_lease(FLOWERS))

    monkeypatch.setattr(click, "confirm", act)
    assert run("gc", "--unnamed")[0] == 0
    assert trained.store.list(layout.DATASETS) == keys


def test_where_it_is_unknown_what_is_named_nothing_goes(run, trained):
    key = layout.members("small")
    whole = trained.store.get(key)
    trained.store.put(key, whole[:-9])
    before = contents(trained.store)
    assert run("gc", "--unnamed", "--yes")[0] == 3
    trained.store.delete(key)
    code, _, errors = run("gc", "--unnamed", "--yes")
    assert code == 2
    assert "no experiment names any trial" in errors
    trained.store.put(key, whole[:-9])
    assert contents(trained.store) == before


def test_what_a_killed_launch_left_goes_and_a_living_ones_file_stays(run, trained):
    store, (one, two, _) = trained.store, trained.ids
    surface, wanted = (f"{trial_id}@e2-contour-0123456789" for trial_id in (one, two))
    store.put(layout.surface(surface), b"")
    for item in (one, surface, wanted):
        store.put(layout.cancel(item), b"")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    holder = replace(Holder.here("gone"), pid=gone.pid, born=0)
    gone.wait()
    store.put(layout.launch("gone"), holder.to_json().encode())
    for name in ("elsewhere", "days"):
        other = replace(Holder.here(name), machine="another")
        store.put(layout.launch(name), other.to_json().encode())
    age(store.root / layout.launch("days"))
    with present(store, "living"):
        _, output, _ = run("gc", "--yes")
        assert "files of launches that were killed: 2 files" in output
        assert "requests of the past: 2 files" in output, "of what has ended"
        living = [layout.launch("elsewhere"), layout.launch("living")]
        assert store.list(layout.REQUESTS) == [layout.cancel(wanted), *living]


def test_strange_names_are_left_alone(run, trained):
    checkpoints = trained.store.root / "checkpoints"
    (checkpoints / "a file").write_text("mine")
    (checkpoints / "stray").write_text("mine")
    (checkpoints / trained.ids[0] / "notes.txt").write_text("mine")
    (trained.store.root / "mine.txt").write_text("mine")
    before = contents(trained.store)
    assert run("gc", "--unnamed", "--checkpoints", "--yes")[0] == 0
    assert contents(trained.store) == before


@pytest.mark.parametrize("folder", [".staging", "leases"])
def test_a_link_in_the_place_of_a_folder_is_refused(run, trained, tmp_path, folder):
    (tmp_path / "mine/.new-plan").mkdir(parents=True)
    (tmp_path / "mine/nothing").mkdir()
    (tmp_path / "mine/.new-plan/notes.txt").write_text("mine")
    age(tmp_path / "mine")
    before = sorted((tmp_path / "mine").rglob("*"))
    shutil.rmtree(trained.store.root / folder, ignore_errors=True)
    (trained.store.root / folder).symlink_to(tmp_path / "mine")
    code, _, errors = run("gc", "--yes")
    assert sorted((tmp_path / "mine").rglob("*")) == before
    assert code == 3
    assert f"{trained.store.root / folder}: this is a link" in errors


def test_links_among_the_leases_and_staged_files_are_removed_and_not_followed(
    run, trained, tmp_path
):
    (tmp_path / "mine/token").mkdir(parents=True)
    (tmp_path / "mine/token/precious").write_text("precious")
    leases, staging = trained.store.root / "leases", trained.store.root / ".staging"
    staging.mkdir(exist_ok=True)
    (staging / "link").symlink_to(tmp_path / "mine")
    os.utime(staging / "link", (0, 0), follow_symlinks=False)
    (leases / "one").symlink_to(tmp_path / "mine")
    (leases / "two").mkdir()
    (leases / "two/token").symlink_to(tmp_path / "mine")
    code, output, _ = run("gc", "--yes")
    assert code == 0
    assert "links among the leases: 2 files" in output
    assert "  results/leases/one\n" in output
    assert "  results/leases/two/token\n" in output
    for link in (leases / "one", leases / "two/token", staging / "link"):
        assert not link.is_symlink()
    assert (tmp_path / "mine/token/precious").read_text() == "precious"


def test_the_preview_names_every_path_or_how_many_more_there_are(run, trained):
    staging = trained.store.root / ".staging"
    staging.mkdir(exist_ok=True)
    for number in range(30):
        (staging / f"{number:02d}\x1b[2J").write_bytes(b"x")
    age(staging)
    half = layout.tensors(trained.ids[0], 1)
    trained.store.put(half, b"half")
    _, output, _ = run("gc", "--yes")
    assert f"  results/{half}\n" in output
    assert "  results/.staging/19 [2J\n" in output
    assert "/20" not in output
    assert "  … and 10 more\n" in output


def test_each_table_is_read_a_few_times_however_many_trials_go(run, trained, monkeypatch):
    for number in range(2):
        rows = tables.to_parquet([], WANTED)
        trained.store.put(layout.wanted(f"other-{number}"), rows)
        renamed_members(trained.store, f"other-{number}", trained.ids[2:], like="small")
    renamed_members(trained.store, "small", trained.ids[2:], like="small")
    reads, get = Counter(), LocalStore.get

    def count(store, key, **options):
        reads[key] += key.startswith((layout.MEMBERS, layout.WANTED))
        return get(store, key, **options)

    monkeypatch.setattr(LocalStore, "get", count)
    for words in (("gc", "--unnamed", "--yes"), ("retry", trained.ids[2], "--yes")):
        reads.clear()
        assert run(*words)[0] == 0
        once = Counter(reads)
        assert once
        assert max(once.values()) <= 4, once


def test_trials_of_an_earlier_launch_are_named_after_its_experiment(run, trained):
    overrides = ["grid.seed=[0]"]
    record(load_experiment(trained.experiment, overrides=overrides, name="one"), trained.store)
    assert "nothing to remove" in run("gc", "--unnamed", "--yes")[1]
    assert Results(trained.store).experiments() == ["small", "small@one"]
    record(load_experiment(trained.experiment, overrides=overrides), trained.store)
    _, output, _ = run("gc", "--unnamed", "--yes")
    assert "trials that an earlier small named: " in output
    assert all(f"  {one}" in output for one in trained.ids[1:])
    record(load_experiment(trained.experiment), trained.store)
    assert read_declared(trained.store, "small").former == []
