"""Several networks side by side: by the threads of one process, or by processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from statistics import fmean

import torch

from benchmarks.loops.ours import OwnLoop
from benchmarks.loops.setting import Setting


class PackedLoop:
    """Trains k networks by k threads, as `workers.training.packing` does.

    Args:
        settings: The job of each; they share a device and a batch size.
        precision: One of `results_schema.trial.PRECISIONS`.
        deterministic: Whether every kernel gives the same bits again.
    """

    def __init__(
        self, settings: Sequence[Setting], precision: str, *, deterministic: bool = False
    ) -> None:
        self.networks = len(settings)
        self.loops = [OwnLoop(each, precision, deterministic=deterministic) for each in settings]

    @property
    def name(self) -> str:
        """With what the engines really do."""
        loop = self.loops[0]
        return f"ours: {self.networks} networks in one process, {loop.mode} {loop.precision}"

    def epoch(self, number: int, rate: float) -> float:
        """Trains each on every image once; see `Loop`."""
        trained = [loop.start(number, rate) for loop in self.loops]
        return fmean(one.result() for one in trained)

    def close(self) -> None:
        """Free the networks' engines."""
        for loop in self.loops:
            loop.close()


class SideBySideLoop:
    """Trains k networks by k processes, as a sweep on CPU cores does.

    Args:
        setting: The job; the networks' seeds count on from the setting's.
        precision: One of `results_schema.trial.PRECISIONS`.
        networks: k.
    """

    def __init__(self, setting: Setting, precision: str, networks: int) -> None:
        self.networks, self.precision = networks, precision
        context = multiprocessing.get_context("spawn")
        self.ends: list[Connection] = []
        for each in seeded(setting, networks):
            own, other = context.Pipe()
            # A daemon, so that none outlives this process.
            child = context.Process(target=_serve, args=(other, each, precision), daemon=True)
            child.start()
            other.close()
            self.ends.append(own)
        [mode, *_] = [end.recv() for end in self.ends]
        self.name = f"ours: {networks} processes, {mode} {precision}"

    def epoch(self, number: int, rate: float) -> float:
        """Trains each on every image once; see `Loop`."""
        for end in self.ends:
            end.send((number, rate))
        return fmean(end.recv() for end in self.ends)

    def close(self) -> None:
        """Ends the processes."""
        for end in self.ends:
            end.close()


def _serve(end: Connection, setting: Setting, precision: str) -> None:
    """Trains an epoch for each message, until the other end is closed."""
    torch.set_num_threads(1)
    loop = OwnLoop(setting, precision)
    end.send(loop.mode)
    while True:
        try:
            number, rate = end.recv()
        except EOFError:
            return
        end.send(loop.epoch(number, rate))


def seeded(setting: Setting, networks: int) -> list[Setting]:
    """Return the same job for so many networks, with seeds that count on from the setting's."""
    return [replace(setting, seed=setting.seed + number) for number in range(networks)]
