"""The results in brief with which a launch ends."""

from typing import Any

import pytest

from orchestrator.report.brief import accuracy_tables

NONE = "No trial diverged."
SEEDS = "Mean ± standard deviation (number of seeds)."


@pytest.mark.parametrize(
    ("results", "shown", "remarks"),
    [
        ([("done", 0.9), ("done", 0.8), ("diverged", 0.1), None], "56.7 ± 49.3 (3, 1 diverged)",
         [SEEDS, "Diverged: 1 of 3 trials, counted as accuracy 0.",
          "Trials: 2 done, 1 diverged, 1 failed."]),
        ([("done", 0.9), ("done", 0.8)], "85.0 ± 7.1 (2)", [SEEDS, NONE]),
        ([("done", 0.9), None], "90.0", [NONE, "Trials: 1 done, 1 failed."]),
        ([("diverged", 0.1)], "0.0 (1 diverged)",
         ["Diverged: 1 of 1 trial, counted as accuracy 0."]),
        ([None], "–", ["Trials: 1 failed."]),
    ],
)  # fmt: skip
def test_means_over_seeds_with_what_diverged(join, make_member, results, shown, remarks):
    members = [make_member("DARTS", 0, seed=seed) for seed in range(len(results))]
    ended = {m["trial_id"]: r for m, r in zip(members, results, strict=True) if r}
    states: Any = {
        m["trial_id"]: r[0] if r else "failed" for m, r in zip(members, results, strict=True)
    }
    [table] = accuracy_tables(join(members, ended), states)
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
    states: Any = {m["trial_id"]: "done" if m["trial_id"] in ended else "owed" for m in members}
    [table] = accuracy_tables(join(members, ended), states)
    assert table.columns == ["index", "weight decay", "DARTS"]
    assert table.rows == [
        ["base", "0.0001", "55.0 ± 7.1 (2)"],
        ["base", "0.001", "55.0 ± 7.1 (2)"],
        ["C1", "0.0001", "–"],
        ["C1", "0.001", "–"],
    ]
