"""Links in a store: whoever can write it could lead another user's commands anywhere."""

from __future__ import annotations

from pathlib import Path

from results_schema.errors import StoreError


def path_below(root: Path, key: str) -> Path:
    """The path of a key, on which no link lies; the store's own folder may be one.

    Raises:
        StoreError: There is one.
    """
    path = root
    for name in key.split("/"):
        path /= name
        if _is_link(path):
            raise StoreError(
                "this is a link, and a store has none: it could lead anywhere",
                where=str(path),
                fix="put there what it leads to; --store itself may be a link",
            )
    return path


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False  # told by whatever is done with it next
