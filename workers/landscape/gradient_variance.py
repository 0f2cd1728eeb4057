"""How much the gradient differs from instance to instance (Section 4.2).

g(α, β) = Var_i ∇f_i(w* + α w₁ + β w₂) is the trace of the covariance of the gradients of single
instances' losses: the mean over instances of ‖∇f_i − ∇f‖², f the mean loss. It is exact: one
forward and backward pass of a batch yields every instance's gradient, layer by layer.

Batch normalisation keeps its running statistics and is folded into the convolutions
(`workers.landscape.folding`); the gradients are still those of the network's own parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from results_schema.errors import SpecError
from workers.landscape.directions import Directions
from workers.landscape.folding import FoldedNetwork
from workers.landscape.instances import Instances
from workers.landscape.precision import exact
from workers.landscape.probes import Probes
from workers.landscape.scatter import Distances, Gatherer, Scatter, Variance
from workers.network.network import Network


@dataclass(frozen=True)
class VariancePoint:
    """One point of a surface of gradient variance.

    Attributes:
        loss: Mean cross-entropy of the network's own head, in nats.
        accuracy: Share of images whose largest logit is their label's.
        instances: N.
        whole: Over all parameters that take part in the loss.
        weights: Without parameters of one dimension (batch normalisation's, biases).
        parameters: The variance of each parameter tensor, by name; empty unless asked for.
    """

    loss: float
    accuracy: float
    instances: int
    whole: Variance
    weights: Variance
    parameters: dict[str, float]


def minibatch_variance(variance: float, batch: int, instances: int) -> float:
    """Return the variance of the mean gradient of a batch drawn without replacement.

    Var/b · (N − b)/(N − 1). Of the batches that training draws, each step's gradient is that mean,
    so it is the σ² of Theorem 4.1 for the recipe's steps; `variance` itself is that of steps of
    one instance. Both are of one point, where the theorem asks for a bound along the whole way.

    Args:
        variance: Over single instances; a subset of those that batches are drawn from will do.
        batch: b, from 1 to N.
        instances: N, the number of instances that batches are drawn from.

    Raises:
        SpecError: No such batch can be drawn.
    """
    if not 1 <= batch <= instances:
        raise SpecError(
            f"a batch of {batch} out of {instances} instances",
            fix=f"use a number from 1 to {instances}",
        )
    left = (instances - batch) / (instances - 1) if instances > 1 else 0.0
    return variance / batch * left


class GradientVariance:
    """Measures the gradient variance at any point.

    Weights at a point are computed in float64 and rounded to `dtype`; sums over instances are
    taken in float64.

    Args:
        network: With its trained weights, on its device.
        directions: The plane's axes.
        images: [N, C, H, W], normalised: the same instances for every point of a surface.
        labels: int64 [N].
        dtype: float32 or float64.
        batch: Most images run at once; memory grows with it.
        auxiliary: Weight of the auxiliary head's loss, as in training by the recipe of Table 1,
            which is then part of each instance's loss; the head itself stays as trained at every
            point. At 0 the head is dropped.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image, or the network has no auxiliary head.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        batch: int = 80,
        auxiliary: float = 0.0,
    ) -> None:
        if auxiliary and network.auxiliary_head is None:
            raise SpecError("the network has no auxiliary head", fix="use an auxiliary weight of 0")
        self._instances = Instances(images, labels, dtype=dtype, batch=batch)
        self._folded = FoldedNetwork(network, directions, dtype=dtype, auxiliary=auxiliary > 0)
        self._probes = Probes(self._folded, directions, dtype=dtype)
        self._auxiliary = auxiliary

    def at(
        self, alpha: float, beta: float, *, by_parameter: bool = False, error: bool = False
    ) -> VariancePoint:
        """Measure the point w* + alpha w₁ + beta w₂.

        Args:
            alpha: Along w₁.
            beta: Along w₂.
            by_parameter: Whether the variance of each parameter tensor is returned too.
            error: Whether standard errors are, which take a second pass over the instances.
        """
        network = self._folded.move(alpha, beta)
        self._probes.move(alpha, beta)
        scatter = Scatter()
        sums = self._run(network, scatter)
        distances = None
        if error:
            distances = Distances(scatter)
            self._run(network, distances)
        count = len(self._instances)
        loss, accuracy = (sums / count).tolist()
        parameters = scatter.by_parameter() if by_parameter else {}
        return VariancePoint(loss, accuracy, count, *scatter.variances(distances), parameters)

    def _run(self, network: Network, gatherer: Gatherer) -> Tensor:
        """Run all instances forward and backward; return the summed loss and correct answers."""
        device = self._instances.labels.device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        with exact(device):
            for images, labels in self._instances:
                with self._probes.listen(gatherer):
                    logits, auxiliary = self._logits(network, images)
                    loss = _cross_entropy(logits, labels)
                    whole = loss
                    if auxiliary is not None:
                        whole = loss + self._auxiliary * _cross_entropy(auxiliary, labels)
                    whole.backward()
                sums += torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])
        return sums

    def _logits(self, network: Network, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._auxiliary:
            return network.forward_with_auxiliary(images)
        return network(images), None


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed over instances, so that the gradient at each is its own loss's."""
    return functional.cross_entropy(logits.double(), labels, reduction="sum")
