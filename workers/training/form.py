"""The forms of a step: run as it is, or captured once in a CUDA graph and replayed.

A network of many small cells is bound by its launches, some 3,000 a step; a graph is one. What
changes from step to step stands in tensors that stay where they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], None]
"""Takes pixels [B, C, H, W] and labels [B]; what comes of them is left in tensors it knows."""

FORMS = ("eager", "graphed", "fixed")
"""`fixed` is `graphed` without the graph, for devices that have none: the same fixed tensors, and
the same steps left to run as they are. It is there to be compared with."""
WARM_UP = 3
"""Steps run as they are before one is captured: libraries choose their kernels and take their
memory in them. They are steps of the training like any other."""

_CAPTURING = threading.Lock()
"""Only one capture may be underway in a process, and nothing may wait for the device meanwhile."""


class Record(Protocol):
    """Makes of a function what does the same, on the same tensors, each time it is called."""

    def __call__(
        self, run: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], object]:
        """Records a run that draws from these generators alone."""
        ...


class Fixed:
    """A step on tensors that stay where they are: recorded after `WARM_UP` batches, then replayed.

    The batches of an epoch have one shape, but for the last; others than the first shape are run
    as they are.

    Args:
        step: Run or recorded.
        generators: Whatever it draws from.
        record: See `Record`.
        failed: Told why, if recording fails; every step then runs as it is.
    """

    def __init__(
        self,
        step: Step,
        generators: Sequence[torch.Generator],
        record: Record,
        failed: Callable[[RuntimeError], None],
    ) -> None:
        self._step, self._generators = step, generators
        self._record, self._failed = record, failed
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._replay: Callable[[], object] | None = None
        self._warm = 0

    def __call__(self, pixels: Tensor, labels: Tensor) -> None:
        """Takes the step on a batch."""
        if self._inputs is None:
            self._inputs = torch.empty_like(pixels), torch.empty_like(labels)
        own_pixels, own_labels = self._inputs
        if pixels.shape != own_pixels.shape:
            self._step(pixels, labels)
            return
        own_pixels.copy_(pixels)
        own_labels.copy_(labels)
        if self._replay is None and self._warm == WARM_UP:
            self._replay = self._recorded()
        if self._replay is None:
            self._warm += 1
            self._step(own_pixels, own_labels)
        else:
            self._replay()

    def _recorded(self) -> Callable[[], object] | None:
        assert self._inputs is not None
        inputs = self._inputs
        try:
            return self._record(lambda: self._step(*inputs), self._generators)
        except torch.OutOfMemoryError:
            raise  # for whoever packed the GPU too full
        except RuntimeError as error:
            self._failed(error)
            return None


def repeat(run: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], object]:
    """What `capture` does, without a graph: runs the same function again."""
    return run


def capture(run: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], object]:
    """Captures what a function does on a GPU, without doing it; returns what replays it.

    Raises:
        RuntimeError: It can't be captured: it waits for the device, or uses what a graph can't.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    stream = torch.cuda.current_stream()
    if stream == torch.cuda.default_stream():
        stream = torch.cuda.Stream()  # the default one can't be captured
    with (
        _CAPTURING,
        # Another trial of this process may use the GPU meanwhile, from a thread of its own.
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        run()
    return graph.replay
