"""A loop that nobody has any more leaves nothing: on a GPU its graphs would hold the memory."""

import gc
import threading
import weakref

import pytest
import torch

from benchmarks.loops import OwnLoop, PackedLoop, Setting, SideBySideLoop, seeded
from results_schema.trial import NetworkSpec, Recipe

SETTING = Setting(
    torch.device("cpu"),
    dataset="synthetic_10x3x8_10",
    size=NetworkSpec(cells=3, channels=2),
    recipe=Recipe(batch_size=4),
)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "dropped"])
def test_its_engine_is_freed(close: bool):
    gc.collect()
    before = threading.active_count()
    loops = [OwnLoop(SETTING, "fp32", "fixed") for _ in range(2)]
    engines = [weakref.ref(loop.engine) for loop in loops]
    for loop in loops:
        loop.epoch(1, 0.1)
        if close:
            loop.close()
        del loop
    del loops
    gc.collect()
    assert [engine() for engine in engines] == [None] * 2
    if close:
        assert threading.active_count() <= before + 1, "but for the one that records"


def test_a_pack_closes_all_of_its_loops():
    pack = PackedLoop(seeded(SETTING, 3), "fp32")
    pack.epoch(1, 0.1)
    pack.close()
    for loop in pack.loops:
        with pytest.raises(RuntimeError, match="after shutdown"):
            loop.epoch(2, 0.1)


@pytest.mark.long
def test_processes_and_threads_train_the_same():
    loops = [build(seeded(SETTING, 2), "fp32") for build in (PackedLoop, SideBySideLoop)]
    assert loops[0].epoch(1, 0.1) == loops[1].epoch(1, 0.1)
    for loop in loops:
        loop.close()
