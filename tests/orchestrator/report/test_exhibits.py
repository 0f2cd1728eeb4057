"""The results in brief with which a launch ends."""

import pytest

from orchestrator.report.exhibits import accuracy_tables

NONE = "No trial diverged."
SEEDS = "Mean ± standard deviation (number of seeds)."


@pytest.mark.parametrize(
    ("results", "shown", "remarks"),
    [
        ([("done", 0.9), ("done", 0.8), ("diverged", 0.1), None], "56.7 ± 49.3 (3, 1 diverged)",
         [SEEDS, "Diverged: 1 of 3 trials, counted as accuracy 0."]),
        ([("done", 0.9), ("done", 0.8)], "85.0 ± 7.1 (2)", [SEEDS, NONE]),
        ([("done", 0.9), None], "90.0", [NONE]),
        ([None], "–", []),
    ],
)  # fmt: skip
def test_means_over_seeds_with_what_diverged(join, make_member, results, shown, remarks):
    members = [make_member("DARTS", 0, seed=seed) for seed in range(len(results))]
    ended = {m["trial_id"]: r for m, r in zip(members, results, strict=True) if r}
    [table] = accuracy_tables(join(members, ended))
    assert table.title == "test accuracy in % on cifar10, learning rate 0.025"
    assert table.columns == ["index", "DARTS"]
    assert table.rows == [["base", shown]]
    assert table.remarks == remarks


def test_axes_that_vary_are_columns_and_have_rows(join, make_member):
    members = [
        make_member("DARTS", index, seed=seed)
        | {"axes": f'{{"recipe.weight_decay": {decay}, "precision": "bf16"}}'}
        | {"weight_decay": decay, "precision": "bf16", "trial_id": f"{index} {seed} {decay}"}
        for decay in (1e-4, 1e-3)
        for seed in (0, 1)
        for index in (0, 1)
    ]
    ended = {m["trial_id"]: ("done", 0.5 + m["seed"] / 10) for m in members if m["index"] == 0}
    [table] = accuracy_tables(join(members, ended))
    assert table.columns == ["index", "weight decay", "DARTS"]
    assert table.rows == [
        ["base", "0.0001", "55.0 ± 7.1 (2)"],
        ["base", "0.001", "55.0 ± 7.1 (2)"],
        ["C1", "0.0001", "–"],
        ["C1", "0.001", "–"],
    ]
