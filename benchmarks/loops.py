"""Training loops that differ in nothing but how they train: data, network and recipe are shared.

`ReferenceLoop` is the field's loop: transforms of one image at a time in two loader processes,
float32 in NCHW, loss and accuracies read from the device in every step. `FairLoop` is the same loop
written with care: images on the device and augmented there, channels last, a fused optimizer,
nothing read before the epoch ends. `OwnLoop`, `PackedLoop` and `SideBySideLoop` are this project's.
"""

from __future__ import annotations

import multiprocessing
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data.batches import Data, Images, load, training_batches
from workers.data.catalog import Dataset, describe
from workers.network.network import Network
from workers.training import device as devices
from workers.training.engine import Engine
from workers.training.graphs import StepMode
from workers.training.setup import fresh_network, set_up

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """A training job: the training images of a data set, a network, a recipe, a device.

    The recipe is Section 4's, without cutout, auxiliary head and drop path, which not every loop
    has; `genotype` names a published cell, and `seed` is that of weights and draws.
    """

    device: torch.device
    dataset: str = "synthetic"
    genotype: str = "DARTS"
    size: NetworkSpec = field(default_factory=NetworkSpec)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def data(self, device: torch.device | None = None) -> Data:
        """Return the data set, on the setting's device or on another."""
        return load(self.dataset, device or self.device)

    def network(self) -> Network:
        """Return the network that every loop begins with, on the device."""
        return fresh_network(self.spec(), self.data(torch.device("cpu")).about).to(self.device)

    def spec(self, precision: str = "fp32") -> TrialSpec:
        """Return the job as a trial of a sweep."""
        return TrialSpec(
            genotype=named(self.genotype),
            dataset=self.dataset,
            preprocessing=describe(self.dataset).preprocessing,
            network=self.size,
            recipe=self.recipe,
            learning_rate=0.025,
            seed=self.seed,
            precision=precision,
        )


class Loop(ABC):
    """A way to train a number of networks, with the name that tables show."""

    name: str
    networks: int = 1

    @abstractmethod
    def epoch(self, number: int, lr: float) -> float:
        """Train every network on every image once and return the mean loss over both."""

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what garbage collection does not: graphs, threads and processes."""


def torch_defaults(device: torch.device) -> AbstractContextManager[object]:
    """Let cuDNN use TF32 and tune its kernels, as published loops do.

    `workers.training.device.choose` allows neither by itself: a trial's precision decides.
    """
    if device.type != "cuda":
        return nullcontext()
    return cudnn.flags(
        enabled=True, benchmark=True, benchmark_limit=10, deterministic=False, allow_tf32=True
    )


Transform = Callable[[np.ndarray], Tensor]
"""From pixels uint8 [H, W, C] to a normalised image float32 [C, H, W]."""


def transform_for(about: Dataset) -> tuple[str, Transform]:
    """Return the name of the library that augments, and what it does to an image.

    Without torchvision a few calls of torch augment, which take less time.
    """
    try:
        return "torchvision", _by_torchvision(about)
    # A torchvision that was built for another torch fails with either.
    except (ImportError, RuntimeError):
        return "torch", _ByTorch(about)


def _by_torchvision(about: Dataset) -> Transform:
    from torchvision import transforms

    flip = [transforms.RandomHorizontalFlip()] if about.flip else []
    return transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomCrop(about.size, padding=about.padding),
            *flip,
            transforms.ToTensor(),
            transforms.Normalize(list(about.mean), list(about.std)),
        ]
    )


class _ByTorch:
    """A class, because loaders may have to pickle it."""

    def __init__(self, about: Dataset) -> None:
        self.about = about
        self.mean = torch.tensor(about.mean).view(-1, 1, 1)
        self.std = torch.tensor(about.std).view(-1, 1, 1)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        size, padding = self.about.size, self.about.padding
        image = functional.pad(torch.from_numpy(pixels).permute(2, 0, 1), [padding] * 4)
        top, left = torch.randint(2 * padding + 1, (2,)).tolist()
        image = image[:, top : top + size, left : left + size]
        if self.about.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std


class Augmented(TorchDataset[tuple[Tensor, int]]):
    """A split for `torch.utils.data.DataLoader`."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an augmented image and its label."""
        return self.transform(self.pixels[index]), self.labels[index]


class _EagerLoop(Loop):
    """What the loops written against plain torch share: a network and torch's own optimizer."""

    def __init__(self, setting: Setting, layout: torch.memory_format, fused: bool | None) -> None:
        self.setting = setting
        self.network = setting.network().to(memory_format=layout)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=setting.recipe.momentum,
            weight_decay=setting.recipe.weight_decay,
            fused=fused,
        )

    def begin(self, lr: float) -> None:
        """Set the learning rate and the training mode of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.network.train()


class ReferenceLoop(_EagerLoop):
    """Train one network as the field does; `workers` processes load images, or this one if 0."""

    def __init__(self, setting: Setting, workers: int = 2) -> None:
        super().__init__(setting, torch.contiguous_format, fused=None)
        data = setting.data(torch.device("cpu"))
        library, transform = transform_for(data.about)
        self.name = f"reference: {library} transforms, DataLoader, eager fp32"
        self.loader = DataLoader(
            Augmented(data.train, transform),
            batch_size=setting.recipe.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(setting.seed),
            num_workers=workers,
            pin_memory=setting.device.type == "cuda",
        )
        self.criterion = nn.CrossEntropyLoss().to(setting.device)

    def epoch(self, number: int, lr: float) -> float:
        """See `Loop`."""
        del number  # the loader's own generator continues
        self.begin(lr)
        total = images = 0.0
        device = self.setting.device
        with torch_defaults(device):
            for pixels, labels in self.loader:
                pixels = pixels.to(device, non_blocking=True)
                labels = labels.to(device, non_blocking=True)
                self.optimizer.zero_grad()
                logits = self.network(pixels)
                loss = self.criterion(logits, labels)
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), self.setting.recipe.grad_clip)
                self.optimizer.step()
                # Published loops average the accuracies; reading them is what takes time.
                _read_accuracies(logits, labels)
                total += loss.item() * len(labels)
                images += len(labels)
        return total / images


def _read_accuracies(logits: Tensor, labels: Tensor) -> list[float]:
    """Return top-1 and top-5 accuracy of a batch in percent, as published loops compute them."""
    _, predicted = logits.topk(min(5, logits.shape[1]), 1)
    correct = predicted.t().eq(labels.view(1, -1)).float()
    each = [correct[:k].reshape(-1).sum(0) * (100 / len(labels)) for k in (1, 5)]
    return [accuracy.item() for accuracy in each]


class FairLoop(_EagerLoop):
    """Train one network eagerly, with care, in "fp32" or "bf16"."""

    def __init__(self, setting: Setting, precision: str) -> None:
        super().__init__(setting, torch.channels_last, fused=True)
        self.precision = precision
        self.name = f"fair: data on the device, channels last, eager {precision}"
        self.data = setting.data()

    def epoch(self, number: int, lr: float) -> float:
        """See `Loop`."""
        device, recipe = self.setting.device, self.setting.recipe
        batches = training_batches(
            self.data, recipe.batch_size, self.setting.seed, number, recipe.cutout
        )
        self.begin(lr)
        total = torch.zeros((), device=device)
        with torch_defaults(device):
            for pixels, labels in batches:
                self.optimizer.zero_grad()
                with torch.autocast(
                    device.type,
                    torch.bfloat16,
                    enabled=self.precision == "bf16",
                    cache_enabled=False,  # it would not outlive a step
                ):
                    loss = functional.cross_entropy(self.network(pixels), labels)
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), recipe.grad_clip, foreach=True)
                self.optimizer.step()
                total += loss.detach() * len(labels)
        return float(total) / len(self.data.train)


class OwnLoop(Loop):
    """Train one network, in a thread and on a stream of its own, as each trial of a pack has.

    Its `engine` is only to be used through `run`.
    """

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
        self.mode: StepMode = self.engine.mode
        self.name = f"ours: one network, {self.mode} {precision}"

    def epoch(self, number: int, lr: float) -> float:
        """See `Loop`."""
        return self.start(number, lr).result()

    def start(self, number: int, lr: float) -> Future[float]:
        """Begin an epoch and return the future result of `epoch`."""
        return self._thread.submit(self.train, number, lr)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the engine's thread and wait for its result."""
        return self._thread.submit(function, *args, **kwargs).result()

    def train(self, number: int, lr: float) -> float:
        """Train an epoch in the calling thread, which must be the engine's."""
        recipe, seed = self.setting.recipe, self.setting.seed
        self._choose_device()
        self.engine.begin(seed, number)
        batches = training_batches(self.data, recipe.batch_size, seed, number, recipe.cutout)
        return self.engine.train_epoch(batches, lr).loss

    def close(self) -> None:
        """Free the engine's graphs and end the thread."""
        self.run(self.engine.close)
        self._thread.shutdown()

    def _build(self, mode: StepMode | None) -> Engine:
        self._choose_device()
        return set_up(self.setting.spec(self.precision), self.setting.device, mode)[1]

    def _choose_device(self) -> None:
        """Set torch's switches, which another loop of this process may have set differently."""
        devices.choose(
            str(self.setting.device), deterministic=self.deterministic, precision=self.precision
        )


_STREAM = threading.local()
"""Holds each thread's stream context, which would be exited if nothing referred to it."""


def _enter_stream(device: torch.device) -> None:
    _STREAM.context = devices.own_stream(device)
    _STREAM.context.__enter__()


class PackedLoop(Loop):
    """Train a network for each setting, by threads, as `workers.training.packing` does.

    The settings share a device and a batch size.
    """

    def __init__(
        self, settings: Sequence[Setting], precision: str, *, deterministic: bool = False
    ) -> None:
        self.networks = len(settings)
        self.loops = [OwnLoop(each, precision, deterministic=deterministic) for each in settings]
        mode = self.loops[0].mode
        self.name = f"ours: {self.networks} networks in one process, {mode} {precision}"

    def epoch(self, number: int, lr: float) -> float:
        """See `Loop`."""
        trained = [loop.start(number, lr) for loop in self.loops]
        return fmean(one.result() for one in trained)

    def close(self) -> None:
        """Free the networks' engines."""
        for loop in self.loops:
            loop.close()


class SideBySideLoop(Loop):
    """Train a network for each setting, by processes, as a sweep on CPU cores does."""

    def __init__(self, settings: Sequence[Setting], precision: str) -> None:
        self.networks = len(settings)
        context = multiprocessing.get_context("spawn")
        self.pools = [
            ProcessPoolExecutor(1, context, _build_in_process, (each, precision))
            for each in settings
        ]
        [mode, *_] = self._everywhere(_process_mode)
        self.name = f"ours: {self.networks} processes, {mode} {precision}"

    def epoch(self, number: int, lr: float) -> float:
        """See `Loop`."""
        return fmean(self._everywhere(_train_in_process, number, lr))

    def close(self) -> None:
        """End the processes."""
        for pool in self.pools:
            pool.shutdown()

    def _everywhere(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        started = [pool.submit(function, *args, **kwargs) for pool in self.pools]
        return [one.result() for one in started]


_IN_PROCESS: list[OwnLoop] = []
"""The loop of a process of `SideBySideLoop`."""


def _build_in_process(setting: Setting, precision: str) -> None:
    torch.set_num_threads(1)
    _IN_PROCESS.append(OwnLoop(setting, precision))


def _process_mode() -> StepMode:
    return _IN_PROCESS[0].mode


def _train_in_process(number: int, lr: float) -> float:
    return _IN_PROCESS[0].epoch(number, lr)


def seeded(setting: Setting, networks: int) -> list[Setting]:
    """Return the same job for so many networks, with seeds that count up from the setting's."""
    return [replace(setting, seed=setting.seed + number) for number in range(networks)]


Build = Callable[[Setting], Loop]


def builders(
    precisions: Sequence[str], packs: Sequence[int] = (), processes: Sequence[int] = ()
) -> dict[str, tuple[str, Build]]:
    """Return the precision and the builder of each loop by name; the reference loop is first.

    `packs` and `processes` are numbers of networks to train side by side.
    """
    found: dict[str, tuple[str, Build]] = {"reference": ("fp32", ReferenceLoop)}
    for precision in precisions:
        # An eager loop under torch's own settings has TF32 already.
        if precision != "tf32":
            found[f"fair-{precision}"] = precision, partial(FairLoop, precision=precision)
        found[f"ours-{precision}"] = precision, partial(OwnLoop, precision=precision)
        for kind, loop, sizes in (
            ("pack", PackedLoop, packs),
            ("processes", SideBySideLoop, processes),
        ):
            for networks in sizes:
                build = partial(_build_several, loop, networks, precision)
                found[f"{kind}-{networks}-{precision}"] = precision, build
    return found


def _build_several(
    loop: type[PackedLoop | SideBySideLoop], networks: int, precision: str, setting: Setting
) -> Loop:
    return loop(seeded(setting, networks), precision)
