"""What an experiment's file, those that it extends, a profile and options hold together.

Each value keeps the place where it was written, and nothing is checked yet: see `experiment`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from orchestrator.config.documents import (
    MAX_DEPTH,
    Document,
    KeyPath,
    Place,
    parse_value,
    printable,
    read_document,
    show,
)
from orchestrator.config.landscape import override_landscape
from results_schema.errors import ConfigError


def read_experiment(path: Path) -> tuple[Document, tuple[Path, ...]]:
    """Return what a file and those that it extends hold, and all of these files.

    `figure` becomes the one of `figures` that has the experiment's name.

    Raises:
        ConfigError: One of them cannot be read, or extends itself in the end.
    """
    document, files = read_document(path), [path]
    while "extends" in document.data:
        place, written = document.place(("extends",)), document.data["extends"]
        if not isinstance(written, str) or not written:
            what, fix = f"extends is {show(written)}, not text", "name a file, such as fig9.yaml"
            raise ConfigError(what, where=str(place), fix=fix)
        file = Path(os.path.normpath(files[-1].parent / written))
        files.append(file)
        if len({one.resolve() for one in files}) < len(files) or len(files) > MAX_DEPTH:
            what = f"extends: {' → '.join(one.name for one in files)} does not end"
            raise ConfigError(what, where=str(place), fix="drop extends from one of them")
        try:
            parent = read_document(file)
        except ConfigError as error:
            if file.is_file():
                raise
            what = f"extends: {error.where}: {error.what}"
            raise ConfigError(what, where=str(place), fix=error.fix) from error
        document = _merge(parent, _without(document, "extends"))
    if "figure" not in document.data:
        return document, tuple(files)
    if isinstance(figures := document.data.get("figures", {}), dict) and path.stem in figures:
        what = f"figure and figures.{printable(path.stem)} are one figure"
        raise ConfigError(what, where=str(document.place(("figure",))), fix="keep one of them")
    named = document.override(("figures", path.stem), document, ("figure",))
    return _without(named, "figure"), tuple(files)


def _merge(parent: Document, child: Document) -> Document:
    """Return a document with another's values in place of its own.

    Mappings are merged key by key, and a null of the child removes the key; all else is replaced
    as a whole.
    """
    gone: set[KeyPath] = set()

    def join(mine: Any, new: Any, path: KeyPath) -> Any:
        if not (isinstance(mine, dict) and isinstance(new, dict)):
            gone.add(path)
            return new
        found = dict(mine)
        for key, value in new.items():
            if key not in mine:
                found[key] = value
            elif value is None:
                gone.add((*path, key))
                del found[key]
            else:
                found[key] = join(mine[key], value, (*path, key))
        return found

    data = join(parent.data, child.data, ())
    kept = {
        path: at
        for path, at in parent.places.items()
        if not any(path[:depth] in gone for depth in range(len(path) + 1))
    }
    return Document(data, {**kept, **child.places})


def _without(document: Document, key: str) -> Document:
    data = {name: value for name, value in document.data.items() if name != key}
    return Document(data, {p: at for p, at in document.places.items() if p[:1] != (key,)})


def apply_profile(settings: Document, document: Document, axes: Collection[str]) -> Document:
    """Return the document as a profile's document changes it.

    `axes` are keys of the experiment at or below which an axis of the grid may be.
    """
    for key in settings.data.get("set", {}):
        source = ("set", key)
        document = document.override(_key_path(key, settings.place(source), axes), settings, source)
    return override_landscape(settings, document)


def apply_option(option: str, document: Document, axes: Collection[str]) -> Document:
    """Return the document as an option such as `recipe.epochs=2` changes it; see `apply_profile`.

    Raises:
        ConfigError: It names no path of keys, or its value is not YAML.
    """
    key, equals, value = option.partition("=")
    source = f"--set {printable(option)}"
    if not equals:
        raise ConfigError("no value is given", where=source, fix="write --set recipe.epochs=2")
    return document.override(
        _key_path(key.strip(), Place(source), axes), parse_value(value, source)
    )


def _key_path(text: str, place: Place, axes: Collection[str]) -> KeyPath:
    keys = tuple(text.split("."))
    if not all(key and key.isprintable() for key in keys) or len(keys) > MAX_DEPTH:
        raise ConfigError(
            f"{show(text)} is no path of keys", where=str(place), fix="write it as recipe.epochs"
        )
    # Other axes than the grid's own are keys with dots.
    depth = 2 if keys[:2] == ("grid", "zip") else 1
    if keys[0] == "grid" and len(keys) > depth and keys[depth] in axes:
        return *keys[:depth], ".".join(keys[depth:])
    return keys
