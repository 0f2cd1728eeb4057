"""What a network costs, counted without building it: parameters and multiply-adds."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.plugins import BUILT_IN, Entry
from results_schema.trial import NetworkSpec
from workers.cells.operations import Conv, examine, find
from workers.cells.stack import AUXILIARY_MAP, STEM, Place, auxiliary_index, stack
from workers.data.catalog import describe


class Cost(NamedTuple):
    """Sums of what layers cost.

    Attributes:
        parameters: Parameters of all layers, as Tables 1 and 3 count them (there divided by 10⁶).
        live_parameters: Those of layers on a path to the logits; only these get a gradient, unless
            every path of theirs leads through `noise`.
        multiply_adds: Multiply-adds of a forward pass of one image through the live convolutions
            and linear layers.
    """

    parameters: int = 0
    live_parameters: int = 0
    multiply_adds: int = 0

    def where(self, live: bool) -> Cost:
        """Return the cost of the same layers where a path leads to the logits, or none does."""
        return self if live else Cost(self.parameters)


def _sum(*costs: Cost) -> Cost:
    return Cost(*map(sum, zip(*costs, strict=True)))


@lru_cache(maxsize=2**17)  # as many as a plan may name: trials of one cell share its count
def count(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int,
    classes: int,
    image: int,
    auxiliary: bool = False,
) -> Cost:
    """Return the cost of a network, equal to that of `workers.network.network.Network`.

    An image has `image`×`image` pixels. With `auxiliary` the auxiliary head counts.

    Raises:
        SpecError: The image cannot be halved twice after the stem, or it gives the auxiliary head
            no 8×8 map; an operation is of a plug-in that is not loaded, or can't be built.
    """
    side = check_image(image, size.stem_stride, auxiliary=auxiliary)
    places = stack(genotype, size, auxiliary=auxiliary)
    # Most places of a stack are alike, and a plan counts thousands of stacks.
    alike: dict[tuple[int, ...], Cost] = {}
    costs = [_layer(9 * in_channels * STEM * size.channels, side**2, norm=STEM * size.channels)]
    for index, place in enumerate(places):
        side //= 2 if place.reduction else 1
        shape = (place.reduction, place.channels, place.before_last, place.last, side)
        if shape not in alike:
            alike[shape] = _cell(place, side**2)
        costs.append(alike[shape].where(place.live))
        if auxiliary and index == auxiliary_index(size.cells):
            costs.append(_auxiliary_head(place.output, classes))
    return _sum(*costs, _linear(places[-1].output, classes))


def count_on(
    genotype: Genotype, size: NetworkSpec, dataset: str, *, auxiliary: bool = False
) -> Cost:
    """Return the cost of a network on the data set of a name; see `count`."""
    data = describe(dataset)
    shape = {"in_channels": data.channels, "classes": data.classes, "image": data.size}
    return count(genotype, size, **shape, auxiliary=auxiliary)


def check_image(image: int, stem_stride: int, *, auxiliary: bool) -> int:
    """Return height and width in pixels of the stem's output for an image that fits the network.

    Raises:
        SpecError: As for `count`.
    """
    side = -(-image // stem_stride)
    if side % 4:
        what = f"images of {image}×{image} pixels cannot be halved twice after the stem"
        fix = f"use images whose height and width are multiples of {4 * stem_stride}"
        raise SpecError(what, fix=fix)
    if auxiliary and side != 4 * AUXILIARY_MAP:
        found, wanted, size = side // 4, AUXILIARY_MAP, 4 * AUXILIARY_MAP * stem_stride
        raise SpecError(
            f"images of {image}×{image} pixels give the auxiliary head a map of {found}×{found}, "
            f"not {wanted}×{wanted}",
            fix=f"use {size}×{size} images or train without the auxiliary head",
        )
    return side


def check_batches(images: int, batch_size: int, stem_side: int, *, auxiliary: bool) -> None:
    """Check that batch normalisation sees several values of each channel in every training step.

    It has no variance to divide by in a map of one pixel of a single image: the auxiliary head ends
    in such maps, and so does a network whose stem gives 4×4, halved twice. The last step of an
    epoch takes what is left of the training images; `stem_side` is from `check_image`.

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
    """Return the cost of a convolution and a normalisation, whose multiply-adds don't count."""
    return Cost(weights + 2 * norm, weights + 2 * norm, weights * pixels)


def _linear(features: int, classes: int) -> Cost:
    parameters = (features + 1) * classes
    return Cost(parameters, parameters, features * classes)


def _cell(place: Place, pixels: int) -> Cost:
    """Return the cost of a cell; `pixels` are those of a map of its output."""
    live, c, costs = place.cell.live_nodes, place.channels, [Cost()]
    for node, channels in enumerate((place.before_last, place.last)):
        # FactorizedReduce is two convolutions to half the channels: as much as the one to all.
        cost = _layer(channels * c, pixels * (4 if place.reduction else 1), norm=c)
        costs.append(cost.where(node in live))
    edges = (_operation(find(e.op), c, e.stride, pixels).where(e.live) for e in place.edges)
    return _sum(*costs, *edges)


def _operation(entry: Entry, c: int, stride: int, pixels: int) -> Cost:
    """Return the cost of an operation on c channels with a square output map of so many pixels."""
    if entry.origin == BUILT_IN:
        return _built_in(entry.name, c, stride, pixels)
    found = examine(entry, channels=c, stride=stride, side=isqrt(pixels))
    return Cost(found.parameters, found.parameters, found.multiply_adds)


@lru_cache(maxsize=10_000)  # a stack's cells have a few shapes, and edges a few operations
def _built_in(name: str, c: int, stride: int, pixels: int) -> Cost:
    if name == "skip_connect" and stride == 2:
        return _layer(c * c, pixels, norm=c)
    costs = [Cost()]
    # Until both directions are strided, a map has `stride` times the pixels for each that is not.
    rows = columns = stride
    for layer in find(name).about["layers"]:
        if isinstance(layer, Conv):
            rows, columns = (1 if layer.strided[0] else rows), (1 if layer.strided[1] else columns)
            height, width = layer.kernel
            weights = height * width * c * (1 if layer.depthwise else c)
            costs.append(_layer(weights, rows * columns * pixels))
        elif layer == "norm":
            costs.append(_layer(0, 0, norm=c))
    return _sum(*costs)


def _auxiliary_head(channels: int, classes: int) -> Cost:
    pooled = ((AUXILIARY_MAP - 5) // 3 + 1) ** 2
    first, second = _layer(channels * 128, pooled, norm=128), _layer(4 * 128 * 768, 1, norm=768)
    return _sum(first, second, _linear(768, classes))
