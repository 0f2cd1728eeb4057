"""Loss and accuracy at points of a plane through the trained weights (Section 4.2).

s(α, β) = E_i f_i(w* + α w₁ + β w₂): the mean over a data set, with the running statistics of batch
normalisation as trained, and without drop path, cutout or the auxiliary head.

`FoldedNetwork` is what makes a point cheap. With running statistics, y = γ (conv(x; w) − μ) / σ + β
is a convolution by s w with bias β − μ s, where s = γ / σ. As directions do not move γ and β, both
are linear in (α, β): they are folded once and then moved as any other weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from results_schema.errors import DataError, SpecError
from workers.draws import seeded
from workers.landscape.directions import Direction, Directions
from workers.landscape.layers import Layer, Norm, layers
from workers.network.network import Network
from workers.network.operations import BatchNorm


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute float32 as float32 on a GPU too, and draw the same noise at every point.

    Noise is an operation of some cells (`workers.network.operations`), drawn for each batch. All
    other settings stay as they are.
    """
    # cuDNN takes TF32 for convolutions by default, whose 10 bits of mantissa a contour would show.
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with seeded(0, 0, device):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Instances:
    """The images that a landscape is measured on, whole on the device, in batches.

    Args:
        images: [N, C, H, W], normalised.
        labels: int64 [N].
        dtype: Type that the images are cast to.
        batch: Most images of a batch.
        layout: Memory format of the images.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype,
        batch: int,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        if not len(images) or len(images) != len(labels):
            raise DataError(
                f"a landscape over {len(images)} images with {len(labels)} labels",
                fix="give at least one image, and a label for each",
            )
        if batch < 1:
            raise SpecError(f"a batch of {batch} images", fix="use at least 1")
        self.images = images.to(dtype, memory_format=layout)
        self.labels = labels
        self._batches = math.ceil(len(labels) / batch)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Batches are as equal as possible, so that none is left with a single image.
        yield from zip(
            self.images.tensor_split(self._batches),
            self.labels.tensor_split(self._batches),
            strict=True,
        )


class Plane:
    """Tensors at centre + α · first + β · second, in one flat buffer, moved by two additions.

    Args:
        centre: The tensors at (0, 0).
        first: Their moves per unit of α, in the shapes of `centre`.
        second: Their moves per unit of β.
        dtype: Type of the tensors at a point; their device is that of `centre`.

    Attributes:
        tensors: Views of the buffer in the shapes of `centre`, four-dimensional ones channels last
            in memory. `move` changes them all; they have no values before the first move.
    """

    def __init__(
        self,
        centre: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        *,
        dtype: torch.dtype,
    ) -> None:
        self._vectors = [_flat(part) for part in (centre, first, second)]
        self._sum = torch.empty_like(self._vectors[0])
        self._buffer = self._sum if dtype == torch.float64 else self._sum.to(dtype)
        pieces = self._buffer.split([tensor.numel() for tensor in centre])
        self.tensors = [
            _view(piece, tensor.shape) for piece, tensor in zip(pieces, centre, strict=True)
        ]

    def move(self, alpha: float, beta: float) -> None:
        """Set the tensors to those at (alpha, beta)."""
        centre, first, second = self._vectors
        # In float64 and rounded once, so that no rounding depends on the points before.
        torch.add(centre, first, alpha=alpha, out=self._sum).add_(second, alpha=beta)
        if self._buffer is not self._sum:
            self._buffer.copy_(self._sum)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    # Filters are written channels last, so that the views of the buffer are so without a copy.
    ordered = [t.permute(0, 2, 3, 1) if t.dim() == 4 else t for t in tensors]
    return torch.cat([t.detach().double().reshape(-1) for t in ordered])  # [Σ P]


def _view(piece: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) != 4:
        return piece.view(shape)
    out, inputs, height, width = shape
    return piece.view(out, height, width, inputs).permute(0, 3, 1, 2)  # [out, in, h, w]


class FoldedNetwork:
    """A trained network without batch normalisation, at any point of a plane through its weights.

    Args:
        network: Network with its trained weights and running statistics; it is not changed.
        directions: The plane's axes.
        dtype: Type of the arithmetic.
        auxiliary: Whether to keep the auxiliary head; it has no direction and stays as trained.

    Attributes:
        network: In evaluation mode, channels last, with neither batch normalisation nor gradients
            of its weights.
        layers: Layers of the given network with their normalisations, in the order of `folded`.
        folded: Layers of `network`.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions,
        *,
        dtype: torch.dtype = torch.float32,
        auxiliary: bool = False,
    ) -> None:
        self.layers = layers(network, auxiliary=auxiliary)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        if not auxiliary:
            self.network.auxiliary_head = None
        self.folded = layers(self.network, auxiliary=auxiliary)
        # Only now, since `layers` expects every normalisation in its place.
        _drop_norms(self.network)
        centre = [_folded(layer) for layer in self.layers]
        first, second = (
            [_folded_direction(layer, axis) for layer in self.layers]
            for axis in (directions.first, directions.second)
        )
        self._plane = Plane(*(list(chain(*part)) for part in (centre, first, second)), dtype=dtype)
        tensors = iter(self._plane.tensors)
        for layer, part in zip(self.folded, centre, strict=True):
            for name in ("weight", "bias")[: len(part)]:
                setattr(layer.module, name, nn.Parameter(next(tensors), requires_grad=False))

    def move(self, alpha: float, beta: float) -> Network:
        """Return the network at (alpha, beta): the same object at every point."""
        self._plane.move(alpha, beta)
        return self.network


def norm_scales(norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """Return s = γ / σ, σ and μ of a convolution's normalisation, float64 [channels]."""
    module, channels = norm.module, norm.channels
    if module.running_mean is None or module.running_var is None:
        raise TypeError(f"{norm.name} keeps no running statistics")
    sigma = (module.running_var[channels].double() + module.eps).sqrt()
    gamma = module.weight.detach()[channels].double()
    return gamma / sigma, sigma, module.running_mean[channels].double()


def _folded(layer: Layer) -> list[Tensor]:
    """Return the folded layer's weight and, where it has one, its bias, in float64."""
    weight, norm = layer.module.weight.detach().double(), layer.norm
    if norm is not None:
        s, _, mean = norm_scales(norm)
        beta = norm.module.bias.detach()[norm.channels].double()
        return [weight * s.view(-1, 1, 1, 1), beta - mean * s]  # [out, in, h, w], [out]
    return [weight] if layer.module.bias is None else [weight, layer.module.bias.detach().double()]


def _folded_direction(layer: Layer, direction: Direction) -> list[Tensor]:
    """Return how far the tensors of `_folded` move along a direction; biases do not move."""
    centre = _folded(layer)
    given = direction.get(f"{layer.name}.weight")  # an auxiliary head has none
    if given is None:
        return [torch.zeros_like(tensor) for tensor in centre]
    moved = given.to(centre[0].device, torch.float64)
    if layer.norm is not None:
        moved = moved * norm_scales(layer.norm)[0].view(-1, 1, 1, 1)
    return [moved, *(torch.zeros_like(bias) for bias in centre[1:])]


def _drop_norms(network: Network) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                setattr(module, name, nn.Identity())


@dataclass(frozen=True)
class ContourPoint:
    """One point of a loss contour.

    Attributes:
        loss: Mean cross-entropy in nats; infinite or NaN where the arithmetic overflows.
        accuracy: Share of images whose largest logit is their label's.
    """

    loss: float
    accuracy: float


class Contour:
    """Measures the loss at any point of a plane.

    Args:
        network: Network with its trained weights, on its device.
        directions: The plane's axes.
        images: [N, C, H, W], normalised; they stay on the network's device, all of them.
        labels: int64 [N].
        dtype: float32, float64, or bfloat16 for a preview (errors of some per cent).
        batch: Most images run at once.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        batch: int = 500,
    ) -> None:
        self._instances = Instances(images, labels, dtype=dtype, batch=batch)
        self._folded = FoldedNetwork(network, directions, dtype=dtype)

    @torch.inference_mode()
    def at(self, alpha: float, beta: float) -> ContourPoint:
        """Return the point w* + alpha w₁ + beta w₂."""
        device = self._instances.labels.device
        sums = torch.zeros(2, dtype=torch.float64, device=device)  # loss, correct
        with exact(device):
            network = self._folded.move(alpha, beta)
            for images, labels in self._instances:
                # In float64, so that the mean does not depend on the size of a batch; it is kept
                # on the device, since reading it after each batch would wait for the GPU.
                logits = network(images).double()  # [n, classes]
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                sums += torch.stack([loss, (logits.argmax(1) == labels).sum()])
        loss, accuracy = (sums / len(self._instances)).tolist()
        return ContourPoint(loss, accuracy)
