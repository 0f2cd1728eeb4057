"""The gradients of single instances, from one backward pass of a folded network.

`InstanceGradients` hooks the layers of the network and hands the gradients of a batch to a
`Gatherer`, parameter by parameter; `weight_gradients` computes those of one layer's weight, and
`unit_gradients` those of a module without such a rule, which runs again for each instance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from workers.landscape.plane import Directions, FoldedNetwork, Layer, Plane, along
from workers.network.custom import Custom


class Gatherer(Protocol):
    """Takes the gradients of single instances, batch by batch."""

    def weight(self, name: str, gradients: Tensor) -> None:
        """Take a batch's gradients of a parameter of several dimensions, [n, P]; overwritten."""
        ...

    def vectors(self, entries: list[tuple[str, int]], gradients: Tensor) -> None:
        """Take those of all parameters of one dimension, [n, Σ P], overwritten; ends the batch.

        `entries` are name and number of columns of each parameter, or of each part of one.
        """
        ...


class InstanceGradients:
    """Takes each instance's gradients from the backward passes of a folded network.

    A backward pass of the summed loss meets, at each layer, its input A and the gradient B of its
    output. Where batch normalisation is folded in, with G the gradient of the folded weight s w,
    the network's own are dw = s G, dβ = ΣB over the pixels and dγ = (⟨w, G⟩ − μ dβ)/σ.

    Of a unit (`plane.Parts`) they are those of ⟨unit(A_n), B_n⟩.

    The layers of the network get hooks that stay, so it runs within `collect` alone.
    """

    def __init__(
        self, folded: FoldedNetwork, directions: Directions, *, dtype: torch.dtype
    ) -> None:
        self._folded = folded
        self._gatherer: Gatherer | None = None
        self._inputs: dict[str, Tensor] = {}
        self._vectors: list[tuple[str, Tensor]] = []
        normed = [layer for layer in folded.layers if layer.norm is not None]
        weights = {f"{one.name}.weight": one.module.weight.detach().double() for one in normed}
        axes = (
            [along(axis, *weight) for weight in weights.items()]
            for axis in (directions.first, directions.second)
        )
        self._weights = Plane(list(weights.values()), *axes, dtype=dtype)
        moved = iter(self._weights.tensors)
        for layer in folded.layers:
            terms: tuple[Tensor, ...] = ()  # w [out, …], s, σ and μ [out] of a normalised layer
            if layer.norm is not None:
                scales = (part.to(dtype) for part in layer.scales())
                terms = (filters_first(next(moved)), *scales)
            twin = folded.network.get_submodule(layer.name)
            twin.register_forward_hook(partial(self._capture, layer, terms))
        self._nothing = torch.empty(0, 0)
        self._met: list[tuple[str, Captured]] = []
        self._replaying = False
        for name in folded.units:
            twin = folded.network.get_submodule(name)
            twin.register_forward_hook(partial(self._capture_unit, name), with_kwargs=True)

    def move(self, alpha: float, beta: float) -> nn.Module:
        """Return the folded network at (alpha, beta), to be run within `collect`."""
        self._weights.move(alpha, beta)
        return self._folded.move(alpha, beta)

    @contextmanager
    def collect(self, gatherer: Gatherer) -> Iterator[None]:
        """Give a gatherer the gradients of the batch that runs forward and backward within."""
        self._gatherer = gatherer
        try:
            yield
            self._gather_units(gatherer)
            entries = [(name, part.shape[1]) for name, part in self._vectors]
            parts = [part for _, part in self._vectors] or [self._nothing]
            gatherer.vectors(entries, torch.cat(parts, dim=1))
        finally:
            self._gatherer = None
            self._vectors, self._met = [], []
            # Inputs remain of layers whose output the loss does not depend on, as noise follows.
            self._inputs.clear()

    def _capture(
        self,
        layer: Layer,
        terms: tuple[Tensor, ...],
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> Tensor:
        if not output.requires_grad:
            # No weight is a leaf, so the output of the stem is one, or of what reads noise alone.
            output = output.requires_grad_().clone()
        self._inputs[layer.name] = inputs[0]
        output.register_hook(partial(self._take, layer, terms))
        return output

    def _take(self, layer: Layer, terms: tuple[Tensor, ...], gradients: Tensor) -> None:
        gatherer = self._gatherer
        if gatherer is None:
            raise RuntimeError("a backward pass outside of InstanceGradients.collect")
        if layer.name not in self._inputs:
            raise TypeError(f"{layer.name} runs more than once")
        inputs = self._inputs.pop(layer.name)
        self._nothing = gradients.new_empty(len(gradients), 0)
        found = weight_gradients(layer.module, inputs, gradients)  # [n, out, …]
        if layer.norm is not None:
            weight, s, sigma, mean = terms
            shift = gradients.sum((2, 3))  # [n, out]
            product = (found * weight).sum(2)  # ⟨w, G⟩, [n, out]
            scale = (product - mean * shift) / sigma
            self._vectors += [
                (f"{layer.norm.name}.weight", scale),
                (f"{layer.norm.name}.bias", shift),
            ]
            found *= s[:, None]
        if layer.module.bias is not None:
            slopes = gradients.sum((2, 3)) if gradients.dim() == 4 else gradients  # [n, out]
            self._vectors.append((f"{layer.name}.bias", slopes * terms[1] if terms else slopes))
        # Weights are gathered at once: the gradients of all layers would not fit into memory.
        gatherer.weight(f"{layer.name}.weight", found.flatten(1))

    def _capture_unit(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> Any:
        if self._replaying:
            return None
        if not isinstance(output, Tensor):
            raise TypeError(f"{name or 'the network'} returns no tensor")
        if not output.requires_grad:
            output = output.requires_grad_().clone()
        # Copies, as what comes before may change its results in place when it goes on.
        inputs = tuple(one.detach().clone() if isinstance(one, Tensor) else one for one in args)
        output.register_hook(
            lambda slopes: self._met.append((name, Captured(module, inputs, kwargs, slopes)))
        )
        return output

    def _gather_units(self, gatherer: Gatherer) -> None:
        self._replaying = True
        try:
            for name, captured in self._met:
                self._nothing = captured.slopes.new_empty(len(captured.slopes), 0)
                found = {
                    key: gradients.detach() for key, gradients in unit_gradients(captured).items()
                }
                for key, gradients in found.items():
                    full = f"{name}.{key}" if name else key
                    if gradients.dim() > 2:
                        gatherer.weight(full, gradients.flatten(1))
                    else:
                        self._vectors.append((full, gradients.reshape(len(gradients), -1)))
        finally:
            self._replaying = False


class Captured(NamedTuple):
    """A module's inputs in a pass, and the gradient [n, …] of its output."""

    module: nn.Module
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    slopes: Tensor


def unit_gradients(captured: Captured) -> dict[str, Tensor]:
    """Return each instance's gradient of each parameter of a module, [n, …] by name.

    An operation's own rule is used if its plug-in has one (`gradient`). Else they come from
    `torch.func`, for all instances at once; from one pass for each instance where the module does
    what `torch.func` can't batch.
    """
    module, inputs, options, slopes = captured
    if isinstance(module, Custom) and (rule := module.entry.about.get("gradient")):
        found = rule(module.operation, inputs[0], slopes)
        return {f"operation.{name}": gradients for name, gradients in found.items()}
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    count = len(slopes)
    batched = [isinstance(one, Tensor) and one.shape[:1] == (count,) for one in inputs]

    def product(weights: dict[str, Tensor], slope: Tensor, *rows: Any) -> Tensor:
        given = [r[None] if each else r for r, each in zip(rows, batched, strict=True)]
        return (functional_call(module, weights, tuple(given), options)[0] * slope).sum()

    each = (None, 0, *(0 if one else None for one in batched))
    with torch.enable_grad():
        try:
            return vmap(grad(product), in_dims=each)(weights, slopes, *inputs)
        except (RuntimeError, ValueError):
            rows = [
                grad(product)(
                    weights,
                    slopes[n],
                    *(one[n] if by else one for one, by in zip(inputs, batched, strict=True)),
                )
                for n in range(count)
            ]
            return {name: torch.stack([row[name] for row in rows]) for name in weights}


def weight_gradients(layer: nn.Conv2d | nn.Linear, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Return each instance's gradient of a layer's weight.

    It is the correlation of the instance's input A_n with the gradient B_n of its output: for a
    linear layer an outer product; for a dense convolution one product of matrices for each place in
    its window; for a depthwise one a convolution of A_n by the kernel B_n, in which stride and
    dilation have changed places.

    Args:
        layer: A linear layer or a convolution with zero padding, dense or depthwise.
        inputs: A, [n, in, H, W] or [n, in].
        gradients: B, [n, out, H', W'] or [n, out].

    Returns:
        [n, out, in], for a convolution [n, out, kernel places · in channels of a group].

    Raises:
        TypeError: The convolution has groups of several channels.
    """
    if isinstance(layer, nn.Linear):
        return gradients[:, :, None] * inputs[:, None, :]
    if layer.groups == 1:
        return _dense(layer, inputs, gradients)
    if layer.groups == layer.in_channels == layer.out_channels:
        return _depthwise(layer, inputs, gradients)
    raise TypeError(f"{layer} is neither dense nor depthwise")


def filters_first(weight: Tensor) -> Tensor:
    """Return a convolution's weight [out, in, h, w] as `weight_gradients` has it, [out, h·w·in].

    It is a view of a weight that is channels last in memory.
    """
    return weight.permute(0, 2, 3, 1).flatten(1)


def _dense(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    if isinstance(layer.padding, str):
        raise TypeError(f"{layer} has no numbers as its padding")
    rows, columns = layer.padding
    if rows or columns:
        inputs = functional.pad(inputs, (columns, columns, rows, rows))
    outputs = _by_pixel(gradients).mT  # [n, out, H'·W']
    height, width = gradients.shape[2:]
    places = []
    # Unfolding the input would copy it as often as the kernel has places.
    for i in range(layer.kernel_size[0]):
        for j in range(layer.kernel_size[1]):
            below = _window(i * layer.dilation[0], height, layer.stride[0])
            right = _window(j * layer.dilation[1], width, layer.stride[1])
            places.append(outputs @ _by_pixel(inputs[:, :, below, right]))  # [n, out, in]
    return places[0] if len(places) == 1 else torch.cat(places, dim=2)


def _depthwise(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    number, channels = inputs.shape[:2]
    found = functional.conv2d(
        inputs.reshape(1, -1, *inputs.shape[2:]),
        gradients.reshape(number * channels, 1, *gradients.shape[2:]),
        stride=layer.dilation,
        padding=layer.padding,
        dilation=layer.stride,
        groups=number * channels,
    )
    rows, columns = layer.kernel_size
    return found[0, :, :rows, :columns].reshape(number, channels, rows * columns)


def _window(start: int, length: int, stride: int) -> slice:
    """Return where a place of the window is, for each of `length` outputs."""
    return slice(start, start + (length - 1) * stride + 1, stride)


def _by_pixel(maps: Tensor) -> Tensor:
    """Return [n, C, H, W] as [n, H·W, C], without a copy if it is channels last in memory."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)
