"""The operations that an edge of a cell may carry, and what those with weights consist of.

Built-in operations and those of plug-ins are entries of one registry. `workers.network` builds
modules from what is here, and `workers.cells.cost` counts it, so that a built-in operation with
weights is described here once. An operation of a plug-in is a builder of modules; what it costs is
counted from a module on the meta device, unless the plug-in declares it.
"""

from __future__ import annotations

import pkgutil
from typing import Literal, NamedTuple

from results_schema.errors import SpecError, suggest
from results_schema.genotype import INPUTS, Genotype
from results_schema.plugins import BUILT_IN, Entry, registry

_EXAMINE = "workers.network.custom:examine"
"""Builds and counts a plug-in's operation; by name, as it loads torch, and `plan` else need not."""


class Conv(NamedTuple):
    """A convolution of c to c channels without bias, padded so that stride 1 keeps the map."""

    kernel: tuple[int, int]  # height and width in pixels
    strided: tuple[bool, bool] = (True, True)  # rows and columns, where the operation is strided
    dilation: int = 1
    depthwise: bool = False  # whether each channel has a kernel of its own


Layer = Conv | Literal["norm", "relu"]
"""A convolution, batch normalisation of c channels, or a ReLU."""


def _separable(size: int, *, dilation: int = 1, strided: bool = True) -> tuple[Layer, ...]:
    depthwise = Conv((size, size), (strided, strided), dilation, depthwise=True)
    return depthwise, Conv((1, 1), (False, False)), "norm"


def _twice_separable(size: int) -> tuple[Layer, ...]:
    return *_separable(size), "relu", *_separable(size, strided=False)


def _factorized(size: int, *between: Layer) -> tuple[Layer, ...]:
    row, column = Conv((1, size), (False, True)), Conv((size, 1), (True, False))
    return row, *between, column, "norm"


OPERATIONS = registry("operation")
"""Every operation by name. What a built-in one with weights consists of, on a map that is rectified
already, is under `layers` in its `about`."""

for _name, _layers in {
    # The paper's nine (Section A.3), as in its published code.
    "max_pool_3x3": (),
    "avg_pool_3x3": (),
    "skip_connect": (),
    "sep_conv_3x3": _twice_separable(3),
    "sep_conv_5x5": _twice_separable(5),
    "sep_conv_7x7": _twice_separable(7),
    "dil_conv_3x3": _separable(3, dilation=2),
    "dil_conv_5x5": _separable(5, dilation=2),
    "conv_7x1_1x7": _factorized(7),
    # Those of other published cells: `conv_3x1_1x3` as in D-X-Y/AutoDL-Projects, `noise` as in
    # automl/RobustDARTS, the others as in renqianluo/NAO_pytorch (NAO_V1).
    "conv_1x1": (Conv((1, 1)), "norm"),
    "conv_3x3": (Conv((3, 3)), "norm"),
    "conv_3x1_1x3": _factorized(3),
    "conv_1x3_3x1": _factorized(3, "norm", "relu"),
    "conv_1x7_7x1": _factorized(7, "norm", "relu"),
    "avg_pool_2x2": (),
    "avg_pool_5x5": (),
    "max_pool_2x2": (),
    "noise": (),
}.items():
    _builder = "conv_layers" if _layers else "pool" if "pool" in _name else _name
    OPERATIONS.enter(_name, f"workers.network.operations:{_builder}", layers=_layers)


class OperationCost(NamedTuple):
    """What a plug-in's operation costs.

    Attributes:
        parameters: Number of its parameters.
        multiply_adds: Multiply-adds of one image.
    """

    parameters: int
    multiply_adds: int


def check_names(genotype: Genotype) -> None:
    """Raise `SpecError` unless every operation of a genotype can be built.

    The names are compared with the registry, and each builder of a plug-in is tried once.
    """
    for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        for node, edges in enumerate(cell.nodes, start=INPUTS):
            for position, edge in enumerate(edges):
                where = f"{name} cell, node {node}, edge {position}"
                try:
                    check_name(edge.op)
                except SpecError as error:
                    raise SpecError(error.what, where=where, fix=error.fix) from error


def check_name(name: str) -> None:
    """Raise `SpecError` unless there is an operation of a name that can be built."""
    entry = find(name)
    if entry.origin != BUILT_IN:
        for stride in (1, 2):
            examine(entry, channels=4, stride=stride, side=8 // stride)


def find(name: str) -> Entry:
    """Return an operation.

    Raises:
        SpecError: No entry has this name.
    """
    if (entry := OPERATIONS.get(name)) is None:
        fix = f"{suggest(name, OPERATIONS)}, or name its plug-in under `plugins:`"
        raise SpecError(f"unknown operation {name!r}", fix=fix)
    return entry


def examine(entry: Entry, *, channels: int, stride: int, side: int) -> OperationCost:
    """Return what a plug-in's operation costs on an output map of side × side pixels.

    Raises:
        SpecError: It can't be built, or isn't what an operation must be.
    """
    return pkgutil.resolve_name(_EXAMINE)(entry, channels, stride, side)
