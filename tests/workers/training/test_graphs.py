"""Recorded steps: on fixed tensors, or in a graph, they give the numbers of eager ones."""

import dataclasses
import gc
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from small_trials import GENOTYPE
from torch import Tensor

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.network.network import build_network
from workers.training import engine as engines
from workers.training import graphs
from workers.training.attempt import CaptureFailed, classify
from workers.training.engine import Engine
from workers.training.graphs import (
    RECORDER,
    WARM_UP,
    Recorder,
    Recording,
    StepLock,
    default_mode,
    new_pool,
)

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
    **fields: Any,
) -> Engine:
    network = build_network(genotype, NetworkSpec(3, 2), in_channels=1, classes=10, seed=0)
    recipe = Recipe(epochs=4, drop_path=0.3, drop_path_growth="constant", grad_clip=1.5, **fields)
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
        totals = trained.train_epoch(batches(2, device, seed=epoch), rate)
        numbers += [*dataclasses.astuple(totals), *trained.evaluate(batches(1, device))]
    return numbers


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As far as captures go."""
    recorder = Recorder()
    for module in (graphs, engines):
        monkeypatch.setattr(module, "RECORDER", recorder)
    yield


MODERN = {"optimizer": "adamw", "label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("genotype", "precision", "fields"),
    [
        (GENOTYPE, "fp32", {}),
        (noisy(), "fp32", {}),
        (GENOTYPE, "bf16", {}),
        (GENOTYPE, "bf16", MODERN),
    ],
)
def test_steps_on_fixed_tensors_give_the_same_bits(genotype, precision, fields):
    plain, fixed = (
        engine(mode, genotype=genotype, precision=precision, **fields)
        for mode in ("eager", "fixed")
    )
    before = {name: tensor.clone() for name, tensor in fixed.state().items()}
    for each in (plain, fixed):
        record(each)
    assert not plain._recorded
    assert all(torch.equal(tensor, before[name]) for name, tensor in fixed.state().items())
    assert all(weight.grad is None for weight in fixed.network.parameters())
    assert epochs(plain) == epochs(fixed)
    state = fixed.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state().items())


@needs_gpu
@pytest.mark.parametrize(
    ("genotype", "fields"),
    [(GENOTYPE, {}), (noisy(), {}), (GENOTYPE, MODERN), (GENOTYPE, {"nesterov": True})],
    ids=["small", "noise", "adamw", "nesterov"],
)
def test_steps_in_a_graph_give_the_same_numbers(genotype: Genotype, fields: dict[str, Any]):
    plain = engine("eager", genotype=genotype, device=CUDA, **fields)
    graphed = engine("graphed", genotype=genotype, device=CUDA, **fields)
    record(graphed, CUDA)
    assert epochs(graphed, CUDA) == pytest.approx(epochs(plain, CUDA), rel=1e-3)


def test_a_gpu_has_graphs_and_a_cpu_has_none():
    assert (default_mode(CUDA), default_mode(CPU)) == ("graphed", "eager")
    assert new_pool("fixed") is None and new_pool("eager") is None


@pytest.mark.parametrize("captured", [True, False])
def test_a_step_is_recorded_once_and_reads_what_each_batch_holds(monkeypatch, captured):
    sums, given, replayed = torch.zeros(()), [], []

    def step(pixels: Tensor, labels: Tensor) -> None:
        sums.add_(pixels.sum() + labels.sum())

    def capture(run: Any, generators: Any, pool: Any) -> Any:
        given.append((sums.item(), generators, pool))
        return lambda: (replayed.append(1), run())

    monkeypatch.setattr(graphs, "capture", capture)
    batch = torch.full((2, 1, 4, 4), 0.5), torch.ones(2, dtype=torch.int64)
    recording = Recording(step, batch, [], "pool" if captured else None)
    assert sums == WARM_UP * 18
    assert given == ([(WARM_UP * 18, [], "pool")] if captured else [])
    for number in range(1, 8):
        recording.take(step, torch.full((2, 1, 4, 4), float(number)), batch[1] * number)
    assert sums == WARM_UP * 18 + 34 * sum(range(1, 8))
    assert len(replayed) == 7 * captured
    assert batch[0].sum() == 16, "a batch that it was given is not changed"


def test_recordings_of_an_engine_share_their_memory(monkeypatch: pytest.MonkeyPatch):
    """Only one of them runs at a time, and each alone would take as much."""
    pools: list[object] = []
    monkeypatch.setattr(engines, "new_pool", lambda mode: object())
    monkeypatch.setattr(graphs, "capture", lambda run, generators, pool: pools.append(pool))
    for each in (engine("fixed"), engine("fixed")):
        record(each)
    assert len(pools) == 8
    assert [len(set(map(id, own))) for own in (pools[:4], pools[4:], pools)] == [1, 1, 2]


@without_gpu
@pytest.mark.usefixtures("fresh_process")
class TestFailedCapture:
    def test_is_of_a_kind_after_which_another_process_does_without_graphs(self, monkeypatch):
        """On torch 2.11 the allocator and the random generators are in a capture for good."""
        spoiled = engine("graphed")
        with pytest.raises(CaptureFailed) as caught:
            record(spoiled)
        assert classify(caught.value).kind == "graph"
        tried: list[int] = []
        monkeypatch.setattr(graphs, "capture", lambda *_: tried.append(1))
        with pytest.raises(RuntimeError, match="earlier capture") as later:
            record(engine("graphed"))
        assert not tried
        assert classify(later.value).kind == "cuda", "which another attempt may not meet"
        plain = engine("eager")
        assert not {id(g) for g in spoiled._generators} & {id(g) for g in plain._generators}
        assert epochs(plain) == epochs(engine("eager"))

    def test_for_want_of_memory_is_about_memory(self, monkeypatch: pytest.MonkeyPatch):
        class Graph:
            def __init__(self) -> None:
                try:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
                finally:
                    raise torch.AcceleratorError("CUDA error: capture was invalidated\nmore")

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
        with pytest.raises(CaptureFailed, match=r"capture was invalidated$") as caught:
            record(engine("graphed"))
        assert classify(caught.value).kind == "memory"


class TestStepLock:
    """Threads are held at each point by events, so that no test waits for a moment."""

    def test_steps_run_side_by_side_and_a_recording_waits_for_them(self):
        lock, events = StepLock(), list[str]()
        inside, leave = threading.Barrier(3), threading.Event()

        def step() -> None:
            with lock.step():
                inside.wait(60)
                leave.wait(60)
                events.append("step")

        def recording() -> None:
            with lock.record():
                events.append("recording")

        threads = [threading.Thread(target=step) for _ in range(2)]
        for thread in threads:
            thread.start()
        inside.wait(60)
        recorder = threading.Thread(target=recording)
        recorder.start()
        while not lock._recording:
            pass
        late = threading.Thread(target=lambda: lock.step().__enter__() or events.append("late"))
        late.start()
        assert events == []
        leave.set()
        for thread in (*threads, recorder, late):
            thread.join(60)
        assert events == ["step", "step", "recording", "late"]

    @pytest.mark.parametrize("kind", ["step", "record"])
    def test_one_that_fails_lets_the_others_go_on(self, kind: str):
        lock = StepLock()
        with pytest.raises(ValueError), getattr(lock, kind)():
            raise ValueError
        with lock.record():
            pass
        with lock.step():
            pass

    def test_one_thread_records_for_all_and_fails_its_caller_alone(self):
        def fail() -> None:
            raise ValueError("odd")

        with pytest.raises(ValueError, match="odd"):
            RECORDER.run(fail, CPU)
        found: set[int] = set()
        callers = [
            threading.Thread(target=lambda: found.add(RECORDER.run(threading.get_ident, CPU)))
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(found) == 1

    def test_a_step_waits_for_a_recording(self):
        trained, recording, end = engine("eager"), threading.Event(), threading.Event()

        def work() -> None:
            recording.set()
            end.wait(60)

        caller = threading.Thread(target=lambda: RECORDER.run(work, CPU))
        caller.start()
        assert recording.wait(60)
        stepping = threading.Thread(target=lambda: trained.train_epoch(batches(1), 0.1))
        stepping.start()
        stepping.join(0.05)
        assert stepping.is_alive()
        end.set()
        stepping.join(60)
        caller.join(60)
        assert not stepping.is_alive()


def test_a_graph_registers_each_generator_where_torch_does_not_by_itself(monkeypatch):
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
        ran: list[int] = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replay: Any = graphs.capture(lambda ran=ran: ran.append(1), generators, None)
        assert ran == [1]
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
        recordings = [weakref.ref(each) for each in trained._recorded.values()]
        assert len(recordings) == 4 * (mode == "fixed")
        trained.close()
        assert [each() for each in recordings] == [None] * len(recordings)
        del trained
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()
