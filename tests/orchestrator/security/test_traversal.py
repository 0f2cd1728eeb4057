"""Names that lead out of the folder they are for: refused wherever one can be given."""

from pathlib import Path

import pytest
from small_stores import Trained

from orchestrator.config.documents import check_file_name
from results_schema import layout
from results_schema.canonical import dataset_name
from results_schema.errors import SpecError, StoreError
from results_schema.store import LocalStore

OUTSIDE = [
    "..", "../up", "../../etc/passwd", "/etc/passwd", "a/../../b", "a/..", "./a/../..", "..\\up",
    "C:\\Windows\\win.ini", "\\\\host\\share", "~/x", "~root", "$HOME/x", "%2e%2e/x", "..%2fx",
    "..\0", "a\0b", "a\nb", ".", ".hidden", "a/.hidden", "-rf", " ", "", "a//b", "a/", "\u2025/x",
    "\uff0e\uff0e/x", "a" * 300, "file:///etc/passwd", "s3://other/x", "con:",
]  # fmt: skip


def test_none_names_an_experiment_a_figure_or_a_data_set():
    for name in OUTSIDE:
        with pytest.raises(SpecError):
            check_file_name(name)
        with pytest.raises(SpecError):
            dataset_name("dataset", "x/" + name)


def test_no_command_takes_one_for_a_trial_or_an_experiment(run, trained: Trained):
    there = sorted(trained.store.root.rglob("*"))
    names = [name for name in OUTSIDE if "\0" not in name and not name.startswith("-")]
    for number, name in enumerate(names):  # no shell hands over the others
        command = ("logs", "cancel", "retry", "export", "report", "claims")[number % 6]
        more = ("--to", "out") if command == "export" else ()
        code, out, err = run(command, name, *more, "--store", trained.store.root)
        assert code in (1, 2, 3), (name, out)
        assert err.startswith("error: "), (name, err)
    assert sorted(trained.store.root.rglob("*")) == there


def test_a_link_in_the_store_leads_nowhere(tmp_path: Path):
    store, outside, item = (
        LocalStore(tmp_path / "results"),
        tmp_path / "outside",
        "digits-0123456789",
    )
    store.put(layout.state(item, 1), b"")
    outside.mkdir()
    (outside / "secret").write_text("the user's own")
    (store.root / "logs").mkdir()
    (store.root / layout.log(item)).symlink_to(outside / "secret")
    (store.root / "figures").symlink_to(outside)
    (store.root / "checkpoints" / "round").symlink_to(store.root / "checkpoints")
    for attempt in (
        lambda: store.get(layout.log(item)),
        lambda: store.put(layout.figure("x", "x", "html"), b""),
        lambda: store.delete("figures/secret"),
        lambda: store.put(layout.tensors("round", 1), b""),
        lambda: store.has(layout.log(item)),
    ):
        with pytest.raises(StoreError, match="this is a link"):
            attempt()
    assert len([key for key in store.list("checkpoints/") if "round" in key]) == 1
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "the user's own"
