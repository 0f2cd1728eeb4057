"""The results in brief with which a launch ends."""

import pytest

from orchestrator.report.exhibits import accuracy_tables

NONE = "No trial diverged."


@pytest.mark.parametrize(
    ("results", "shown", "remarks"),
    [
        ([("done", 0.9), ("done", 0.8), ("diverged", 0.1), None], "56.7 (1 diverged)",
         ["Diverged: 1 of 3 trials, counted as accuracy 0."]),
        ([("done", 0.9), ("done", 0.8)], "85.0", [NONE]),
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
