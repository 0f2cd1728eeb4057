"""This project's own loop, by the parts that `workers.training.trial.train` is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch

from benchmarks.loops.setting import Setting
from workers.data.batches import training_batches
from workers.training import device as devices
from workers.training.engine import Engine
from workers.training.graphs import StepMode
from workers.training.setup import record

P = ParamSpec("P")
T = TypeVar("T")


class OwnLoop:
    """Trains one network, in a thread and on a stream of its own, as each trial of a pack has.

    Args:
        setting: The job.
        precision: One of `results_schema.trial.PRECISIONS`.
        mode: How the engine's steps run; None takes the device's best.
        deterministic: Whether every kernel gives the same bits again.

    Attributes:
        engine: To be used by `run` alone.
    """

    networks = 1

    def __init__(
        self,
        setting: Setting,
        precision: str,
        mode: StepMode | None = None,
        *,
        deterministic: bool = False,
    ) -> None:
        self.setting, self.precision, self.deterministic = setting, precision, deterministic
        self.data = setting.data()
        # Not a method of this object: the thread would keep it, its engine and its graphs alive.
        self._thread = ThreadPoolExecutor(1, initializer=_enter_stream, initargs=(setting.device,))
        self.engine = self.run(self._build, mode)

    @property
    def mode(self) -> StepMode:
        """How the engine's steps run."""
        return self.engine.mode

    @property
    def name(self) -> str:
        """With what the engine really does."""
        return f"ours: one network, {self.mode} {self.precision}"

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        return self.start(number, rate).result()

    def start(self, number: int, rate: float) -> Future[float]:
        """Begins an epoch; its result is that of `epoch`."""
        return self._thread.submit(self.train, number, rate)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function where the engine works, and waits for it."""
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Free the engine's graphs and end the thread."""
        self.run(self.engine.close)
        self._thread.shutdown()

    def _build(self, mode: StepMode | None) -> Engine:
        setting = self.setting
        self._switch()
        engine = Engine(setting.network(), setting.recipe, self.precision, mode)
        record(engine, setting.spec(self.precision), self.data)
        return engine

    def _switch(self) -> None:
        """Set what whoever trained in this process before may have left otherwise."""
        devices.choose(
            str(self.setting.device), deterministic=self.deterministic, precision=self.precision
        )

    def train(self, number: int, rate: float) -> float:
        """Train an epoch in the calling thread, which is to be the one of `run`."""
        recipe, seed = self.setting.recipe, self.setting.seed
        self._switch()
        self.engine.begin(seed, number)
        batches = training_batches(self.data, recipe.batch_size, seed, number, recipe.cutout)
        return self.engine.train_epoch(batches, rate).loss


_STREAM = threading.local()
"""What keeps each thread's stream: a context that nobody holds is left."""


def _enter_stream(device: torch.device) -> None:
    """Work on a stream of its own from now on, in this thread."""
    _STREAM.context = devices.own_stream(device)
    _STREAM.context.__enter__()
