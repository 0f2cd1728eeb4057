"""Asked to stop in the middle of an epoch, a trial gives that epoch up and nothing else."""

import itertools
from types import SimpleNamespace

import pytest
from small_trials import COMMIT_ALL, COMMIT_LAST, EPOCHS, assert_same, rows

from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.training import checkpoint, stopping
from workers.training.history import Checkpointing
from workers.training.loop import train
from workers.training.stopping import Stopped, Stopping


@pytest.mark.parametrize("checkpointing", [COMMIT_ALL, COMMIT_LAST])
def test_stopped_before_any_batch_it_keeps_all_epochs_before_and_goes_on_bit_by_bit(
    store: LocalStore,
    undisturbed: LocalStore,
    spec: TrialSpec,
    checkpointing: Checkpointing,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(stopping, "EVERY", 0.0)
    stops = 0
    for question in itertools.count(2):
        asked = itertools.count(1)
        outcome = train(
            spec,
            store,
            device="cpu",
            checkpointing=checkpointing,
            stop=lambda asked=asked, question=question: next(asked) == question,
        )
        if outcome.status == "done":
            break
        stops += 1
        published = len(rows(store, spec))
        assert outcome.reason == f"after epoch {published} of {EPOCHS}"
        assert max(checkpoint.epochs(store, spec.trial_id), default=0) == published
        assert store.leases.held() == {}
    # Before the epoch, before each of its 4 batches and before that of the test set; from the
    # seventh attempt on an epoch or two are trained anew before the question that stops it.
    assert stops > 6
    assert_same(store, undisturbed, spec)


def test_within_an_epoch_it_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([0.0, 0.0, 0.3, 0.6, 1.1, 1.1, 1.4, 2.0, 2.2, 2.2])
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(stopping, "time", clock)
    asked: list[int] = []
    batches = iter(range(7))
    seen: list[int] = []

    def stop() -> bool:
        asked.append(len(seen))
        return len(asked) == 3

    watch = Stopping(stop)
    watch.check()
    with pytest.raises(Stopped):
        seen += watch.between(batches)
    assert asked == [0, 2, 5], "after so many batches"
    assert list(batches) == [6], "the batch in hand is given up, those behind it are untouched"
