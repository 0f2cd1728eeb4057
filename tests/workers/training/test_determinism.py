"""The deterministic switch: the same bits again, on a GPU too, and told in the trial's row."""

import pytest
import torch
from small_trials import COMMIT_ALL, COMMIT_LAST, EPOCHS, assert_same, ending
from stops import after_epoch

from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


def test_a_processor_gives_the_same_bits_anyway_so_that_nothing_is_switched(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    torch.use_deterministic_algorithms(True)  # as an earlier trial on a GPU may have left it
    train(spec, store, device="cpu", deterministic=True)
    assert_same(store, undisturbed, spec)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not ending(store, spec)["deterministic"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_trial_that_was_stopped_goes_on_bit_by_bit(
    store: LocalStore, spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory
):
    undisturbed = open_store(tmp_path_factory.mktemp("whole") / "results")
    train(spec, undisturbed, device="cuda", deterministic=True, checkpointing=COMMIT_LAST)
    train(
        spec,
        store,
        device="cuda",
        deterministic=True,
        checkpointing=COMMIT_ALL,
        **after_epoch(1),
    )
    outcome = train(spec, store, device="cuda", deterministic=True, gpu_share=0.5)
    assert (outcome.status, outcome.epochs) == ("done", EPOCHS - 1)
    assert_same(store, undisturbed, spec)
    assert ending(store, spec)["deterministic"]
    assert ending(store, spec)["gpu_share"] == 0.5
    assert torch.are_deterministic_algorithms_enabled()
