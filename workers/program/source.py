"""The source of a program: found and checked without running it, hashed, imported by a worker.

`plan` reads it alone: a program imports torch, which takes seconds. Only the standard library is
imported here.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_schema.errors import ConfigError, suggest
from results_schema.program import PROGRAM

LARGEST = 5_000_000
"""Bytes beyond which a source file is refused."""


@dataclass(frozen=True)
class Source:
    """Where a program is.

    Attributes:
        program: Its name, as the experiment writes it.
        root: Folder that imports begin at: the experiment's, or an entry of `sys.path`.
        files: Its file, then those of the modules below the root that it imports, and that they
            import: paths from the root.
        digest: Beginning of the SHA-256 of these files.
    """

    program: str
    root: Path
    files: tuple[str, ...]
    digest: str

    @property
    def path(self) -> Path:
        """The file that has the function."""
        return self.root / self.files[0]

    def sent(self) -> dict[str, str]:
        """Return what a worker needs to find the same."""
        return {"program": self.program, "root": str(self.root), "digest": self.digest}

    @contextmanager
    def imported(self) -> Iterator[Callable[[Any], Any]]:
        """Import the program and yield its function; forget its modules at the end.

        Raises:
            ConfigError: A module of its name is there already, or it has no such function.
        """
        name = ".".join(Path(self.files[0]).with_suffix("").parts).replace("-", "_")
        if name in sys.modules:
            what = f"a module {name} is there already, from {sys.modules[name].__file__}"
            raise ConfigError(what, where=str(self.path), fix="rename the program's file")
        found = importlib.util.spec_from_file_location(name, self.path)
        if found is None or found.loader is None:
            raise ConfigError("a program is a Python file", where=str(self.path))
        before, module = set(sys.modules), importlib.util.module_from_spec(found)
        sys.path.insert(0, str(self.root))
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
            function = self.program.partition(":")[2]
            if not callable(made := getattr(module, function, None)):
                raise ConfigError(f"it has no function {function}", where=str(self.path))
            yield made
        finally:
            sys.path.remove(str(self.root))
            # The process may run another program next, whose modules may have the same names.
            own = {str((self.root / file).resolve()) for file in self.files}
            for each in set(sys.modules) - before:
                file = getattr(sys.modules[each], "__file__", None)
                if file and str(Path(file).resolve()) in own:
                    del sys.modules[each]

    def line_of(self, error: BaseException) -> str:
        """Return the file and line of the program that an error came through last, or its file."""
        own = {str((self.root / file).resolve()): file for file in self.files}
        place, trace = self.files[0], error.__traceback__
        while trace is not None:
            file = str(Path(trace.tb_frame.f_code.co_filename).resolve())
            if file in own:
                place = f"{own[file]}:{trace.tb_lineno}"
            trace = trace.tb_next
        return place


FOUND: dict[str, Source] = {}
"""The programs of experiments that this process has read, by name."""


def find_as_sent(sent: Mapping[str, str], shipped: Path) -> Source:
    """Return the source of a launch's program, which was `sent`, on a worker.

    `shipped` is the folder of folders of files that came with the launch's code, by digest.

    Raises:
        ConfigError: It is not here, or differs from the launch's.
    """
    came = shipped / sent["digest"]
    fix = "put the same file there, or add --ship-code, which sends it along"
    try:
        source = find(sent["program"], came if came.is_dir() else Path(sent["root"]), search=False)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where, fix=fix) from error
    if source.digest != sent["digest"]:
        what = f"the program has digest {source.digest} here, and {sent['digest']} in this launch"
        fix = f"launch again if it was edited meanwhile; else {fix}"
        raise ConfigError(what, where=str(source.path), fix=fix)
    return source


def find(program: str, folder: Path, *, search: bool = True) -> Source:
    """Return the source of a program, whose file's path begins at the experiment's folder.

    With `search` a module is looked for on `sys.path` too, and first.

    Raises:
        ConfigError: There is no such file or function, or it is not Python.
    """
    parts = PROGRAM.fullmatch(program)
    if parts is None:
        fix = "write FILE.py:FUNCTION or MODULE:FUNCTION, such as my_lab/train.py:train"
        raise ConfigError(f"{program!r} names no program", fix=fix)
    place, function = parts["place"], parts["function"]
    if "/" in place or place.endswith(".py"):
        path = Path(place)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".py":
            fix = "name a .py file in the experiment's folder, or a module on Python's path"
            raise ConfigError(f"{place} is no file in the experiment's folder", fix=fix)
        root = folder.resolve()
    else:
        path = Path(*place.split(".")).with_suffix(".py")
        roots = (Path(entry or ".").resolve() for entry in sys.path if search)
        root = next((one for one in roots if (one / path).is_file()), folder.resolve())
    if not (root / path).is_file():
        near = [str(one.relative_to(root)) for one in root.glob("*.py")]
        fix = suggest(str(path), near, otherwise="paths begin at the experiment's file")
        raise ConfigError(f"there is no program {path}", where=str(root), fix=fix)
    _check_function(_parse(root / path), function, root / path)
    files = _with_imports(root, path)
    found = hashlib.sha256()
    for file in sorted(files):
        content = _read(root / file)
        found.update(f"{file} {len(content)}\n".encode() + content)
    return Source(program, root, files, found.hexdigest()[:10])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > LARGEST:
        raise ConfigError(f"it has more than {LARGEST:,} bytes", where=str(path))
    return content


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(_read(path), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        what = f"not Python: {getattr(error, 'msg', error)}"
        raise ConfigError(what, where=f"{path}:{line}", fix="correct the program") from error


def _check_function(module: ast.Module, function: str, path: Path) -> None:
    defined = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
    if function not in defined:
        fix = suggest(function, defined) if defined else "define one that takes one argument"
        raise ConfigError(f"it defines no function {function}", where=str(path), fix=fix)
    found = defined[function].args
    needed = len(found.posonlyargs) + len(found.args) - len(found.defaults)
    asked = [None for default in found.kw_defaults if default is None]
    several = len(found.posonlyargs) + len(found.args) + bool(found.vararg)
    if needed > 1 or not several or asked:
        what = f"{function} can't be called with one argument"
        fix = "let it take the trial alone; its parameters are trial.params"
        raise ConfigError(what, where=f"{path}:{defined[function].lineno}", fix=fix)


def _with_imports(root: Path, path: Path) -> tuple[str, ...]:
    """Return a file and those below the root that it imports, directly or not."""
    found, waiting = dict[str, None](), [path]
    while waiting:
        file = waiting.pop()
        if file.as_posix() in found:
            continue
        found[file.as_posix()] = None
        for node in ast.walk(_parse(root / file)):
            names: list[tuple[str, ...]] = []
            if isinstance(node, ast.Import):
                names = [tuple(alias.name.split(".")) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = file.parent.parts[: len(file.parent.parts) - node.level + 1]
                start = (*(base if node.level else ()), *(node.module or "").split("."))
                start = tuple(filter(None, start))
                names = [start, *((*start, alias.name) for alias in node.names)]
            for name in names:
                for length in range(1, len(name) + 1):
                    module = Path(*name[:length])
                    for one in (module.with_suffix(".py"), module / "__init__.py"):
                        # A module of an installed package is not the program's own.
                        if (root / one).is_file() and "site-packages" not in root.parts:
                            waiting.append(one)
    return tuple(found)
