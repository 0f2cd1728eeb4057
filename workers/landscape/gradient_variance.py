"""How much the gradient differs from instance to instance (Section 4.2).

g(α, β) = Var_i ∇f_i(w* + α w₁ + β w₂) is the trace of the covariance of the gradients of single
instances' losses: the mean over instances of ‖∇f_i − ∇f‖², f the mean loss. It is exact: one
forward and backward pass of a batch yields every instance's gradient, layer by layer.

Batch normalisation keeps its running statistics and is folded into the convolutions
(`workers.landscape.plane`). The gradients are still those of the network's own parameters
(`workers.landscape.instance_gradients`).
"""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from workers.landscape.contour import GridMeasure
from workers.landscape.grid import GridPoint
from workers.landscape.instance_gradients import Gatherer, InstanceGradients, filters_first
from workers.landscape.instances import Instances, Row
from workers.landscape.measures import Case
from workers.landscape.plane import (
    Directions,
    FoldedNetwork,
    Parts,
    find_parts,
    live_parameters,
    split,
)
from workers.network.custom import Custom
from workers.network.network import Network

BATCH = 80  # most images run at once; memory grows with it


def minibatch_variance(variance: float, batch: int, instances: int) -> float:
    """Return the variance of the mean gradient of a batch drawn without replacement.

    Var/b · (N − b)/(N − 1), for batches of b out of N instances. A training step's gradient is such
    a mean, so this is the σ² of Theorem 4.1 for the recipe's steps; `variance` itself is that of
    steps of one instance. Both are of one point; the theorem requires a bound along the whole path.

    Raises:
        SpecError: No such batch can be drawn.
    """
    if not 1 <= batch <= instances:
        what = f"a batch of {batch} out of {instances} instances"
        raise SpecError(what, fix=f"use a number from 1 to {instances}")
    remaining = (instances - batch) / (instances - 1) if instances > 1 else 0.0
    return variance / batch * remaining


class GradientVariance:
    """Measures the gradient variance at any point of a plane, in float32 or float64.

    `auxiliary` is the weight of the auxiliary head's loss, as in training by the recipe of Table 1,
    which is then part of each instance's loss; the head itself stays as trained at every point. At
    0 the head is dropped.

    Modules of which no rule gives the gradients of single instances, such as operations of
    plug-ins, run again for each instance (`unit_gradients`); `notes` names them. For a network that
    is not all of known layers, the gradients of two instances are compared with autograd's first.

    Raises:
        SpecError: The network has no auxiliary head, or mixes the instances of a batch.
    """

    def __init__(
        self, network: nn.Module, directions: Directions, given: Instances, *, auxiliary: float = 0
    ) -> None:
        if auxiliary and getattr(network, "auxiliary_head", None) is None:
            raise SpecError("the network has no auxiliary head", fix="use an auxiliary weight of 0")
        options = {"auxiliary": auxiliary > 0}
        parts = find_parts(network, given.images[:2], **options)
        self._instances, self._auxiliary = given, auxiliary
        self.notes: dict[str, str] = {}
        if parts.units or not isinstance(network, Network):
            parts = self._checked(network, parts)
        folded = FoldedNetwork(network, directions, parts, dtype=given.dtype, **options)
        self._gradients = InstanceGradients(folded, directions, dtype=given.dtype)

    def _checked(self, network: nn.Module, parts: Parts) -> Parts:
        """Return parts whose gradients of two instances are those of autograd, in float64.

        The rules of layers and of units hold where each runs once, by its own `forward` and for
        each instance alone. Where they don't add up, the whole network runs for each instance.
        """
        few = self._instances.part(0, 2, torch.float64)
        wanted = self._by_autograd(network, few)
        scale = max(float(one.abs().max()) for one in wanted.values())
        for tried in (parts, split(network, whole=True)):
            try:
                found = self._by_parts(network, tried, few)
            except TypeError:
                continue
            filters = {f"{layer.name}.weight" for layer in tried.layers}
            if all(
                _agree(found.get(name, []), gradient, scale, filters=name in filters)
                for name, gradient in wanted.items()
            ):
                self._note(tried)
                return tried
        raise SpecError(
            "gradients of single instances are not known: they don't add up to that of a batch",
            fix="in evaluation mode, an output must not depend on other instances of its batch",
        )

    def _by_parts(
        self, network: nn.Module, parts: Parts, few: Instances
    ) -> dict[str, list[Tensor]]:
        """Return the summed gradients of a few instances, in one or several pieces by parameter."""
        unmoved, dtype = Directions({}, {}, 0.0), torch.float64
        auxiliary = self._auxiliary > 0
        folded = FoldedNetwork(network, unmoved, parts, dtype=dtype, auxiliary=auxiliary)
        gradients, sums = InstanceGradients(folded, unmoved, dtype=dtype), _Sums()
        self._run(gradients, gradients.move(0, 0), sums, few)
        return sums.found

    def _by_autograd(self, network: nn.Module, few: Instances) -> dict[str, Tensor]:
        """Return the summed gradients of a few instances, each of which runs alone."""
        own = copy.deepcopy(network).eval().double().requires_grad_()

        def run(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits, loss, whole = self._losses(own, images, labels, few)
            whole.backward()
            return logits, loss

        # One by one: whatever an instance takes from others of its batch shows. Noise would differ.
        alone = not any("generator" in vars(module) for module in own.modules())
        for one in range(len(few)) if alone else [0]:
            few.part(one, one + 1 if alone else len(few), torch.float64).run(run)
        live = live_parameters(own, auxiliary=self._auxiliary > 0)
        return {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in live.items()}

    def _note(self, parts: Parts) -> None:
        """Note what has no rule of its own."""
        named = {
            f"operation {unit.entry.name}" if isinstance(unit, Custom) else name or "the network"
            for name, unit in parts.units.items()
            if not (isinstance(unit, Custom) and unit.entry.about.get("gradient"))
            and any(True for _ in unit.parameters())
        }
        if named:
            first = ", ".join(sorted(named)[:5]) + ", …" * (len(named) > 5)
            self.notes = {"gradients": f"of single instances by torch.func: {first}"}

    def at(
        self, alpha: float, beta: float, *, by_parameter: bool = False, error: bool = False
    ) -> Row:
        """Return loss, accuracy and variances at w* + alpha w₁ + beta w₂.

        Loss and accuracy are of the network's own head; `by_parameter` adds the variance of each
        parameter tensor. With `error`, which takes a second pass, `standard_error` is that of the
        variance as an estimate for the population that the instances were drawn from: the deviation
        of ‖g_i − ḡ‖² over instances, divided by √N; NaN of a single instance.
        """
        network, given = self._gradients.move(alpha, beta), self._instances
        scatter = _Scatter()
        row = self._run(self._gradients, network, scatter, given) | scatter.variances()
        row |= {"standard_error": None, "weights_standard_error": None, "by_parameter": None}
        if error:
            distances = _Distances(scatter)
            self._run(self._gradients, network, distances, given)
            row |= distances.standard_errors()
        if by_parameter:
            row["by_parameter"] = json.dumps(scatter.by_parameter())
        return row

    def _run(
        self, gradients: InstanceGradients, network: nn.Module, gatherer: Gatherer, given: Instances
    ) -> Row:
        def run(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            with gradients.collect(gatherer):
                logits, loss, whole = self._losses(network, images, labels, given)
                whole.backward()
            return logits, loss

        return given.run(run)

    def _losses(
        self, network: nn.Module, images: Tensor, labels: Tensor, given: Instances
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, the summed loss of the network's own head, and that with the auxiliary."""
        if self._auxiliary and isinstance(network, Network):
            logits, others = network.forward_with_auxiliary(images)
            loss = given.loss(logits, labels)
            return logits, loss, loss + self._auxiliary * given.loss(others, labels)
        logits = network(images)
        loss = given.loss(logits, labels)
        return logits, loss, loss


def _agree(pieces: Sequence[Tensor], wanted: Tensor, scale: float, *, filters: bool) -> bool:
    """Return whether the pieces of a parameter's gradient are those of autograd."""
    if filters and wanted.dim() == 4:
        wanted = filters_first(wanted)
    found = [*pieces] or [torch.zeros_like(wanted)]
    if len(found) > 1:
        found, wanted = [torch.cat(found).square().sum()], wanted.square().sum()
    one = found[0].reshape(-1)
    return torch.allclose(one, wanted.reshape(-1), rtol=1e-7, atol=1e-9 * scale)


class _VarianceMeasure(GridMeasure):
    """A surface of the gradient variance."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._variance = GradientVariance(
            case.network,
            self.directions,
            case.instances(BATCH),
            auxiliary=case.spec.trial.recipe.auxiliary if case.spec.auxiliary else 0.0,
        )

    def at(self, point: GridPoint) -> Row:
        return self._variance.at(
            point.alpha,
            point.beta,
            by_parameter=self.case.spec.by_parameter,
            error=point.level == 0,
        )

    def summary(self, rows: Sequence[Row]) -> Row:
        case, first = self.case, self.grid.points()[0]
        [centre] = [r for r in rows if (r["row"], r["column"]) == (first.row, first.column)]
        weights = live_parameters(case.network, auxiliary=case.spec.auxiliary)
        batch = min(case.spec.trial.recipe.batch_size, case.trained_on)
        names = ("variance", "standard_error", "weights_variance")
        found = super().summary(rows)
        notes = json.dumps(json.loads(found["notes"]) | self._variance.notes)
        return found | {
            "notes": notes,
            **{name: centre[name] for name in names},
            "parameters": sum(weight.numel() for weight in weights.values()),
            "batch_variance": minibatch_variance(centre["variance"], batch, case.trained_on),
        }


def squared_norms(vectors: Tensor, dim: int) -> Tensor:
    """Return the squared norms of a matrix along a dimension, in float64; overwrites the matrix."""
    if not vectors.numel():
        return vectors.sum(dim, dtype=torch.float64)
    # In units of the largest entry, so that no square overflows float32.
    unit = torch.maximum(-vectors.amin(), vectors.amax())
    unit = torch.where(unit > 0, unit, 1)
    norms = torch.linalg.vector_norm(vectors.div_(unit), dim=dim)
    return norms.double().mul_(unit.double()).square_()


class Moments:
    """Mean and scatter of vectors that come in batches, merged in float64 without cancellation.

    Chan, Golub and LeVeque (1983): of two groups with n and n_b members, means m and m_b and
    scatters M and M_b (sums of squared distances from the mean), the union's scatter is
    M + M_b + ‖m_b − m‖² n n_b / (n + n_b).

    Attributes:
        count: Number of vectors.
        mean: float64 [P].
        scatter: Σ (x − mean)², a float64 scalar; [P] where it is kept by entry.
    """

    def __init__(self, *, by_entry: bool = False) -> None:
        self.count = 0
        self.mean = self.scatter = torch.zeros(())
        self._by_entry = by_entry

    def add(self, vectors: Tensor) -> None:
        """Add a batch [n, P] with n ≥ 1, which is overwritten."""
        number = len(vectors)
        mean = vectors.mean(0)  # [P]
        # Distances from the batch's own mean are small, where x² − mean² would cancel.
        scatter = squared_norms(vectors.sub_(mean), 0 if self._by_entry else 1)
        if not self._by_entry:
            scatter = scatter.sum()
        mean = mean.double()
        if not self.count:
            self.mean, self.scatter = mean, scatter
        else:
            step = mean - self.mean
            between = step.square() if self._by_entry else step.dot(step)
            whole = self.count + number
            self.scatter = self.scatter + scatter + between * (self.count * number / whole)
            self.mean.add_(step, alpha=number / whole)
        self.count += number


class _Sums:
    """Gathers the summed gradients of all instances, by parameter."""

    def __init__(self) -> None:
        self.found = defaultdict[str, list[Tensor]](list)

    def weight(self, name: str, gradients: Tensor) -> None:
        self.found[name].append(gradients.sum(0))

    def vectors(self, entries: list[tuple[str, int]], gradients: Tensor) -> None:
        parts = gradients.sum(0).split([size for _, size in entries])
        for (name, _), part in zip(entries, parts, strict=True):
            self.found[name].append(part)


class _Scatter:
    """Gathers the gradients of one point for their mean and variance."""

    def __init__(self) -> None:
        self.weights: defaultdict[str, Moments] = defaultdict(Moments)
        self.all_vectors = Moments(by_entry=True)
        self._entries: list[tuple[str, int]] = []

    def weight(self, name: str, gradients: Tensor) -> None:
        self.weights[name].add(gradients)

    def vectors(self, entries: list[tuple[str, int]], gradients: Tensor) -> None:
        self._entries = entries
        self.all_vectors.add(gradients)

    def variances(self) -> Row:
        count = self.all_vectors.count
        moments = [*self.weights.values(), self.all_vectors]
        sums = torch.stack([torch.stack([m.scatter.sum(), m.mean.square().sum()]) for m in moments])
        (weights, _), (whole, square) = torch.stack([sums[:-1].sum(0), sums.sum(0)]).tolist()
        return {
            "variance": whole / count,
            "weights_variance": weights / count,
            "gradient_norm": square**0.5,
        }

    def by_parameter(self) -> dict[str, float]:
        count = self.all_vectors.count
        found = defaultdict[str, float](float)
        if self.weights:
            scatters = torch.stack([m.scatter for m in self.weights.values()]).tolist()
            found.update(zip(self.weights, scatters, strict=True))
        parts = self.all_vectors.scatter.split([size for _, size in self._entries])
        sums = torch.stack([part.sum() for part in parts]).tolist() if self._entries else []
        # Two convolutions that share a normalisation contribute a part of it each.
        for (name, _), scatter in zip(self._entries, sums, strict=True):
            found[name] += scatter
        return {name: scatter / count for name, scatter in found.items()}


class _Distances:
    """Gathers ‖g_i − ḡ‖² of each instance, in a second pass, once the mean is known."""

    def __init__(self, scatter: _Scatter) -> None:
        self._means = {name: moments.mean for name, moments in scatter.weights.items()}
        self._vectors_mean = scatter.all_vectors.mean
        self._weights: list[Tensor] = []  # [n] each: one for each weight of the running batch
        self._batches: list[Tensor] = []  # [2, n] each: over weights, over all

    def weight(self, name: str, gradients: Tensor) -> None:
        self._weights.append(squared_norms(gradients.sub_(self._means[name]), 1))

    def vectors(self, entries: list[tuple[str, int]], gradients: Tensor) -> None:
        vectors = squared_norms(gradients.sub_(self._vectors_mean), 1)
        weights = torch.stack(self._weights).sum(0) if self._weights else 0 * vectors
        self._batches.append(torch.stack([weights, weights + vectors]))
        self._weights = []

    def standard_errors(self) -> Row:
        found = torch.cat(self._batches, dim=1)  # [2, N]
        count = found.shape[1]
        weights, whole = (found.std(1) / count**0.5).tolist() if count > 1 else [math.nan] * 2
        return {"standard_error": whole, "weights_standard_error": weights}
