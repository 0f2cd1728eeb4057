"""Recorded steps: on fixed tensors, or in a graph, they give the numbers of eager ones."""

import dataclasses
import gc
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from small_trials import GENOTYPE, small_spec
from torch import Tensor

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.data.batches import evaluation_batches, training_batches
from workers.network.network import build_network
from workers.training import engine as engines
from workers.training import graphs
from workers.training.attempt import classify
from workers.training.engine import Engine
from workers.training.graphs import RECORDER, WARM_UP, CaptureFailed, Recorder, Recording
from workers.training.setup import set_up

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="captures where there is a GPU")


def noisy() -> Genotype:
    """DARTS with noise on an edge of each cell."""
    genotype = named("DARTS")
    cells = []
    for cell in (genotype.normal, genotype.reduce):
        (_, *first), *rest = cell.nodes
        edge = dataclasses.replace(cell.nodes[0][0], op="noise")
        cells.append(dataclasses.replace(cell, nodes=((edge, *first), *rest)))
    return Genotype(*cells)


def engine(
    mode: graphs.StepMode,
    *,
    genotype: Genotype = GENOTYPE,
    device: torch.device = CPU,
    precision: str = "fp32",
) -> Engine:
    network = build_network(genotype, NetworkSpec(3, 2), in_channels=1, classes=10, seed=0)
    recipe = Recipe(epochs=4, drop_path=0.3, drop_path_growth="constant", grad_clip=1.5)
    return Engine(network.to(device), recipe, precision, mode)


def batches(count: int, device: torch.device = CPU, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Of 12 images, and a smaller one at the end."""
    stream = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, 16, 16, generator=stream).to(device),
            torch.randint(10, (size,), generator=stream).to(device),
        )
        for size in [12] * count + [5]
    ]


def record(recorded: Engine, device: torch.device = CPU) -> None:
    recorded.record(batches(1, device), batches(1, device))


def epochs(trained: Engine, device: torch.device = CPU) -> list[float]:
    """Numbers of two epochs at two rates, each with an evaluation."""
    numbers = []
    for epoch, rate in ((1, 0.1), (2, 0.02)):
        trained.begin(0, epoch)
        totals = trained.train_epoch(batches(WARM_UP + 3, device, seed=epoch), rate)
        numbers += [*dataclasses.astuple(totals), *trained.evaluate(batches(3, device))]
    return numbers


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As far as captures go."""
    recorder = Recorder()
    for module in (graphs, engines):
        monkeypatch.setattr(module, "RECORDER", recorder)
    yield


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("genotype", [GENOTYPE, noisy()], ids=["small", "noise"])
def test_steps_on_fixed_tensors_give_the_same_bits(genotype: Genotype, precision: str):
    plain, fixed = (
        engine(mode, genotype=genotype, precision=precision) for mode in ("eager", "fixed")
    )
    for each in (plain, fixed):
        record(each)
    assert epochs(plain) == epochs(fixed)
    state = fixed.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state().items())


@needs_gpu
@pytest.mark.parametrize("genotype", [GENOTYPE, noisy()], ids=["small", "noise"])
def test_steps_in_a_graph_give_the_same_numbers(genotype: Genotype):
    plain = engine("eager", genotype=genotype, device=CUDA)
    graphed = engine("graphed", genotype=genotype, device=CUDA)
    record(graphed, CUDA)
    assert epochs(graphed, CUDA) == pytest.approx(epochs(plain, CUDA), rel=1e-3)


def test_recording_leaves_the_state_as_it_was():
    recorded = engine("fixed")
    before = {name: tensor.clone() for name, tensor in recorded.state().items()}
    record(recorded)
    after = recorded.state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(weight.grad is None for weight in recorded.network.parameters())


def test_a_step_is_recorded_once_and_reads_what_each_batch_holds(monkeypatch):
    sums, recorded, replayed = torch.zeros(()), [], []

    def step(pixels: Tensor, labels: Tensor) -> None:
        sums.add_(pixels.sum())

    def note(run, generators, pool):
        recorded.append((generators, pool))
        return lambda: (replayed.append(1), run())

    monkeypatch.setattr(graphs, "capture", note)
    batch = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    recording = Recording(step, batch, [], "pool")
    assert recorded == [([], "pool")]
    for number in range(1, 8):
        recording.take(step, torch.full((2, 1, 4, 4), float(number)), batch[1])
    assert sums == 32 * sum(range(1, 8))
    assert len(replayed) == 7
    assert batch[0].sum() == 0, "a batch that it was given is not changed"


def test_recordings_of_an_engine_share_their_memory(monkeypatch: pytest.MonkeyPatch):
    """Only one of them runs at a time, and each alone would take as much."""
    pools: list[object] = []
    monkeypatch.setattr(engines, "new_pool", lambda mode: object())
    monkeypatch.setattr(graphs, "capture", lambda run, generators, pool: pools.append(pool))
    for each in (engine("fixed"), engine("fixed")):
        record(each)
    assert len(pools) == 8
    assert [len(set(map(id, own))) for own in (pools[:4], pools[4:], pools)] == [1, 1, 2]


def test_a_trial_runs_on_recorded_tensors_from_its_first_step_to_its_last(
    monkeypatch: pytest.MonkeyPatch,
):
    """Also the last batch of an epoch, which is smaller, and those of the evaluation."""
    seen: list[int] = []
    for name in ("_train_batch", "_test_batch"):
        real = getattr(Engine, name)

        def watched(self: Engine, pixels: Tensor, labels: Tensor, real=real) -> None:
            seen.append(pixels.data_ptr())
            real(self, pixels, labels)

        monkeypatch.setattr(Engine, name, watched)
    spec = small_spec()
    recipe = dataclasses.replace(spec.recipe, evaluation_batch=48)
    spec = dataclasses.replace(spec, recipe=recipe)
    data, trained = set_up(spec, CPU, "fixed")
    assert len(data.train) % recipe.batch_size
    assert len(data.test) % recipe.evaluation_batch
    known = set(seen)
    assert len(known) == 4
    seen.clear()
    trained.begin(spec.seed, 1)
    trained.train_epoch(training_batches(data, recipe.batch_size, spec.seed, 1), 0.1)
    trained.evaluate(evaluation_batches(data.test, data.about, recipe.evaluation_batch))
    assert set(seen) == known


@without_gpu
@pytest.mark.usefixtures("fresh_process")
class TestFailedCapture:
    def test_is_told_apart_so_that_another_process_does_without(self):
        with pytest.raises(CaptureFailed) as caught:
            record(engine("graphed"))
        assert classify(caught.value).kind == "graph"

    def test_lets_no_other_be_tried_in_the_process(self, monkeypatch: pytest.MonkeyPatch):
        """On torch 2.11 the allocator and the random generators are in a capture for good."""
        with pytest.raises(CaptureFailed):
            record(engine("graphed"))
        tried: list[int] = []
        monkeypatch.setattr(graphs, "capture", lambda *_: tried.append(1))
        with pytest.raises(RuntimeError, match="earlier capture") as caught:
            record(engine("graphed"))
        assert not tried
        assert classify(caught.value).kind == "cuda", "which another attempt may not meet"

    def test_for_want_of_memory_is_about_memory(self, monkeypatch: pytest.MonkeyPatch):
        class Graph:
            def __init__(self) -> None:
                try:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
                finally:
                    raise torch.AcceleratorError("CUDA error: capture was invalidated")

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        with pytest.raises(CaptureFailed) as caught:
            record(engine("graphed"))
        assert classify(caught.value).kind == "memory"

    def test_spoils_no_generator_of_a_later_engine(self):
        spoiled = engine("graphed")
        with pytest.raises(CaptureFailed):
            record(spoiled)
        later = engine("eager")
        shared = {id(g) for g in spoiled._generators} & {id(g) for g in later._generators}
        assert not shared
        assert epochs(later) == epochs(engine("eager"))


class TestStepLock:
    def test_a_recording_meets_no_step_of_another_thread(self):
        stepping, recording = threading.Event(), threading.Event()
        met: list[str] = []
        done = threading.Event()

        class Watched(Engine):
            def _train_batch(self, pixels: Tensor, labels: Tensor) -> None:
                if recording.is_set():
                    met.append("a step began within a recording")
                stepping.set()
                super()._train_batch(pixels, labels)
                stepping.clear()

        network = build_network(GENOTYPE, NetworkSpec(3, 2), in_channels=1, classes=10, seed=0)
        neighbour = Watched(network, Recipe())
        taken: list[int] = []

        def train() -> None:
            while not done.is_set():
                taken.append(neighbour.train_epoch(batches(2), 0.1).images)

        def work() -> None:
            recording.set()
            for _ in range(5):
                if stepping.is_set():
                    met.append("a recording ran within a step")
                time.sleep(0.02)
            recording.clear()

        thread = threading.Thread(target=train)
        thread.start()
        try:
            while not taken:
                time.sleep(0.01)
            for _ in range(5):
                RECORDER.run(work, CPU)
                before = len(taken)
                while len(taken) == before:
                    time.sleep(0.01)
        finally:
            done.set()
            thread.join()
        assert met == []

    def test_one_thread_records_for_all(self):
        threads = set()
        callers = [
            threading.Thread(
                target=lambda: threads.add(RECORDER.run(lambda: threading.get_ident(), CPU))
            )
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(threads) == 1

    def test_what_fails_in_it_fails_its_caller_alone(self):
        def fail() -> None:
            raise ValueError("odd")

        with pytest.raises(ValueError, match="odd"):
            RECORDER.run(fail, CPU)
        assert RECORDER.run(lambda: 7, CPU) == 7


def test_a_graph_registers_each_generator_where_torch_does_not_by_itself(
    monkeypatch: pytest.MonkeyPatch,
):
    """torch 2.15 does it by itself, and warns about whoever does."""

    class Silent:
        def __init__(self) -> None:
            self.given: list[torch.Generator] = []

        def replay(self) -> None: ...

    class Warning(Silent):
        def register_generator_state(self, generator: torch.Generator) -> None:
            warnings.warn("a no-op", DeprecationWarning, stacklevel=2)
            self.given.append(generator)

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    generators = [torch.Generator(), torch.Generator()]
    for kind, expected in ((Silent, []), (Warning, generators)):
        monkeypatch.setattr(torch.cuda, "CUDAGraph", kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replay: Any = graphs.capture(lambda: None, generators, None)
        assert replay.__self__.given == expected


@pytest.mark.parametrize("mode", ["eager", "fixed"])
def test_an_engine_is_freed_as_soon_as_nobody_has_it(mode: graphs.StepMode):
    """Its graphs hold gigabytes, which would stay until Python looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        trained = engine(mode)
        record(trained)
        epochs(trained)
        left = weakref.ref(trained), weakref.ref(trained.network)
        del trained
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()


def test_a_closed_engine_has_no_recording_left():
    trained = engine("fixed")
    record(trained)
    [*recordings] = map(weakref.ref, trained._recorded.values())
    assert len(recordings) == 4
    trained.close()
    assert [each() for each in recordings] == [None] * 4
