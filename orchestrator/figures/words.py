"""Words that several kinds of figures say alike."""

from __future__ import annotations

from collections.abc import Iterable


def name_datasets(pairs: Iterable[tuple[str, str]]) -> str:
    """Data sets by name, a stand-in as such.

    Args:
        pairs: Of each, the one that the experiment names and the one trained on.
    """
    names = [used if used == named else f"{used} in place of {named}" for named, used in pairs]
    return ", ".join(dict.fromkeys(names))
