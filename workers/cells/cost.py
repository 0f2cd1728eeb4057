"""What a network costs, counted without building it: parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.stack import STEM, Place, auxiliary_index, stack
from workers.data.catalog import describe

AUXILIARY_MAP = 8
"""Height and width in pixels of the map that the auxiliary head takes."""


@dataclass(frozen=True)
class Cost:
    """Sums of what layers cost.

    Attributes:
        parameters: Of all layers, as Tables 1 and 3 count them (there divided by 10⁶).
        live_parameters: Of the layers on a path to the logits; only these get a gradient, unless
            every path of theirs leads through `noise`.
        multiply_adds: Of the live convolutions and linear layers, forward, for one image.
    """

    parameters: int = 0
    live_parameters: int = 0
    multiply_adds: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.live_parameters + other.live_parameters,
            self.multiply_adds + other.multiply_adds,
        )

    def dead(self) -> Cost:
        """The same layers with no path to the logits."""
        return Cost(self.parameters)


@lru_cache(maxsize=2**17)  # as many as a plan may name: trials of one cell share its count
def count(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int,
    classes: int,
    image: int,
    stem_stride: int = 1,
    auxiliary: bool = False,
) -> Cost:
    """The cost of a network, equal to that of `workers.network.network.Network`.

    Args:
        genotype: The two cells.
        size: Of the network.
        in_channels: Of an image.
        classes: Number of logits.
        image: Height and width of an image, in pixels.
        stem_stride: 2 where the stem halves the image (Tiny-ImageNet).
        auxiliary: Whether to count the auxiliary head.

    Raises:
        SpecError: The image cannot be halved twice after the stem, or it gives the auxiliary head
            no 8×8 map.
    """
    side = check_image(image, stem_stride, auxiliary=auxiliary)
    places = stack(genotype, size, auxiliary=auxiliary)
    total = _layer(9 * in_channels * STEM * size.channels, side**2, norm=STEM * size.channels)
    alike: dict[tuple[int, ...], Cost] = {}
    for index, place in enumerate(places):
        side //= 2 if place.reduction else 1
        shape = (place.reduction, place.channels, place.before_last, place.last, side)
        if shape not in alike:
            alike[shape] = _cell(place, side**2)
        total += alike[shape] if place.live else alike[shape].dead()
        if auxiliary and index == auxiliary_index(size.cells):
            total += _auxiliary_head(place.output, classes)
    return total + _linear(places[-1].output, classes)


def count_on(
    genotype: Genotype, size: NetworkSpec, dataset: str, *, auxiliary: bool = False
) -> Cost:
    """The cost of a network on a data set, by its name.

    Raises:
        SpecError: As for `count`, or there is no such data set.
    """
    data = describe(dataset)
    return count(
        genotype,
        size,
        in_channels=data.channels,
        classes=data.classes,
        image=data.size,
        stem_stride=size.stem_stride,
        auxiliary=auxiliary,
    )


def check_image(image: int, stem_stride: int, *, auxiliary: bool) -> int:
    """Height and width in pixels of the stem's output for an image that fits the network.

    Raises:
        SpecError: As for `count`.
    """
    side = -(-image // stem_stride)
    if side % 4:
        raise SpecError(
            f"images of {image}×{image} pixels cannot be halved twice after the stem",
            fix=f"use images whose height and width are multiples of {4 * stem_stride}",
        )
    if auxiliary and side != 4 * AUXILIARY_MAP:
        raise SpecError(
            f"images of {image}×{image} pixels give the auxiliary head a map of "
            f"{side // 4}×{side // 4}, not {AUXILIARY_MAP}×{AUXILIARY_MAP}",
            fix=f"use {4 * AUXILIARY_MAP * stem_stride}×{4 * AUXILIARY_MAP * stem_stride} images "
            "or train without the auxiliary head",
        )
    return side


def check_batches(images: int, batch_size: int, stem_side: int, *, auxiliary: bool) -> None:
    """Check that batch normalisation sees several values of each channel in every training step.

    It has no variance to divide by in a map of one pixel of a single image: the auxiliary head ends
    in such maps, and so does a network whose stem gives 4×4, halved twice.

    Args:
        images: Of the training set.
        batch_size: Images a step; the last step of an epoch takes what is left.
        stem_side: Height and width of the stem's output, from `check_image`.
        auxiliary: Whether the network is trained with its auxiliary head.

    Raises:
        SpecError: A step takes a single image whose maps come down to one pixel.
    """
    single = min(batch_size, images) == 1 or images % batch_size == 1
    if not single or not (auxiliary or stem_side == 4):
        return
    what = "the auxiliary head" if auxiliary else "the network"
    raise SpecError(
        f"a batch_size of {batch_size} leaves one of {images} training images alone in a step, and "
        f"batch normalisation in {what} cannot train on one",
        fix=f"use a batch_size that divides {images} or leaves at least 2 of them",
    )


def _layer(weights: int, pixels: int, *, norm: int = 0) -> Cost:
    """A convolution without bias, and batch normalisation of `norm` channels after it."""
    return Cost(weights + 2 * norm, weights + 2 * norm, weights * pixels)


def _linear(features: int, classes: int) -> Cost:
    parameters = (features + 1) * classes
    return Cost(parameters, parameters, features * classes)


def _cell(place: Place, pixels: int) -> Cost:
    """`pixels` are those of a map of the cell's output."""
    live, c, total = place.cell.live_nodes, place.channels, Cost()
    for node, channels in enumerate((place.before_last, place.last)):
        # FactorizedReduce is two convolutions to half the channels: as much as the one to all.
        cost = _layer(channels * c, pixels * (4 if place.reduction else 1), norm=c)
        total += cost if node in live else cost.dead()
    for node, edges in enumerate(place.cell.nodes, start=INPUTS):
        for edge in edges:
            stride = 2 if place.reduction and edge.source < INPUTS else 1
            cost = _operation(edge.op, c, stride, pixels)
            total += cost if node in live else cost.dead()
    return total


@lru_cache(maxsize=10_000)  # a stack's cells have a few shapes, and edges a few operations
def _operation(name: str, c: int, stride: int, pixels: int) -> Cost:
    return _OPERATIONS[name](c, stride, pixels)


def _auxiliary_head(channels: int, classes: int) -> Cost:
    pooled = ((AUXILIARY_MAP - 5) // 3 + 1) ** 2
    return (
        _layer(channels * 128, pooled, norm=128)
        + _layer(4 * 128 * 768, 1, norm=768)
        + _linear(768, classes)
    )


def _pool(c: int, stride: int, pixels: int) -> Cost:
    return Cost()


def _skip_connect(c: int, stride: int, pixels: int) -> Cost:
    return _layer(c * c, pixels, norm=c) if stride == 2 else Cost()


def _separable(area: int) -> Callable[[int, int, int], Cost]:
    return lambda c, stride, pixels: _layer(area * c + c * c, pixels, norm=c)


def _twice_separable(area: int) -> Callable[[int, int, int], Cost]:
    return lambda c, stride, pixels: _layer(2 * (area * c + c * c), pixels, norm=2 * c)


def _full(area: int) -> Callable[[int, int, int], Cost]:
    return lambda c, stride, pixels: _layer(area * c * c, pixels, norm=c)


def _factorized(length: int, *, norms: int) -> Callable[[int, int, int], Cost]:
    # The first convolution strides over columns only, so its map has `stride` times the pixels.
    return lambda c, stride, pixels: (
        _layer(length * c * c, stride * pixels, norm=(norms - 1) * c)
        + _layer(length * c * c, pixels, norm=c)
    )


_OPERATIONS: dict[str, Callable[[int, int, int], Cost]] = {
    "max_pool_3x3": _pool,
    "avg_pool_3x3": _pool,
    "skip_connect": _skip_connect,
    "sep_conv_3x3": _twice_separable(9),
    "sep_conv_5x5": _twice_separable(25),
    "sep_conv_7x7": _twice_separable(49),
    "dil_conv_3x3": _separable(9),
    "dil_conv_5x5": _separable(25),
    "conv_7x1_1x7": _factorized(7, norms=1),
    "conv_1x1": _full(1),
    "conv_3x3": _full(9),
    "conv_3x1_1x3": _factorized(3, norms=1),
    "conv_1x3_3x1": _factorized(3, norms=2),
    "conv_1x7_7x1": _factorized(7, norms=2),
    "avg_pool_2x2": _pool,
    "avg_pool_5x5": _pool,
    "max_pool_2x2": _pool,
    "noise": _pool,
}
"""By name: the cost at c channels and a stride, for an output map of so many pixels."""
