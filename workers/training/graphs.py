"""CUDA graphs: a training or evaluation step is captured once and replayed for each batch.

A network of many small cells is bound by its launches, some 3,000 a step; a graph is one. Tensors
whose content changes from step to step stay where they are.

Everything is recorded before the first step, by one thread of the process, while no other thread
takes a step. cuDNN's benchmark waits for the whole device at each new shape, and a wait from any
thread ends a capture (NVIDIA/TensorRT#2888, ROCm/rocm-systems#4508). What the benchmark finds is
kept by thread (pytorch/pytorch#191744), so one thread searches once for all trials of a process.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from workers.training import device as devices
from workers.training.attempt import CaptureFailed

T = TypeVar("T")

StepMode = Literal["eager", "graphed", "fixed"]
"""How steps run: "eager" kernel by kernel, "graphed" by replaying a CUDA graph. "fixed" is
"graphed" without the graph, for devices that have none: recorded in the same way, on the same fixed
tensors, and then run kernel by kernel. It exists to compare with."""

Step = Callable[[Tensor, Tensor], None]
"""Takes pixels [B, C, H, W] and labels [B]; its results are in tensors that it holds."""

WARM_UP = 3
"""Runs of a step before it is recorded: libraries choose their kernels and take their memory."""


def default_mode(device: torch.device) -> StepMode:
    """Return how steps run on a device, where no mode is asked for."""
    return "graphed" if device.type == "cuda" else "eager"


class StepLock:
    """Lets any number of threads take steps at a time, or one thread record."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stepping = 0
        self._recording = False

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Wait for a recording to end; none begins within this context."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._stepping += 1
        try:
            yield
        finally:
            with self._changed:
                self._stepping -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """Let no further step begin, and wait for those that run."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._recording = True  # no step begins from here on, or the wait might never end
            self._changed.wait_for(lambda: self._stepping == 0)
        try:
            yield
        finally:
            with self._changed:
                self._recording = False
                self._changed.notify_all()


class Recorder:
    """The one thread of a process that warms steps up and records them, under its `lock`."""

    def __init__(self) -> None:
        self.lock = StepLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._failed = False

    def run(self, work: Callable[[], T], device: torch.device) -> T:
        """Call a function in the recording thread, on a stream of its own, and wait for it.

        Raises:
            CaptureFailed: The function raised it.
            RuntimeError: An earlier capture of the process has failed.
        """
        return self._thread.submit(self._run, work, device).result()

    def _run(self, work: Callable[[], T], device: torch.device) -> T:
        if self._failed:
            # torch 2.11 leaves the allocator and the random generators in capturing state.
            raise RuntimeError(
                "no CUDA graph can be captured in this process, as an earlier capture has failed"
            )
        with self.lock.record(), devices.own_stream(device):
            devices.synchronize(device)  # steps launched before the lock was taken may still run
            try:
                done = work()
            except CaptureFailed:
                self._failed = True
                raise
            # Other streams take the recordings over only once all that made them has run.
            devices.synchronize(device)
            return done


RECORDER = Recorder()
"""Of this process."""


class Recording:
    """A step for batches of one shape, on tensors that stay where they are.

    Args:
        step: Run or captured; not kept.
        batch: Pixels and labels of that shape.
        generators: All that the step draws from.
        pool: From `new_pool`; without one nothing is captured, and `take` runs the step.
    """

    def __init__(
        self,
        step: Step,
        batch: tuple[Tensor, Tensor],
        generators: Sequence[torch.Generator],
        pool: Any,
    ) -> None:
        self._pixels, self._labels = pixels, labels = batch[0].clone(), batch[1].clone()
        for _ in range(WARM_UP):
            step(pixels, labels)
        self._replay: Callable[[], object] | None = None
        if pool is not None:
            self._replay = capture(lambda: step(pixels, labels), generators, pool)

    def take(self, step: Step, pixels: Tensor, labels: Tensor) -> None:
        """Take the step on a batch of this shape."""
        self._pixels.copy_(pixels)
        self._labels.copy_(labels)
        if self._replay is None:
            # Keeping the step would tie the engine in a cycle, and its memory would stay.
            step(self._pixels, self._labels)
        else:
            self._replay()


def capture(
    run: Callable[[], None], generators: Sequence[torch.Generator], pool: Any
) -> Callable[[], object]:
    """Capture what a function does on a GPU, without doing it; return what replays it.

    Raises:
        CaptureFailed: It can't be captured: it waits for the device, uses what a graph can't, or
            needs more memory than there is. Nothing can be captured in the process afterwards.
    """
    try:
        graph = torch.cuda.CUDAGraph()
        # Replays continue generators of our own, in torch 2.15 without this, which only warns.
        if register := getattr(graph, "register_generator_state", None):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for generator in generators:
                    register(generator)
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            run()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CaptureFailed(f"no CUDA graph could be captured: {reason}") from error
    return graph.replay


def new_pool(mode: StepMode) -> Any:
    """Return the memory that all recordings of an engine share, as one runs at a time, or None."""
    return torch.cuda.graph_pool_handle() if mode == "graphed" else None
