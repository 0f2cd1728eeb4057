"""A store's keys: all apart, all inside the store, and read back into ids."""

import inspect
import string

from hypothesis import given
from hypothesis import strategies as st

from results_schema import layout

ONE, OTHER = "cifar10-w2.5d3-lr0.025-s0-0123456789", "cifar10-w2.5d3-lr0.025-s0-0123456780"
datasets = st.text(string.ascii_lowercase + string.digits + "_", min_size=1)


def keys_of(item: str) -> list[str]:
    """Every key that the layout gives to an item, its folder of checkpoints included."""

    def value(parameter: inspect.Parameter) -> str | int:
        return {"epoch": 600, "suffix": "html"}.get(parameter.name, item)

    found = []
    for name, maker in inspect.getmembers(layout, inspect.isfunction):
        signature = inspect.signature(maker)
        makes_key = signature.return_annotation == "str" and not name.startswith(("_", "checked"))
        if makes_key and name not in (
            "schema",
            "folder_key",
            "trial_of",
            "cohort_of",
            "dataset_of",
        ):
            found.append(maker(*map(value, signature.parameters.values())))
    return found


def test_keys_stay_apart_and_inside_the_store():
    keys = keys_of(ONE) + keys_of(OTHER)
    assert len(keys) >= 20
    assert len(set(keys)) == len(keys)
    assert all(layout.is_key(key.removesuffix("/")) for key in keys)


def test_names_reads_ids_with_dots_back_and_leaves_the_schema_out():
    keys = [layout.schema(layout.TRIALS), layout.trial(ONE), layout.trial(OTHER)]
    assert layout.names(keys) == {ONE, OTHER}
    assert layout.names([layout.failure(ONE)]) == {ONE}
    assert layout.names([]) == set()


def test_checkpoints_sort_by_epoch():
    epochs = [1, 9, 10, 599, 600, 99999]
    keys = [layout.state(ONE, epoch) for epoch in epochs]
    assert sorted(keys) == keys


@given(datasets)
def test_the_schema_sorts_before_every_trial(dataset: str):
    assert layout.schema(layout.METRICS) < layout.metrics(f"{dataset}-w2.5d3-lr0.025-s0-0123456789")


def test_a_file_named_like_an_id_or_an_experiment_holds_the_rows_of_one_item():
    trial = "digits-w4d2-lr0.025-s0-r2-0123456789"
    assert layout.owner(layout.metrics(trial)) == trial
    assert layout.owner(layout.members("fig9")) == "fig9"
    for key in ("trials/all.parquet", layout.schema(layout.TRIALS), layout.log(trial), "here"):
        assert layout.owner(key) is None
