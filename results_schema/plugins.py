"""Registries of what an experiment may name, and the plug-ins that add entries to them.

Each package that uses a kind of entry has its registry, and enters what is built in there. A
plug-in is a Python file, or an installed entry point of the group `nas_sweep.plugins`, that enters
more with the decorators of `nas_sweep`. Only the standard library is imported here, so that a
plug-in can be imported on a bare worker node.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from results_schema.errors import ConfigError, SpecError, suggest

GROUP = "nas_sweep.plugins"
"""Group of entry points by which an installed package offers plug-ins."""
BUILT_IN = "nas-sweep"
"""Origin of the entries that are no plug-in's."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """One thing that an experiment may name.

    Attributes:
        name: As the experiment writes it.
        value: The thing itself, or "module:attribute", which is imported when it is first used.
        version: Counts changes that change numbers; part of the identity of what uses the entry.
        origin: The plug-in that entered it, or `BUILT_IN`.
        about: What its kind declares of it besides, such as options.
    """

    name: str
    value: Any
    version: int = 1
    origin: str = BUILT_IN
    about: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self) -> Any:
        """Return the thing itself."""
        return pkgutil.resolve_name(self.value) if isinstance(self.value, str) else self.value


class Registry(Mapping[str, Entry]):
    """The entries of one kind by name.

    Args:
        kind: What they are, in a word or two, such as "operation".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        """Return an entry.

        Raises:
            SpecError: There is none of this name.
        """
        if name not in self._entries:
            raise SpecError(f"unknown {self.kind} {name!r}", fix=suggest(name, self._entries))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def enter(self, name: str, value: Any, version: int = 1, **about: Any) -> None:
        """Add an entry, from the plug-in that is being loaded if one is.

        Raises:
            ConfigError: The name is taken or is no name, or the version is no positive integer.
        """
        origin = _loading[-1] if _loading else BUILT_IN
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            fix = "use a letter, then letters, digits and _, at most 40 in all"
            raise ConfigError(f"{name!r} is no name of {_article(self.kind)}", fix=fix)
        if type(version) is not int or version < 1:
            what = f"version of the {self.kind} {name} is {version!r}"
            raise ConfigError(what, fix="use a whole number from 1")
        if name in self._entries:
            by = self._entries[name].origin
            fix = "give one of them another name"
            raise ConfigError(
                f"{_article(self.kind)} {name!r} is there already, from {by}", fix=fix
            )
        self._entries[name] = Entry(name, value, version, origin, about)

    def decorator(self, name: str, version: int, **about: Any) -> Callable[[Value], Value]:
        """Return a decorator that enters what it decorates."""

        def enter(value: Value) -> Value:
            self.enter(name, value, version, **about)
            return value

        return enter

    def withdraw(self, origin: str) -> None:
        """Remove a plug-in's entries."""
        self._entries = {n: e for n, e in self._entries.items() if e.origin != origin}


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


REGISTRIES: dict[str, Registry] = {}
"""Every registry by its kind."""


def registry(kind: str) -> Registry:
    """Return the registry of a kind, made at its first use."""
    return REGISTRIES.setdefault(kind, Registry(kind))


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is loaded.

    Attributes:
        name: How it is named: its file's name, or an entry point.
        digest: Beginning of the SHA-256 of its file.
        path: Its file.
        release: Distribution and version that an entry point comes from, or empty.
    """

    name: str
    digest: str
    path: Path
    release: str = ""


LOADED: dict[str, Plugin] = {}
"""Every loaded plug-in by name."""

_loading: list[str] = []
"""Plug-ins that are being imported; the last one enters what is entered."""


def load_file(path: Path) -> Plugin:
    """Import a plug-in from a file, once.

    Raises:
        ConfigError: There is no such file, it fails, or another plug-in has its name.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"there is no plug-in: {error.strerror or error}"
        raise ConfigError(
            what, where=str(path), fix="paths begin at the experiment's file"
        ) from error
    plugin = Plugin(path.name, hashlib.sha256(content).hexdigest()[:10], path.resolve())
    known = LOADED.get(plugin.name)
    if known is not None:
        if known.digest == plugin.digest:
            return known
        what = f"another plug-in of this name is loaded, from {known.path}"
        raise ConfigError(what, where=str(path), fix="rename one of the files")
    # Named by its content, so that it never shadows a module of the user's.
    name = f"nas_sweep_plugin_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}_{plugin.digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("a plug-in is a Python file", where=str(path), fix="name a .py file")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    with _entering(plugin, str(path)):
        _execute(module, loader)
    return plugin


def _execute(module: ModuleType, loader: Any) -> None:
    # Dataclasses and pickles look their module up while it is being imported.
    sys.modules[module.__name__] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[module.__name__]
        raise


def load_installed(name: str) -> Plugin:
    """Import the plug-in that an installed package offers under a name, once.

    Raises:
        ConfigError: No package or several offer it, or it fails.
    """
    if name in LOADED:
        return LOADED[name]
    points = [point for point in metadata.entry_points(group=GROUP) if point.name == name]
    if len(points) != 1:
        known = sorted({point.name for point in metadata.entry_points(group=GROUP)})
        many = f"{len(points)} packages offer" if points else "no installed package offers"
        fix = suggest(name, known) if known else "name a file, such as my_ops.py"
        raise ConfigError(f"{many} a plug-in {name!r}", fix=fix)
    [point] = points
    found = importlib.util.find_spec(point.module)
    path = Path(found.origin) if found and found.origin else Path(point.module)
    content = path.read_bytes() if path.is_file() else b""
    release = f"{point.dist.name} {point.dist.version}" if point.dist else ""
    plugin = Plugin(name, hashlib.sha256(content).hexdigest()[:10], path, release)
    with _entering(plugin, f"plug-in {name} of {release}"):
        point.load()
    return plugin


@contextmanager
def _entering(plugin: Plugin, where: str) -> Iterator[None]:
    """Enter what a plug-in registers under its name; withdraw all of it if it fails."""
    _loading.append(plugin.name)
    try:
        yield
    except BaseException as error:
        for one in REGISTRIES.values():
            one.withdraw(plugin.name)
        if isinstance(error, ConfigError):
            place = f"{plugin.path}:{_line(error, plugin.path)}"
            raise ConfigError(error.what, where=place, fix=error.fix) from error
        if not isinstance(error, Exception | SystemExit):
            raise
        place = f"{plugin.path}:{_line(error, plugin.path)}" if plugin.path.is_file() else where
        what = f"the plug-in fails: {type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(what, where=place, fix="import it with Python to see more") from error
    finally:
        _loading.pop()
    LOADED[plugin.name] = plugin


def _line(error: BaseException, path: Path) -> int:
    """Return the last line of a file that an error came through, or that it is about."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno or 1 for frame in frames if Path(frame.filename).resolve() == path]
    return lines[-1] if lines else 1
