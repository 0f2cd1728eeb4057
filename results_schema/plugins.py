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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from results_schema.errors import ConfigError, SpecError, suggest

GROUP = "nas_sweep.plugins"
"""Group of entry points by which an installed package offers plug-ins."""
SUFFIX = ".py"
"""Tells a plug-in's file from the name of an entry point."""
BUILT_IN = "nas-sweep"
"""Origin of the entries that are no plug-in's."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
"""What the name of an entry looks like."""
EXTENSION = re.compile(rf"(?P<kind>[a-z]+):(?P<name>{NAME.pattern})@(?P<version>[1-9][0-9]{{0,8}})")
"""A plug-in's entry as the identity of a trial names it."""
COMPUTING = ("operation", "dataset", "optimizer", "schedule", "augmentation")
"""Kinds of entries that workers use: they load the plug-ins that have one."""
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Entry:
    """One thing that an experiment may name.

    Attributes:
        kind: What it is, such as "operation".
        name: As the experiment writes it.
        value: The thing itself, or "module:attribute", which is imported when it is first used.
        version: Counts changes that change numbers; part of the identity of what uses the entry.
        origin: The plug-in that entered it, or `BUILT_IN`.
        about: What its kind declares of it besides, such as options.
    """

    kind: str
    name: str
    value: Any
    version: int = 1
    origin: str = BUILT_IN
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def extension(self) -> str:
        """Its kind, name and version, as the identity of a trial has them; empty if built in."""
        return "" if self.origin == BUILT_IN else f"{self.kind}:{self.name}@{self.version}"

    def resolve(self) -> Any:
        """Return the thing itself."""
        return pkgutil.resolve_name(self.value) if isinstance(self.value, str) else self.value


class Registry(dict[str, Entry]):
    """The entries of one kind by name; what is not there is a `SpecError`.

    Args:
        kind: What they are, in a word or two, such as "operation".
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, name: str) -> Entry:
        raise SpecError(f"unknown {self.kind} {name!r}", fix=suggest(name, self))

    def enter(self, name: str, value: Any, version: int = 1, **about: Any) -> None:
        """Add an entry, from the plug-in that is being loaded if one is.

        Raises:
            ConfigError: The name is taken or is no name, or the version is no positive integer.
        """
        origin = _loading[-1] if _loading else BUILT_IN
        if not isinstance(name, str) or not NAME.fullmatch(name):
            fix = "use a letter, then letters, digits and _, at most 40 in all"
            raise ConfigError(f"{name!r} is no name of {_article(self.kind)}", fix=fix)
        if type(version) is not int or version < 1:
            what = f"version of the {self.kind} {name} is {version!r}"
            raise ConfigError(what, fix="use a whole number from 1")
        if name in self:
            what = f"{_article(self.kind)} {name!r} is there already, from {self[name].origin}"
            raise ConfigError(what, fix="give one of them another name")
        self[name] = Entry(self.kind, name, value, version, origin, about)

    @property
    def plugged(self) -> dict[str, str]:
        """The `extension` of each entry of a plug-in, by its name."""
        return {name: entry.extension for name, entry in self.items() if entry.extension}

    def decorator(self, name: str, version: int, **about: Any) -> Callable[[Value], Value]:
        """Return a decorator that enters what it decorates.

        In a program that runs or imports a plug-in's file itself it does nothing: workers could not
        find the entry.

        Raises:
            ConfigError: It stands without a name, so that what it decorates takes its place.
        """
        if callable(name):
            what = f"nas_sweep.{self.kind} decorates without a name"
            named = getattr(name, "__name__", "NAME")
            raise ConfigError(what, fix=f'write @nas_sweep.{self.kind}("{named}", version=1)')

        def enter(value: Value) -> Value:
            if _loading:
                self.enter(name, value, version, **about)
            return value

        return enter

    def withdraw(self, origin: str) -> None:
        """Remove a plug-in's entries."""
        for name in [name for name, entry in self.items() if entry.origin == origin]:
            del self[name]


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
        digest: Beginning of the SHA-256 of its file, or of the files of an installed package.
        path: Its file.
        release: Distribution and version that an entry point comes from, or empty.
    """

    name: str
    digest: str
    path: Path
    release: str = ""

    def sent(self) -> dict[str, str]:
        """Return what a worker needs to find the same."""
        return {"name": self.name, "digest": self.digest, "path": str(self.path)}


LOADED: dict[str, Plugin] = {}
"""Every loaded plug-in by name."""

_loading: list[str] = []
"""Plug-ins that are being imported; the last one enters what is entered."""


def load(name: str, folder: Path = Path()) -> Plugin:
    """Load a plug-in: a file by its path from a folder, or what an installed package offers.

    Raises:
        ConfigError: It does not exist, it fails, or another plug-in has its name.
    """
    return load_file(folder / name) if name.endswith(SUFFIX) else load_installed(name)


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
            return plugin
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
        many = f"{len(points)} packages offer" if points else "no installed package offers"
        fix = suggest(name, installed()) if installed() else "name a file, such as my_ops.py"
        raise ConfigError(f"{many} a plug-in {name!r}", fix=fix)
    [point] = points
    release = f"{point.dist.name} {point.dist.version}" if point.dist else ""
    with _entering(Plugin(name, "", Path(point.module), release), f"plug-in {name} of {release}"):
        found = importlib.util.find_spec(point.module)
        path = Path(found.origin) if found and found.origin else Path(point.module)
        # All of a package, as one of its modules may import any other.
        packaged = found is not None and ("." in point.module or found.submodule_search_locations)
        files = sorted(path.parent.rglob("*.py")) if packaged else [path]
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        point.load()
    LOADED[name] = Plugin(name, digest[:10], path, release)
    return LOADED[name]


def installed() -> list[str]:
    """Return the names under which installed packages offer plug-ins."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def load_as_sent(sent: Mapping[str, str], shipped: Path) -> None:
    """Load a launch's plug-in on a worker.

    Args:
        sent: What `Plugin.sent` returned in the launch's process.
        shipped: Folder in which files that came with the launch's code are.

    Raises:
        ConfigError: It is not here, fails, or differs from the launch's.
    """
    name, digest = sent["name"], sent["digest"]
    if not name.endswith(SUFFIX):
        plugin = load_installed(name)
    else:
        file = shipped / name
        plugin = load_file(file if file.is_file() else Path(sent["path"]))
    if plugin.digest != digest:
        what = f"the plug-in {name} has digest {plugin.digest} here, and {digest} in this launch"
        raise ConfigError(what, where=str(plugin.path))


def computing() -> list[Plugin]:
    """Return the loaded plug-ins that workers need."""
    origins = {one.origin for kind in COMPUTING for one in registry(kind).values()}
    return [plugin for name, plugin in LOADED.items() if name in origins]


def require(extensions: Iterable[str]) -> None:
    """Raise `SpecError` unless each entry that a trial depends on is loaded, in its version."""
    for one in extensions:
        kind, _, named = one.partition(":")
        name, _, version = named.partition("@")
        entry = registry(kind).get(name)
        if entry is None or entry.extension != one:
            there = f", and version {entry.version} is loaded" if entry else ""
            what = f"the {kind} {name}, version {version}, is needed from a plug-in{there}"
            fix = "name its plug-in under `plugins:`, or load it with nas_sweep.load_plugin"
            raise SpecError(what, fix=fix)


def sources(extensions: Iterable[str]) -> list[str]:
    """Return file and digest of the plug-ins that entries of a trial come from, for its log."""
    names = [one.partition("@")[0].split(":") for one in extensions]
    entries = [registry(kind).get(name) for kind, name in names]
    origins = {entry.origin for entry in entries if entry}
    return [f"plug-in {one}, digest {LOADED[one].digest}" for one in sorted(origins & {*LOADED})]


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
