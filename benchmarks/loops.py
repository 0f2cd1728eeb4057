"""Training loops that differ in nothing but how they train: data, network and recipe are shared.

`ReferenceLoop` is the field's loop: transforms of one image at a time in two loader processes,
float32 in NCHW, loss and accuracies read from the device in every step. `FairLoop` is what a
careful hand makes of it: images on the device and augmented there, channels last, a fused
optimizer, nothing read before the epoch ends. `OwnLoop`, `PackedLoop` and `SideBySideLoop` are this
project's.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from statistics import fmean
from typing import ParamSpec, Protocol, TypeVar

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
from workers.network.network import Network, build_network
from workers.training import device as devices
from workers.training.engine import Engine
from workers.training.graphs import StepMode
from workers.training.setup import record


@dataclass(frozen=True)
class Setting:
    """A training job: images, network, recipe, device.

    Attributes:
        device: Where the network is trained.
        dataset: As `workers.data` knows it; its training images are trained on.
        genotype: Name of a published cell.
        size: Of the network.
        recipe: Section 4's, without cutout, auxiliary head and drop path, which not every loop has.
        seed: Of weights and draws.
    """

    device: torch.device
    dataset: str = "synthetic"
    genotype: str = "DARTS"
    size: NetworkSpec = field(default_factory=NetworkSpec)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def data(self, device: torch.device | None = None) -> Data:
        """The data set, on the setting's device or on another."""
        return load(self.dataset, device or self.device)

    def network(self) -> Network:
        """The network that every loop begins with, on the device."""
        about = self.data(torch.device("cpu")).about
        network = build_network(
            named(self.genotype),
            self.size,
            in_channels=about.channels,
            classes=about.classes,
            seed=self.seed,
            stem_stride=self.size.stem_stride,
        )
        return network.to(self.device)

    def spec(self, precision: str) -> TrialSpec:
        """The trial that the job is, as a sweep would name it."""
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

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Loop(Protocol):
    """A way to train."""

    @property
    def name(self) -> str:
        """As tables write it."""
        ...

    @property
    def networks(self) -> int:
        """How many it trains at once."""
        ...

    def epoch(self, number: int, rate: float) -> float:
        """Trains every network on every image once.

        Args:
            number: From 1.
            rate: The learning rate.

        Returns:
            The mean training loss over images and networks, read from the device.
        """
        ...


def as_torch_ships(device: torch.device) -> AbstractContextManager[object]:
    """Within it cuDNN may use TF32 and tunes its kernels, as published loops let it.

    `workers.training.device.choose` allows neither by itself: a trial's precision says which.
    """
    if device.type != "cuda":
        return nullcontext()
    return cudnn.flags(
        enabled=True, benchmark=True, benchmark_limit=10, deterministic=False, allow_tf32=True
    )


def half(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16 if that is the precision; its cache would not outlive a step."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


Transform = Callable[[np.ndarray], Tensor]
"""From pixels uint8 [H, W, C] to a normalised image float32 [C, H, W]."""


def transform_for(about: Dataset) -> tuple[str, Transform]:
    """The name of the library that augments, and what it does to an image.

    A machine that has torch alone augments by a few calls of torch, which take less time than
    torchvision's, so that the loop is not made to look slower than it is.
    """
    try:
        return "torchvision", _by_torchvision(about)
    # A torchvision that was built for another torch fails with either.
    except (ImportError, RuntimeError):
        return "torch", _ByTorch(about)


class Augmented(TorchDataset[tuple[Tensor, int]]):
    """A split as `torch.utils.data.DataLoader` takes it."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One augmented image and its label."""
        return self.transform(self.pixels[index]), self.labels[index]


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


class ReferenceLoop:
    """Trains one network.

    Args:
        setting: The job.
        workers: Processes that load images; 0 loads them in this one.
    """

    networks = 1

    def __init__(self, setting: Setting, workers: int = 2) -> None:
        self.setting = setting
        cuda = setting.device.type == "cuda"
        data = setting.data(torch.device("cpu"))
        library, transform = transform_for(data.about)
        self.name = f"reference: {library} transforms, DataLoader, eager fp32"
        self.loader = DataLoader(
            Augmented(data.train, transform),
            batch_size=setting.recipe.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(setting.seed),
            num_workers=workers,
            pin_memory=cuda,
        )
        self.network = setting.network()
        self.criterion = nn.CrossEntropyLoss().to(setting.device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=setting.recipe.momentum,
            weight_decay=setting.recipe.weight_decay,
        )

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        del number  # the loader's own generator goes on
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        total = images = 0.0
        device = self.setting.device
        with as_torch_ships(device):
            for pixels, labels in self.loader:
                pixels = pixels.to(device, non_blocking=True)
                labels = labels.to(device, non_blocking=True)
                self.optimizer.zero_grad()
                logits = self.network(pixels)
                loss = self.criterion(logits, labels)
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), self.setting.recipe.grad_clip)
                self.optimizer.step()
                top_1, top_5 = _accuracies(logits, labels)
                total += loss.item() * len(labels)
                images += len(labels)
                # Published loops average these; that they are read is what takes time.
                del top_1, top_5
        return total / images


def _accuracies(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 accuracy of a batch, in percent."""
    _, predicted = logits.topk(min(5, logits.shape[1]), 1)
    hits = predicted.t().eq(labels.view(1, -1)).float()
    each = (hits[:k].reshape(-1).sum(0) * (100 / len(labels)) for k in (1, 5))
    top_1, top_5 = (accuracy.item() for accuracy in each)
    return top_1, top_5


class FairLoop:
    """Trains one network.

    Args:
        setting: The job.
        precision: "fp32" or "bf16".
    """

    networks = 1

    def __init__(self, setting: Setting, precision: str) -> None:
        self.setting, self.precision = setting, precision
        self.name = f"fair: data on the device, channels last, eager {precision}"
        self.data = setting.data()
        self.mean, self.std = (
            torch.tensor(values, device=setting.device).view(-1, 1, 1)
            for values in (self.data.about.mean, self.data.about.std)
        )
        self.network = setting.network().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=setting.recipe.momentum,
            weight_decay=setting.recipe.weight_decay,
            fused=True,
        )

    def epoch(self, number: int, rate: float) -> float:
        """Trains on every image once; see `Loop`."""
        device, images = self.setting.device, self.data.train
        draws = torch.Generator(device).manual_seed(self.setting.seed * 100_003 + number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(images), generator=draws, device=device)
        with as_torch_ships(device):
            for chosen in order.split(self.setting.recipe.batch_size):
                pixels = self._augmented(images.pixels[chosen], draws)
                labels = images.labels[chosen]
                self.optimizer.zero_grad()
                with half(device, self.precision):
                    loss = functional.cross_entropy(self.network(pixels), labels)
                loss.backward()
                nn.utils.clip_grad_norm_(
                    self.network.parameters(), self.setting.recipe.grad_clip, foreach=True
                )
                self.optimizer.step()
                total += loss.detach() * len(labels)
        return float(total) / len(images)

    def _augmented(self, pixels: Tensor, draws: torch.Generator) -> Tensor:
        """Bytes [N, C, H, W] shifted, mirrored and normalised, each image by draws of its own."""
        about, device, number = self.data.about, pixels.device, len(pixels)
        padded = functional.pad(pixels, [about.padding] * 4)
        span = 2 * about.padding + 1
        shifts = torch.randint(span, (2, number, 1), generator=draws, device=device)
        rows, columns = shifts + torch.arange(about.size, device=device)  # [N, size] each
        image = torch.arange(number, device=device)[:, None, None]
        # Indices beside a slice come first: [N, size, size, C], which is channels last.
        cut = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float()
        if about.flip:
            mirrored = torch.rand(number, generator=draws, device=device) < 0.5
            cut = torch.where(mirrored[:, None, None, None], cut.flip(3), cut)
        cut = (cut / 255 - self.mean) / self.std
        return cut.contiguous(memory_format=torch.channels_last)


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


Build = Callable[[Setting], Loop]


def builders(
    precisions: Sequence[str], packs: Sequence[int] = (), processes: Sequence[int] = ()
) -> dict[str, tuple[str, Build]]:
    """Each loop's precision and what builds it; the reference loop is first.

    Args:
        precisions: Of the fair loop and of ours.
        packs: How many networks to pack into one process.
        processes: How many to train side by side in processes of their own.
    """
    found: dict[str, tuple[str, Build]] = {"reference": ("fp32", ReferenceLoop)}
    for precision in precisions:
        # An eager loop under torch's own settings has TF32 already.
        if precision != "tf32":
            found[f"fair-{precision}"] = precision, partial(FairLoop, precision=precision)
        found[f"ours-{precision}"] = precision, partial(OwnLoop, precision=precision)
        for networks in packs:
            make = partial(_packed, precision=precision, networks=networks)
            found[f"pack-{networks}-{precision}"] = precision, make
        for networks in processes:
            make = partial(SideBySideLoop, precision=precision, networks=networks)
            found[f"processes-{networks}-{precision}"] = precision, make
    return found


def _packed(setting: Setting, precision: str, networks: int) -> PackedLoop:
    return PackedLoop(seeded(setting, networks), precision)
