"""The experiments that come with nas-sweep, which commands take by name in any folder."""

from __future__ import annotations

from pathlib import Path

from results_schema.layout import natural

_HERE = Path(__file__).resolve().parents[1]
PROFILES = "profiles"


def folder() -> Path:
    """Return their folder: within the installed package, or beside it in a checkout."""
    inside = _HERE / "experiments"
    return inside if inside.is_dir() else _HERE.parent / "experiments"


def packaged() -> dict[str, Path]:
    """Return their files by name, fig2 before fig10, those of a folder in it last."""
    found = [*folder().glob("*.yaml"), *folder().glob("*/*.yaml")]
    found.sort(key=lambda file: (file.parent.parts, natural(file.stem)))
    return {file.stem: file for file in found if file.parent.name != PROFILES}


def resolve(name: str) -> Path:
    """Return the path that a user names: one that exists, or else that of a packaged experiment.

    The folders in which packaged experiments are have names too, such as early.
    """
    path = Path(name)
    if path.exists() or path.parent != Path() or path.suffix or name == PROFILES:
        return path
    inside = folder() / name
    return inside if inside.is_dir() else packaged().get(name, path)
