"""The training engine: epochs of steps, evaluation, and the state that a checkpoint keeps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from results_schema.errors import CorruptData, SpecError
from results_schema.trial import Recipe
from workers.draws import derive
from workers.network.custom import give_generator
from workers.network.network import DropPath, Network
from workers.training.graphs import RECORDER, Recording, Step, StepMode, default_mode, new_pool
from workers.training.optimizers import Optimizer
from workers.training.precision import MixedPrecision
from workers.training.recipe import OPTIMIZERS

Batch = tuple[Tensor, Tensor]
Batches = Iterable[Batch]

_BUFFERS = "momentum.", "optimizer."
"""Begin the names of an optimizer's buffers in a state: of SGD's momenta, and of all others."""


@dataclass(frozen=True)
class EpochTotals:
    """An epoch of training in numbers: means over images (loss, accuracy) or steps (the rest)."""

    loss: float
    accuracy: float
    grad_norm: float
    clip_rate: float
    images: int


class Engine:
    """Trains a network step by step: forward, loss, backward, clip, update (A.3, A.4).

    Args:
        network: On its device.
        recipe: How it is trained.
        precision: Of the forward and backward pass; weights, buffers and statistics are float32.
        mode: How steps run; None takes graphs where there are any. In all but "eager", `record`
            comes before the first step.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        precision: str = "fp32",
        mode: StepMode | None = None,
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._device = next(network.parameters()).device
        self._precision = MixedPrecision(network, precision)
        self._weights = dict(network.named_parameters())
        # Of its own, as several train side by side: for noise and plug-ins, and for dropped paths.
        self._generators = [torch.Generator(self._device)]
        give_generator(network, self._generators[0])
        self._drop_path: DropPath | None = None
        if recipe.drop_path:
            self._drop_path = DropPath(torch.Generator(self._device))
            self._generators.append(self._drop_path.generator)
        build = OPTIMIZERS[recipe.optimizer].resolve()
        if not (isinstance(build, type) and issubclass(build, Optimizer)):
            fix = "write a subclass of workers.training.optimizers.Optimizer"
            raise SpecError(f"the optimizer {recipe.optimizer} is {build!r}", fix=fix)
        self._optimizer = build(self._weights, recipe)
        self._snapshot: dict[str, Tensor] = {}
        # Sums of loss and correct, in training also of norm and clipped; reading them waits.
        self._trained = torch.zeros(4, dtype=torch.float64, device=self._device)
        self._evaluated = torch.zeros(2, dtype=torch.float64, device=self._device)
        self.mode: StepMode = mode or default_mode(self._device)
        self._recorded: dict[tuple[bool, torch.Size], Recording] = {}

    def record(self, training: Sequence[Batch], evaluation: Sequence[Batch]) -> None:
        """Warm up and record the steps of an epoch; the state stays as it is.

        Given are a batch of each shape that training has, in the memory format that it has, and
        likewise of the evaluation. Batches of other shapes are run kernel by kernel.

        Raises:
            CaptureFailed: The steps can't be captured.
            RuntimeError: The device is out of memory or broken.
        """
        if self.mode != "eager":
            RECORDER.run(lambda: self._record(training, evaluation), self._device)

    def close(self) -> None:
        """Free the recordings and their memory; the engine takes no further step."""
        with RECORDER.lock.step():  # a graph may not be freed while another is captured
            self._recorded.clear()

    def begin(self, seed: int, epoch: int) -> None:
        """Begin an epoch, from 1: what the network draws in it comes from the two alone.

        Paths are dropped with a probability of p·e/E in epoch e = 0 … E − 1 (Section A.4), or of p
        in all.
        """
        recipe = self._recipe
        self._generators[0].manual_seed(derive(seed, "forward", epoch))
        if self._drop_path:
            self._drop_path.generator.manual_seed(derive(seed, "drop path", epoch))
            grown = (epoch - 1) / recipe.epochs if recipe.drop_path_growth == "linear" else 1.0
            # A tensor in place, as a captured step has no other way to see a new number.
            self._drop_path.probability.fill_(recipe.drop_path * grown)

    def train_epoch(self, batches: Batches, lr: float) -> EpochTotals:
        """Take one step per batch at a learning rate.

        The loss that is reported is the cross-entropy of the network's own head alone, and without
        label smoothing, so that it compares with that of a test.
        """
        self.network.train()
        self._optimizer.lr.fill_(lr)
        self._trained.zero_()
        images = steps = 0
        for pixels, labels in batches:
            self._take(self._train_batch, pixels, labels)
            images, steps = images + len(labels), steps + 1
        loss, correct, norm, clipped = self._trained.tolist()
        return EpochTotals(loss / images, correct / images, norm / steps, clipped / steps, images)

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Return mean loss and accuracy, with the running statistics of batch normalisation."""
        self.network.eval()
        self._evaluated.zero_()
        images = 0
        for pixels, labels in batches:
            self._take(self._test_batch, pixels, labels)
            images += len(labels)
        loss, correct = self._evaluated.tolist()
        return loss / images, correct / images

    def finite(self) -> bool:
        """Return whether every weight is a finite number."""
        with torch.no_grad():
            largest = nn.utils.get_total_norm(self._weights.values(), math.inf)
            return bool(largest.isfinite())

    def state(self, *, momenta: bool = True) -> dict[str, Tensor]:
        """Return weights, statistics and, for further steps, momenta by name, on the CPU.

        Momenta stand for all buffers of the optimizer. Tensors are contiguous; on a CPU they are
        those that are trained, not copies.
        """
        return _on_cpu(self._tensors(momenta=momenta))

    def take_snapshot(self) -> None:
        """Copy the state, for `snapshot` to return whatever is trained afterwards."""
        tensors = self._tensors()
        if not self._snapshot:
            self._snapshot = {name: torch.empty_like(t) for name, t in tensors.items()}
        _copy(list(tensors.values()), [self._snapshot[name] for name in tensors])

    def snapshot(self) -> dict[str, Tensor]:
        """Return the state at the last `take_snapshot`, like `state`."""
        return _on_cpu(self._snapshot)

    def restore(self, tensors: Mapping[str, Tensor], *, momenta: bool = True) -> None:
        """Set the state in place; momenta are only needed, and restored, for further steps.

        Raises:
            CorruptData: They are another network's; nothing was changed.
        """
        own = self._tensors(momenta=momenta)
        if not momenta:
            tensors = {n: t for n, t in tensors.items() if not n.startswith(_BUFFERS)}
        # Compared as a whole before the first copy, or a bad file would spoil half of the state.
        if _shapes(own) != _shapes(tensors):
            raise CorruptData("its tensors are not those of this network")
        # In place, because captured steps hold these very tensors.
        _copy([tensors[name] for name in own], list(own.values()))

    def _tensors(self, *, momenta: bool = True) -> dict[str, Tensor]:
        found = self.network.state_dict()
        for kind, buffers in self._optimizer.buffers.items() if momenta else ():
            start = _BUFFERS[0] if kind == "momentum" else f"{_BUFFERS[1]}{kind}."
            found |= {start + name: buffer for name, buffer in buffers.items()}
        return found

    def _record(self, training: Sequence[Batch], evaluation: Sequence[Batch]) -> None:
        """Record on scratch state: what warm-up changes is put back afterwards."""
        state = [*self._tensors().values(), self._trained, self._evaluated]
        before = [tensor.clone() for tensor in state]
        pool = new_pool(self.mode)
        recorded: dict[tuple[bool, torch.Size], Recording] = {}

        def record(step: Step, batches: Sequence[Batch]) -> None:
            for batch in batches:
                key = self.network.training, batch[0].shape
                recorded[key] = Recording(step, batch, self._generators, pool)

        self.network.train()
        record(self._train_batch, training)
        self.network.eval()
        with torch.inference_mode():  # in which `evaluate` replays
            record(self._test_batch, evaluation)
        _copy(before, state)
        self._recorded = recorded

    def _take(self, step: Step, pixels: Tensor, labels: Tensor) -> None:
        # A neighbour's capture would fail if this thread used the device meanwhile.
        with RECORDER.lock.step():
            recording = self._recorded.get((self.network.training, pixels.shape))
            if recording is None:
                step(pixels, labels)
            else:
                recording.take(step, pixels, labels)

    def _train_batch(self, pixels: Tensor, labels: Tensor) -> None:
        recipe, cross_entropy = self._recipe, functional.cross_entropy
        with self._precision.autocast():
            if recipe.auxiliary:
                logits, others = self.network.forward_with_auxiliary(pixels, self._drop_path)
            else:
                logits, others = self.network(pixels, self._drop_path), None
            whole = loss = cross_entropy(logits, labels)
            if recipe.label_smoothing:
                whole = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            if others is not None:
                aside = cross_entropy(others, labels, label_smoothing=recipe.label_smoothing)
                whole = whole + recipe.auxiliary * aside
        whole.backward()
        self._precision.collect_gradients()
        norm = self._optimizer.step()
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            clipped = norm > recipe.grad_clip
            self._trained += torch.stack([loss.double() * len(labels), correct, norm, clipped])

    def _test_batch(self, pixels: Tensor, labels: Tensor) -> None:
        with self._precision.autocast():
            logits = self.network(pixels)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
        self._evaluated += torch.stack([loss, (logits.argmax(1) == labels).sum()])


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy tensors in place, those of one kind in a few kernels."""
    kinds: dict[Any, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for target, source in zip(targets, sources, strict=True):
        alike = kinds[source.dtype, source.device]
        alike[0].append(target)
        alike[1].append(source)
    for chosen, given in kinds.values():
        torch._foreach_copy_(chosen, given)  # pyright: ignore[reportPrivateImportUsage]


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
