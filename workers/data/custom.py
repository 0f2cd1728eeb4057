"""A user's own data sets: read once, named by their content, kept in the data folder and in stores.

`Npz`, `ImageFolder` and `Plugged` say where one comes from. `register` reads it, or finds by sizes
and times that it has been read before, and enters its `Dataset` into the catalog. Its name ends
with a hash of its arrays and of how they are normalised and augmented. `publishing` writes both
into a store, from which every worker has them: the original files, and a plug-in, are needed by
plans alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from results_schema import layout
from results_schema.canonical import Spec, flag, optional, or_null, parse_json, real, whole
from results_schema.errors import DataError, MissingKey, SpecError, StoreError
from results_schema.plugins import LOADED, registry
from results_schema.store import ATTACHED, Store
from workers.data.catalog import CUSTOM, Dataset, Split

BESIDE = "paths begin at the experiment's file"
LARGEST_DESCRIPTION = 1_000_000
"""Bytes beyond which a description in a store is not read."""
_LONGEST_WRITE = 3600.0
"""Seconds for which to wait while another launch writes the same data set."""

_SOURCES: dict[str, Source] = {}
"""What this process has read a data set from, by the data set's name."""

_HASHED: dict[str, type] = {"sha256": str, "flip": bool, "mean": list, "std": list}
_HASHED |= dict.fromkeys(("classes", "channels", "size", "train", "test", "padding"), int)
_HASHED |= dict.fromkeys(("epochs", "stem_stride", "preprocessing"), int)
"""Fields of `Dataset` that its name's hash covers, with their types in JSON."""

_DESCRIBED = _HASHED | {"name": str, "description": str}


def _shares(name: str, value: Any) -> tuple[float, ...]:
    if isinstance(value, list | tuple) and 0 < len(value) <= 16:
        return tuple(real(zero=name == "mean", below=256)(name, each) for each in value)
    raise SpecError(f"{name} is {value!r}", fix="use a list of a number for each channel")


def _text(name: str, value: Any) -> str:
    if type(value) is str and value and value.isprintable():
        return value
    raise SpecError(f"{name} is {value!r}", fix="use text")


@dataclass(frozen=True, kw_only=True)
class Source(Spec, ABC):
    """Where a data set comes from, and how trials use it.

    Attributes:
        name: How its name begins; by default that of the file, folder or function.
        test: Share of the images to hold out as test set, of each class alike; 0 if there is one.
        flip: Whether training images are mirrored at random.
        padding: Zeros on each side before a random crop; by default an eighth of the image.
        mean: Of each channel, of pixels in [0, 1]; by default the training images'.
        std: Standard deviation of each channel; likewise.
        epochs: Epochs of training, unless an experiment names them.
    """

    kind: ClassVar[str]

    name: Annotated[str | None, or_null(_text)] = optional(None)
    test: Annotated[float, real(zero=True, below=1)] = optional(0.0)
    flip: Annotated[bool, flag] = optional(False)
    padding: Annotated[int | None, or_null(whole(0, 1024))] = optional(None)
    mean: Annotated[tuple[float, ...] | None, or_null(_shares)] = optional(None)
    std: Annotated[tuple[float, ...] | None, or_null(_shares)] = optional(None)
    epochs: Annotated[int, whole(1)] = optional(600)

    @property
    def place(self) -> str:
        """The file, folder or plug-in's entry."""
        return getattr(self, self.kind)

    def below(self, folder: Path) -> Source:
        """Return the same with a path that begins at a folder."""
        return replace(self, **{self.kind: os.path.normpath((folder / self.place).absolute())})

    def files(self) -> list[Path]:
        """Return the files that it is read from."""
        return []

    @abstractmethod
    def stamp(self) -> Any:
        """Return what changes when the content does: sizes and times of files."""

    @abstractmethod
    def read(self) -> Split:
        """Return the arrays; raise `DataError` if they can't be read or don't fit each other."""


@dataclass(frozen=True, kw_only=True)
class Npz(Source):
    """An npz file: `workers.data.readers.ARRAYS`."""

    kind = "npz"
    npz: Annotated[str, _text]

    def files(self) -> list[Path]:
        """See `Source`."""
        return [Path(self.npz)]

    def stamp(self) -> Any:
        """See `Source`."""
        try:
            found = Path(self.npz).stat()
        except OSError as error:
            what = f"can't be read: {error.strerror}"
            raise DataError(what, where=self.npz, fix=BESIDE) from error
        return found.st_size, found.st_mtime_ns

    def read(self) -> Split:
        """See `Source`."""
        from workers.data.readers import read_npz

        return read_npz(Path(self.npz), self.test)


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Source):
    """A folder of images by class; `size` is the pixels a side to which they are scaled."""

    kind = "folder"
    folder: Annotated[str, _text]
    size: Annotated[int | None, or_null(whole(4, 1024))] = optional(None)

    def files(self) -> list[Path]:
        """See `Source`."""
        return [Path(entry.path) for entry in _files(self.folder)]

    def stamp(self) -> Any:
        """See `Source`."""
        digest = hashlib.sha256()
        for entry in _files(self.folder):
            content = [entry.path, entry.stat().st_size, entry.stat().st_mtime_ns]
            digest.update(json.dumps(content).encode())
        return digest.hexdigest()

    def read(self) -> Split:
        """See `Source`."""
        from workers.data.readers import read_folder

        return read_folder(Path(self.folder), self.size, self.test)


@dataclass(frozen=True, kw_only=True)
class Plugged(Source):
    """A plug-in's function, which returns the arrays by name, or in the order of `ARRAYS`."""

    kind = "plugin"
    plugin: Annotated[str, _text]

    def below(self, folder: Path) -> Source:
        """Return itself."""
        return self

    def stamp(self) -> Any:
        """See `Source`."""
        entry = registry("dataset")[self.plugin]
        return [entry.origin, LOADED[entry.origin].digest if entry.origin in LOADED else ""]

    def read(self) -> Split:
        """See `Source`."""
        from workers.data.readers import make_split

        where = f"data set {self.plugin}"
        try:
            return make_split(registry("dataset")[self.plugin].resolve()(), self.test)
        except DataError as error:
            raise DataError(error.what, where=error.where or where, fix=error.fix) from error
        except Exception as error:
            what = f"its function fails: {type(error).__name__}: {error}".splitlines()[0]
            raise DataError(what, where=where, fix="call it with Python to see more") from error


SOURCES: dict[str, type[Source]] = {each.kind: each for each in (Npz, ImageFolder)}
"""What a mapping in `grid.dataset` may describe, by the key that names the place."""


def plugged(name: str) -> Plugged:
    """Return the source of a plug-in's data set.

    Raises:
        SpecError: The plug-in gives it an option that no data set has.
    """
    about = registry("dataset")[name].about
    known = {each.name for each in fields(Source)}
    if unknown := sorted(about.keys() - known):
        fix = f"use {', '.join(sorted(known))}"
        raise SpecError(f"data set {name} of a plug-in has no option {unknown[0]}", fix=fix)
    return Plugged(plugin=name, **about)


def register(source: Source) -> str:
    """Read a data set unless that was done before, enter it into the catalog, return its name.

    Raises:
        DataError: It can't be read, or the data folder can't be written.
    """
    from workers.data import folder  # which imports numpy

    root = folder.locate()
    key = hashlib.sha256(json.dumps([source.kind, source.to_json()]).encode()).hexdigest()[:20]
    note, stamp = root / "own" / f"{key}.json", source.stamp()
    about = _noted(note, stamp)
    if about is None:
        about, split = _read(source)
        folder.keep(about, split)
        folder.note(note, json.dumps({"stamp": stamp, "description": to_json(about)}))
    CUSTOM[about.name], _SOURCES[about.name] = about, source
    return about.name


def source_files(name: str) -> list[Path]:
    """Return the files that this process has read a data set from; none if it is not the user's."""
    return _SOURCES[name].files() if name in _SOURCES else []


def _files(folder: str, depth: int = 6) -> Iterator[os.DirEntry[str]]:
    """Yield the files of a folder and those in it in a fixed order; pathlib takes far longer."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        what = f"can't be read: {error.strerror}"
        raise DataError(what, where=folder, fix=BESIDE) from error
    for entry in entries:
        if entry.is_file():
            yield entry
        elif depth and entry.is_dir():
            yield from _files(entry.path, depth - 1)


def _noted(note: Path, stamp: Any) -> Dataset | None:
    """Return the description that was made when the files were as they are now."""
    try:
        found = json.loads(note.read_bytes())
        if found["stamp"] == json.loads(json.dumps(stamp)):
            return from_json(found["description"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _read(source: Source) -> tuple[Dataset, Split]:
    """Return a data set's description and its arrays."""
    from workers.data.folder import sha256

    split = source.read()
    _, channels, size, _ = split.train_pixels.shape
    mean, std = _statistics(source, split)
    stem = source.name or Path(source.place).stem
    about = Dataset(
        name=re.sub(r"[^a-z0-9]+", "_", stem.lower())[:40].strip("_") or "images",
        description=f"{source.kind} {source.place}",
        source="workers.data.custom:arrays",
        classes=int(split.train_labels.max()) + 1,
        channels=channels,
        size=size,
        train=len(split.train_labels),
        test=len(split.test_labels),
        padding=size // 8 if source.padding is None else source.padding,
        flip=source.flip,
        mean=mean,
        std=std,
        epochs=source.epochs,
        # As the paper does on images of 64×64 (Section A.3).
        stem_stride=2 if size >= 64 else 1,
        sha256=sha256(split),
    )
    return replace(about, name=f"{about.name}-{_digest(about)}"), split


def _statistics(source: Source, split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, to six decimals, the same on every machine."""
    import numpy as np

    means, deviations = [], []
    for number in range(split.train_pixels.shape[1]):
        # Whole numbers, which no order of summation can round.
        counts = [*map(int, np.bincount(split.train_pixels[:, number].ravel(), minlength=256))]
        total = sum(counts)
        first = sum(value * count for value, count in enumerate(counts))
        second = sum(value**2 * count for value, count in enumerate(counts))
        means.append(round(first / total / 255, 6))
        deviations.append(round(math.sqrt(second * total - first**2) / total / 255, 6))
    for name, given in (("mean", source.mean), ("std", source.std)):
        if given and len(given) != len(means):
            what = f"{name} has {len(given)} numbers, and images have {len(means)} channels"
            raise DataError(what, where=source.place, fix="give one for each channel")
    if not all(source.std or deviations):
        what = f"channel {deviations.index(0.0)} is the same in all pixels of the training images"
        raise DataError(what, where=source.place, fix="drop the channel, or give std")
    return source.mean or tuple(means), source.std or tuple(deviations)


def _digest(about: Dataset) -> str:
    content = {name: getattr(about, name) for name in _HASHED}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def to_json(about: Dataset) -> dict[str, Any]:
    """Return a data set's description as plain data."""
    return {name: getattr(about, name) for name in _DESCRIBED}


def from_json(data: Mapping[str, Any]) -> Dataset:
    """Return a data set from its description, which anyone may have written.

    Raises:
        ValueError: It is no description, or its name does not fit its content.
    """
    parts: dict[str, Any] = {}
    for key, kind in _DESCRIBED.items():
        if type(data.get(key)) is not kind:
            raise ValueError(f"its {key} is no {kind.__name__}")
        parts[key] = tuple(data[key]) if kind is list else data[key]
    about = Dataset(source="workers.data.custom:arrays", **parts)
    numbers = *about.mean, *about.std
    finite = all(type(one) is float and math.isfinite(one) for one in numbers)
    if not finite or min(about.std, default=1) <= 0:
        raise ValueError("its mean or std is no list of numbers to scale by")
    counts = [parts[key] for key, kind in _HASHED.items() if kind is int and key != "padding"]
    if min(counts) < 1 or about.padding < 0:
        raise ValueError("its numbers are too small")
    if not len(about.mean) == len(about.std) == about.channels:
        raise ValueError("its numbers do not fit each other")
    if about.name.rpartition("-")[2] != _digest(about):
        raise ValueError("its name does not fit its content")
    return about


@contextmanager
def publishing(names: Iterable[str], store: Store) -> Iterator[None]:
    """Write the user's own ones of some data sets into a store, unless it has them.

    In the context nobody removes them as unused: write there what names their trials.

    Raises:
        DataError: The original files are gone, or differ now.
        StoreError: The store can't be written, or others keep writing the same for an hour.
    """
    from workers.data import folder

    with ExitStack() as leases:
        for name in sorted(CUSTOM.keys() & {*names}):
            about = CUSTOM[name]
            leases.enter_context(store.leases.wait(layout.dataset_lease(name), _LONGEST_WRITE))
            if not store.has(layout.dataset(name)):
                folder.arrays(about)  # which makes the file if it is not there
                data = folder.kept(about).read_bytes()
                # The description last: what it names is there for whoever finds it.
                store.put(layout.dataset_arrays(name), data, durable=True)
                described = json.dumps(to_json(about), indent=1).encode()
                store.put(layout.dataset(name), described, durable=True)
        yield


def from_stores(name: str) -> Dataset:
    """Return a data set that a store of this process describes, and enter it into the catalog.

    Raises:
        SpecError: None does.
    """
    for store in reversed([*ATTACHED.values()]):
        try:
            about = from_json(parse_json(store.get(layout.dataset(name), most=LARGEST_DESCRIPTION)))
        except (MissingKey, StoreError, ValueError, AttributeError):
            continue
        if about.name == name:
            return CUSTOM.setdefault(name, about)
    fix = "name its file in the experiment, or read a store whose launch used it"
    raise SpecError(f"no description of the data set {name!r} is here", fix=fix)


def arrays(about: Dataset) -> Split:
    """Return a data set's arrays, from its files or from a store of this process.

    Raises:
        DataError: Neither has them.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from workers.data.folder import sha256

    if source := _SOURCES.get(about.name):
        with suppress(DataError):
            found, split = _read(source)
            if found.name == about.name:
                return split
    # Labels, and what safetensors adds.
    most = 2 * about.channels * about.size**2 * (about.train + about.test) + 10_000_000
    for store in reversed([*ATTACHED.values()]):
        try:
            read = load(store.get(layout.dataset_arrays(about.name), most=most))
            split = Split(*(np.ascontiguousarray(read[name]) for name in Split._fields))
        except (MissingKey, StoreError, SafetensorError, KeyError):
            continue
        if sha256(split) == about.sha256:
            return split
    what = f"the arrays of {about.name} are in no store of this process, and not in its files"
    raise DataError(what, fix="put the files back, or launch with the store that has them")
