"""What a name or the start of an id stands for, for all commands that take one."""

import re

import pytest
from small_stores import renamed_members

from orchestrator.housekeeping.lookup import find_items, surfaces, trials
from results_schema import layout
from results_schema.errors import ConfigError


def test_an_experiment_its_file_a_member_and_the_start_of_an_id_stand_for_items(trained):
    store, (one, two, three) = trained.store, trained.ids
    surface = f"{two}@e2-contour-0123456789"
    store.put(layout.log(surface), b"")
    renamed_members(store, "other", [one], like="small")
    for names, found in (
        (["small"], [one, two, three]),
        (["small.yaml", "other"], [one, two, three]),
        (["other", two[:-2]], [one, two]),
        (["small/darts/c0/s2"], [three]),
        ([surface[:-9], one], [one, surface]),
    ):
        assert find_items(store, names) == found


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("digits", "3 trials begin with 'digits'"),
        ("digits@", "no surface 'digits@'"),
        ("", "3 trials begin with ''"),
        ("smal", "no trial 'smal'"),
        ("a" * 999, "no trial 'aaa"),
        ("../members", "no experiment '..'"),
        ("nowhere.yaml", "no experiment 'nowhere.yaml'"),
        ("small/DARTS", "3 members are called 'small/DARTS'"),
        ("small/ENAS", "small has no member 'small/ENAS'"),
    ],
)
def test_a_name_that_fits_several_or_nothing_is_refused(trained, name, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        find_items(trained.store, [name])
    assert caught.value.fix


def test_leases_on_anything_else_are_no_trials(trained):
    leases = layout.SCHEMA_LEASE, layout.decision_lease("0123456789")
    for item in (*leases, layout.dataset_lease("flowers-0123456789")):
        assert trained.store.leases.take(item)
    assert (trials(trained.store), surfaces(trained.store)) == ({*trained.ids}, set())
