"""Names that lead out of the folder they are for: refused wherever one can be given."""

import time
from pathlib import Path

import pytest
from small_stores import Trained

from orchestrator.config.documents import check_file_name
from results_schema import layout
from results_schema.canonical import dataset_name
from results_schema.errors import SpecError, StoreError
from results_schema.store import LocalStore

OUTSIDE = [
    "..",
    "../up",
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "a/..",
    "./a/../..",
    "..\\up",
    "C:\\Windows\\win.ini",
    "\\\\host\\share",
    "~/x",
    "~root",
    "$HOME/x",
    "%2e%2e/x",
    "..%2fx",
    "..\0",
    "a\0b",
    "a\nb",
    ".",
    ".hidden",
    "a/.hidden",
    "-rf",
    " ",
    "",
    "a//b",
    "a/",
    "\u2025/x",
    "\uff0e\uff0e/x",
    "a" * 300,
    "file:///etc/passwd",
    "s3://other/x",
    "con:",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_no_key_and_no_item_leads_out_of_the_store(tmp_path: Path, name: str):
    store = LocalStore(tmp_path / "results")
    (tmp_path / "up").write_text("outside")
    for attempt in (
        lambda: store.put(name, b""),
        lambda: store.get(name),
        lambda: store.has(name),
        lambda: store.delete(name),
        lambda: store.locate(name),
        lambda: store.list(f"{name}/"),
        lambda: store.leases.take(f"{name}/"),
        lambda: (
            store.put(layout.checkpoints(name) + "x", b"") if "/" not in name else store.get(name)
        ),
    ):
        with pytest.raises(StoreError):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["up"]


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_none_names_an_experiment_a_figure_or_a_data_set(name: str):
    with pytest.raises(SpecError):
        check_file_name(name)
    with pytest.raises(SpecError):
        dataset_name("dataset", "x/" + name)


@pytest.mark.parametrize("command", ["logs", "cancel", "retry", "export", "report", "claims"])
def test_no_command_takes_one_for_a_trial_or_an_experiment(command: str, run, trained: Trained):
    there = sorted(trained.store.root.rglob("*"))
    for name in OUTSIDE:
        if "\0" in name or name.startswith("-"):
            continue  # which no shell hands over, and an option
        more = ("--to", "out") if command == "export" else ()
        start = time.process_time()
        code, out, err = run(command, name, *more, "--store", trained.store.root)
        assert time.process_time() - start < 20
        assert code in (1, 2, 3), (name, out)
        assert err.startswith("error: "), (name, err)
    assert sorted(trained.store.root.rglob("*")) == there
