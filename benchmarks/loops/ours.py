"""This project's own loop, by the parts that `workers.training.loop.train` is made of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

from benchmarks.loops.setting import Setting
from workers.data.batches import training_batches
from workers.training import device as devices
from workers.training.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


class OwnLoop:
    """Trains one network, in a thread and on a stream of its own, as each trial of a pack has.

    Args:
        setting: The job.
        precision: One of `results_schema.trial.PRECISIONS`.
        form: Of the engine's steps; None takes the device's best.

    Attributes:
        engine: To be used by `run` alone.
        lines: That the engine said.
    """

    networks = 1

    def __init__(self, setting: Setting, precision: str, form: str | None = None) -> None:
        self.setting, self.precision = setting, precision
        self.data = setting.data()
        self.lines: list[str] = []
        self._stream = ExitStack()
        self._thread = ThreadPoolExecutor(1, initializer=self._enter_stream)
        self.engine = self.run(self._build, form)

    @property
    def form(self) -> str:
        """Of the engine's steps; "eager" too where no graph could be captured."""
        return self.engine.form

    @property
    def name(self) -> str:
        """With what the engine really does."""
        return f"ours: one network, {self.form} {self.precision}"

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        return self.start(number, rate).result()

    def start(self, number: int, rate: float) -> Future[float]:
        """Begins an epoch; its result is that of `epoch`."""
        return self._thread.submit(self._epoch, number, rate)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function where the engine works, and waits for it."""
        return self._thread.submit(function, *args, **kwargs).result()

    def _enter_stream(self) -> None:
        self._stream.enter_context(devices.alone(self.setting.device))

    def _build(self, form: str | None) -> Engine:
        setting, say = self.setting, self.lines.append
        devices.choose(str(setting.device), precision=self.precision)
        return Engine(setting.network(), setting.recipe, self.precision, form, say)

    def _epoch(self, number: int, rate: float) -> float:
        recipe, seed = self.setting.recipe, self.setting.seed
        # Whoever trained in this process before may have left other switches.
        devices.choose(str(self.setting.device), precision=self.precision)
        self.engine.begin(seed, number)
        batches = training_batches(self.data, recipe.batch_size, seed, number, recipe.cutout)
        return self.engine.train_epoch(batches, rate).loss
