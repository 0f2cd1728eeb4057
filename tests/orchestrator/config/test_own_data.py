"""Data sets of the user's own in experiments: their names, and mistakes with file and line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment_files import edited

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from results_schema import layout
from results_schema.store import open_store
from workers.data import folder as data_folder
from workers.data.catalog import CUSTOM, describe

EXPERIMENT = """\
title: t
claim: c
grid:
  genotype: [DARTS]
  dataset: [digits, {npz: data/flowers.npz, flip: true, epochs: 3}]
  seed: [0, 1]
network: {cells: 3, channels: 2}
recipe: {batch_size: 30}
"""
ENTRY = "[digits, {npz: data/flowers.npz, flip: true, epochs: 3}]"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has x.yaml and its data beside it."""
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "cache"))
    CUSTOM.clear()  # those of other tests are called flowers too
    monkeypatch.chdir(tmp_path)
    images = np.random.RandomState(0).randint(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data/flowers.npz",
        train_images=images[:32],
        train_labels=labels[:32],
        test_images=images[32:],
        test_labels=labels[32:],
    )
    (tmp_path / "data/readme.txt").write_text("no images here")
    (tmp_path / "x.yaml").write_text(EXPERIMENT)
    return tmp_path


def test_its_trials_are_named_by_its_content_wherever_the_experiment_is_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    members: Any = load_experiment("x.yaml").members()
    names = [member.spec.dataset for member in members]
    assert names[:2] == ["digits", "digits"]
    assert [member.named_dataset for member in members] == names
    assert names[2] == names[3] and names[2].startswith("flowers-")
    specs = [member.spec for member in members[2:]]
    assert {spec.recipe.epochs for spec in specs} == {3}
    # Its 32 images are two steps of at most 30, and a batch holds no more than there are.
    assert all(spec.trial_id.startswith(f"{names[2]}-w") for spec in specs)
    monkeypatch.chdir("/")
    again = load_experiment(here / "x.yaml").members()
    assert [member.spec.trial_id for member in again] == [
        member.spec.trial_id for member in members
    ]
    alone = EXPERIMENT.replace(ENTRY, "{npz: data/flowers.npz, flip: true, epochs: 3}")
    (here / "y.yaml").write_text(alone)
    assert [one.spec for one in load_experiment(here / "y.yaml").members()] == specs


def test_it_may_be_named_without_its_hash_elsewhere_in_the_experiment(here: Path):
    more = "  exclude: [{dataset: flowers, seed: 1}]\nfigures: {a: {kind: accuracy_by_index, "
    (here / "x.yaml").write_text(
        EXPERIMENT.replace("network:", f"{more}datasets: [flowers]}}}}\nnetwork:")
    )
    experiment = load_experiment("x.yaml")
    assert len(experiment.members()) == 3
    name = experiment.grid.dataset[1]
    assert experiment.figures["a"].options.datasets == (name,)


def test_a_launch_leaves_it_in_the_store(here: Path):
    experiment = load_experiment("x.yaml")
    store = open_store(here / "results")
    record(experiment, store)
    [described, held] = sorted(store.list(layout.DATASETS))
    about = json.loads(store.get(described))
    assert (about["classes"], about["train"], about["test"], about["size"]) == (4, 32, 8, 8)
    assert layout.dataset_arrays(about["name"]) == held
    shutil.rmtree(here / "data")
    shutil.rmtree(here / "cache")
    program = (
        "from results_schema.store import existing_store\n"
        "from workers.data.catalog import describe\n"
        "from workers.data.folder import arrays\n"
        f"existing_store('results'); print(len(arrays(describe({about['name']!r})).train_labels))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout == "32\n", shown.stderr


def test_a_launch_leaves_one_of_which_the_statistics_alone_are_used(here: Path):
    text = EXPERIMENT.replace("grid:", "grid:\n  exclude: [{dataset: flowers}]")
    text = text.replace("batch_size: 30", "batch_size: 30, statistics: flowers")
    (here / "x.yaml").write_text(text)
    store = open_store(here / "results")
    record(load_experiment("x.yaml"), store)
    assert len(store.list(layout.DATASETS)) == 2


def test_what_was_decoded_is_made_again_if_the_data_folder_lost_it(here: Path):
    experiment = load_experiment("x.yaml")
    name = experiment.grid.dataset[1]
    data_folder.kept(describe(name)).unlink()
    assert load_experiment("x.yaml").grid.dataset[1] == name
    record(experiment, open_store(here / "results"))
    assert data_folder.kept(describe(name)).exists()


MISTAKES = [
    ("[{npz: data/flower.npz}]", "data/flower.npz: can't be read: No such file", "paths begin"),
    ("[{npz: data/readme.txt}]", "readme.txt: is no sound npz file", "numpy.savez"),
    ("[{npz: data/flowers.npz, test: 0.2}]", "has test_images, and test asks", "omit test"),
    ("[{npz: data/flowers.npz, mean: [0.1, 0.2]}]", "mean has 2 numbers", "for each channel"),
    ("[{npz: [data]}]", "grid.dataset[0].npz", ""),
    ("[{npz: a, folder: b}]", "is no data set", "{npz: FILE, …}"),
    ("[{zip: a}]", "is no data set", "{folder: FOLDER, …}"),
    ("[{folder: data}]", "data: lacks train and test", "test: 0.2"),
    ("[{folder: nowhere}]", "nowhere: can't be read: No such file", "paths begin"),
    ("[{folder: data, test: 0.2}]", "data: has 0 folders of classes", "two"),
    ("[{npz: data/flowers.npz}, {npz: data/flowers.npz}]", "given more than once", "once"),
]


@pytest.mark.parametrize(("entry", "what", "fix"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_one_line_with_its_place_and_a_fix(
    here: Path, run, entry: str, what: str, fix: str
):
    (here / "x.yaml").write_text(edited(ENTRY, entry, EXPERIMENT))
    code, output, errors = run("plan", "x.yaml")
    assert (code, output) == (2, "")
    assert errors.startswith("error: x.yaml:5: ")
    first, *rest = errors.splitlines()
    assert what in first and fix in "".join(rest)
    assert len(rest) <= 1
