"""The step engine: one epoch of SGD, one evaluation, and the state that a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from results_schema.errors import CorruptData
from results_schema.trial import Recipe
from workers.network.network import Network
from workers.training.chance import Chance
from workers.training.descent import Descent
from workers.training.form import (
    RECORDER,
    Recording,
    Step,
    capture,
    default_form,
    new_pool,
    repeat,
)
from workers.training.precision import Arithmetic

Batch = tuple[Tensor, Tensor]
Batches = Iterable[Batch]


@dataclass(frozen=True)
class EpochTotals:
    """An epoch of training in numbers: means over images (loss, accuracy) or steps (the rest)."""

    loss: float
    accuracy: float
    grad_norm: float
    clip_rate: float
    images: int


class Engine:
    """Trains a network step by step: forward, loss, backward, clip, SGD (Sections A.3, A.4).

    Args:
        network: On its device.
        recipe: Momentum, weight decay, the clipping norm and the auxiliary loss's weight are taken
            from it.
        precision: Of the forward and backward pass; weights, momenta and statistics are float32.
        form: One of `form.FORMS`; None takes graphs where there are any.

    Attributes:
        form: Of its steps; but for "eager", `record` comes before the first.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        precision: str = "fp32",
        form: str | None = None,
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._device = next(network.parameters()).device
        self._arithmetic = Arithmetic(network, precision)
        self._weights = dict(network.named_parameters())
        self._chance = Chance(network, recipe)
        self._descent = Descent(self._weights, recipe)
        self._marked: dict[str, Tensor] = {}
        # Sums stay on the device and are read once: loss, hits; in training also norm, clipped.
        self._trained = torch.zeros(4, dtype=torch.float64, device=self._device)
        self._evaluated = torch.zeros(2, dtype=torch.float64, device=self._device)
        self.form = form or default_form(self._device)
        self._recorded: dict[tuple[bool, torch.Size], Recording] = {}

    def record(self, training: Sequence[Batch], evaluation: Sequence[Batch]) -> None:
        """Warm up and record the steps of an epoch; training goes on from the state as it is.

        An eager engine has nothing to record. Batches of other shapes are run kernel by kernel.

        Args:
            training: A batch of each shape that an epoch has, in the memory format that it has.
            evaluation: Likewise of the evaluation.

        Raises:
            CaptureFailed: The steps can't be captured.
            RuntimeError: The device is out of memory or broken.
        """
        if self.form != "eager":
            RECORDER.run(lambda: self._record(training, evaluation), self._device)

    def close(self) -> None:
        """Free the recordings and their memory; the engine takes no further step."""
        with RECORDER.turns.step():  # a graph may not be freed while another is captured
            self._recorded.clear()

    def begin(self, seed: int, epoch: int) -> None:
        """Begins an epoch, from 1: what the network draws in it comes from the two alone."""
        self._chance.begin(seed, epoch)

    def train_epoch(self, batches: Batches, rate: float) -> EpochTotals:
        """Takes one step per batch at a learning rate.

        The loss that is reported is the cross-entropy of the network's own head alone.
        """
        self.network.train()
        self._descent.rate.fill_(rate)
        self._trained.zero_()
        images = steps = 0
        for pixels, labels in batches:
            self._take(self._train_batch, pixels, labels)
            images, steps = images + len(labels), steps + 1
        loss, hits, norm, clipped = self._trained.tolist()
        return EpochTotals(loss / images, hits / images, norm / steps, clipped / steps, images)

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Mean loss and accuracy, with the running statistics of batch normalisation."""
        self.network.eval()
        self._evaluated.zero_()
        images = 0
        for pixels, labels in batches:
            self._take(self._test_batch, pixels, labels)
            images += len(labels)
        loss, hits = self._evaluated.tolist()
        return loss / images, hits / images

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        with torch.no_grad():
            largest = nn.utils.get_total_norm(self._weights.values(), math.inf)
            return bool(largest.isfinite())

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and momentum by name, contiguous, on the CPU.

        On a CPU they are the tensors that are trained, not copies.
        """
        return _on_cpu(self._tensors())

    def mark(self) -> None:
        """Notes the state as it is, for `marked` to tell whatever is trained afterwards."""
        tensors = self._tensors()
        if not self._marked:
            self._marked = {name: torch.empty_like(t) for name, t in tensors.items()}
        _copy(list(tensors.values()), [self._marked[name] for name in tensors])

    def marked(self) -> dict[str, Tensor]:
        """The state at the last `mark`, like `state`."""
        return _on_cpu(self._marked)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`, in place.

        Raises:
            CorruptData: They are another network's; nothing was changed.
        """
        own = self._tensors()
        if _forms(own) != _forms(tensors):
            raise CorruptData("its tensors are not those of this network")
        _copy([tensors[name] for name in own], list(own.values()))

    def _tensors(self) -> dict[str, Tensor]:
        momenta = {f"momentum.{name}": buffer for name, buffer in self._descent.momenta.items()}
        return {**self.network.state_dict(), **momenta}

    def _record(self, training: Sequence[Batch], evaluation: Sequence[Batch]) -> None:
        """Record on scratch state: what warm-up changes is put back afterwards."""
        state = [*self._tensors().values(), self._trained, self._evaluated]
        before = [tensor.clone() for tensor in state]
        record = capture if self.form == "graphed" else repeat
        generators, pool = self._chance.generators, new_pool(self.form)
        recorded: dict[tuple[bool, torch.Size], Recording] = {}
        self.network.train()
        for batch in training:
            recording = Recording(self._train_batch, batch, record, generators, pool)
            recorded[True, batch[0].shape] = recording
        self.network.eval()
        with torch.inference_mode():
            for batch in evaluation:
                recording = Recording(self._test_batch, batch, record, generators, pool)
                recorded[False, batch[0].shape] = recording
        _copy(before, state)
        self._recorded = recorded

    def _take(self, step: Step, pixels: Tensor, labels: Tensor) -> None:
        with RECORDER.turns.step():
            recording = self._recorded.get((self.network.training, pixels.shape))
            if recording is None:
                step(pixels, labels)
            else:
                recording.take(step, pixels, labels)

    def _train_batch(self, pixels: Tensor, labels: Tensor) -> None:
        drop_path = self._chance.drop_path
        with self._arithmetic.passes():
            if self._recipe.auxiliary:
                logits, others = self.network.forward_with_auxiliary(pixels, drop_path)
                loss = functional.cross_entropy(logits, labels)
                whole = loss + self._recipe.auxiliary * functional.cross_entropy(others, labels)
            else:
                logits = self.network(pixels, drop_path)
                whole = loss = functional.cross_entropy(logits, labels)
        whole.backward()
        self._arithmetic.collect()
        norm = self._descent.step()
        with torch.no_grad():
            hits = (logits.argmax(1) == labels).sum()
            clipped = norm > self._recipe.grad_clip
            self._trained += torch.stack([loss.double() * len(labels), hits, norm, clipped])

    def _test_batch(self, pixels: Tensor, labels: Tensor) -> None:
        with self._arithmetic.passes():
            logits = self.network(pixels)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
        self._evaluated += torch.stack([loss, (logits.argmax(1) == labels).sum()])


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy tensors in place, those of one kind in a few kernels."""
    kinds = {(source.dtype, source.device) for source in sources}
    for kind in kinds:
        chosen = [n for n, source in enumerate(sources) if (source.dtype, source.device) == kind]
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            [targets[n] for n in chosen], [sources[n] for n in chosen]
        )


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _forms(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
