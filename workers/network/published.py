"""Loads weights trained with the published DARTS-style code, whose modules have other names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from results_schema.errors import SpecError
from workers.network.network import Network


def load_published(network: Network, state_dict: Mapping[str, Tensor]) -> None:
    """Loads a state dict of the published model of the same genotype and size, in place.

    There a cell's operations are called `_ops` and lie in sequences called `op`. An auxiliary
    head that `network` lacks, and the prefix of `DataParallel`, are left out.

    Args:
        network: As `Network` builds it.
        state_dict: Of the published model.

    Raises:
        SpecError: Names or shapes differ from the network's.
    """
    renamed = {
        name.removeprefix("module.").replace("._ops.", ".operations.").replace(".op.", "."): value
        for name, value in state_dict.items()
    }
    if network.auxiliary_head is None:
        renamed = {
            name: value for name, value in renamed.items() if not name.startswith("auxiliary_head")
        }
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise SpecError(
            f"these weights are not the network's: {error}",
            fix="build the network of the genotype, size and classes that was trained",
        ) from error
