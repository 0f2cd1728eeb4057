"""The grid of an experiment: cells and their variants, datasets, learning rates and seeds.

The product of the axes is the experiment's trials. `Bases` reads `grid.genotype`, `Variants` reads
`grid.variants`, and `find` gives a cell by the name that a user writes on the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticKnownError

from orchestrator.config.axes import Axes
from orchestrator.config.documents import (
    STRICT,
    Axis,
    Document,
    Problem,
    at_key,
    check_axis,
    check_distinct,
    check_known,
    mapping_of,
    one_of,
    read_document,
    read_named,
    read_text,
    refuse,
    show,
    unknown_keys,
)
from results_schema.errors import ConfigError, DataError, SpecError, suggest
from results_schema.genotype import Genotype
from results_schema.plugins import registry
from workers.cells.bases import NAMES, named, official_name, zoo, zoo_genotype
from workers.cells.notation import FIELDS, parse_genotype, parse_text
from workers.cells.sampling import Profile, Sampling, Stratified, Uniform, UniformOperations
from workers.cells.topology import reconcat
from workers.cells.variants import Variant, connection_variants, operation_variants
from workers.data.catalog import describe
from workers.data.custom import SOURCES, plugged, register

MAX_MEMBERS = 100_000
LONGEST_NAME = 60
ZOO = "zoo:"
"""Begins a name of the zoo where the paper has the name too, such as zoo:SNAS."""

SUFFIXES = (".json", ".yaml", ".yml", ".txt")
"""Suffixes of files with a genotype."""


@dataclass(frozen=True)
class Base:
    """A genotype that variants are drawn from.

    Attributes:
        name: Name of a published cell, of one of the zoo, or the user's own.
        genotype: Its two cells.
        file: The file that they were read from, if any.
    """

    name: str
    genotype: Genotype
    file: Path | None = field(default=None, compare=False)

    @property
    def published(self) -> bool:
        """Whether this is the paper's cell of this name, by which its own sets of variants go."""
        return self.name in NAMES and named(self.name) == self.genotype

    @property
    def origin(self) -> str | Genotype:
        """What the samplers take: the name of a published cell, or the genotype."""
        return self.name if self.published else self.genotype


def load_genotype(path: Path) -> Genotype:
    """Read a genotype from a file: .json, .yaml or .yml, or .txt with `Genotype(normal=…, …)`.

    Raises:
        SpecError: The file cannot be read, or holds no valid genotype; the error names the file
            and, where it applies, the line, or the cell, node and edge.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        what = f"a genotype in a {path.suffix or 'nameless'} file"
        raise SpecError(what, where=str(path), fix=f"use {', '.join(SUFFIXES)}")
    try:
        if kind == ".txt":
            return parse_text(read_text(path).removeprefix("\ufeff"))
        return parse_genotype(read_document(path).data)
    except ConfigError as error:
        raise SpecError(error.what, where=error.where, fix=error.fix) from error
    except SpecError as error:
        where = ": ".join(filter(None, (str(path), error.where)))
        raise SpecError(error.what, where=where, fix=error.fix) from error


def find(what: str) -> Base:
    """Return the cell of a name or file. The paper's names come before the zoo's.

    Raises:
        ConfigError: There is no such name.
        SpecError: The file or the zoo's entry holds no sound genotype.
    """
    if Path(what).suffix.lower() in SUFFIXES:
        return Base(Path(what).stem, load_genotype(Path(what)))
    if what.startswith(ZOO):
        return Base(what, zoo_genotype(what.removeprefix(ZOO)))
    try:
        name = official_name(what)
    except SpecError as error:
        if what in zoo():
            return Base(what, zoo_genotype(what))
        lists = f"`nas-sweep cells` lists the names; a file ends in {', '.join(SUFFIXES)}"
        fix = suggest(what, (*NAMES, *zoo()), otherwise=lists)
        raise ConfigError(f"no cell is called {what!r}", fix=fix) from error
    return Base(name, named(name))


_KEYS = {
    "zoo": ("zoo", "name"),
    "file": ("file", "name"),
    "text": ("name", "text"),
    "normal": ("name", *FIELDS),
}
"""The key that gives the source of a genotype, with all keys that may be used beside it."""


def _read_base(value: Any, info: ValidationInfo) -> Base:
    if isinstance(value, str):
        return _published(value)
    if not isinstance(value, dict):
        raise PydanticKnownError("string_type")
    source = next((key for key in _KEYS if key in value), None)
    if source is None:
        raise SpecError(
            f"{show(value)} is no genotype",
            fix="name a published cell, or write {zoo: NAME}, {file: PATH}, "
            "{name: NAME, text: Genotype(…)} or {name: NAME, " + ": …, ".join(FIELDS) + ": …}",
        )
    if problems := unknown_keys(value, _KEYS[source]):
        raise refuse(problems)
    for key, given in value.items():
        if key not in FIELDS and not isinstance(given, str):
            with at_key(key, given):
                raise SpecError(f"{key} is {show(given)}", fix="write text")
    folder = (info.context or {}).get("folder", Path())
    try:
        default, genotype = _read_genotype(source, value, folder)
    except SpecError as error:
        cell = error.where.partition(" ")[0]  # "normal" or "reduce", if it is written out
        key = cell if cell in value else source
        with at_key(key, value[key]):
            raise
    with at_key("name", value.get("name")):
        name = _check_name(value.get("name", default), genotype)
    return Base(name, genotype, folder / value["file"] if source == "file" else None)


def _published(name: str) -> Base:
    try:
        return Base(official_name(name), named(name))
    except SpecError as error:
        if name in zoo():
            raise SpecError(error.what, fix=f"write {{zoo: {name}}}") from error
        raise


def _read_genotype(source: str, value: dict[str, Any], folder: Path) -> tuple[str | None, Genotype]:
    """Return the genotype, and the name that its source gives it."""
    if source == "zoo":
        return value["zoo"], zoo_genotype(value["zoo"])
    if source == "file":
        path = folder / value["file"]
        return path.stem, load_genotype(path)
    if source == "text":
        return None, parse_text(value["text"])
    return None, parse_genotype({field: value[field] for field in FIELDS if field in value})


def _check_name(name: str | None, genotype: Genotype) -> str:
    fix = "add a name of its own, such as name: mine"
    if name is None:
        raise SpecError("the genotype has no name", fix=fix)
    plain = name.isprintable() and name == " ".join(name.split())
    if not plain or not 0 < len(name) <= LONGEST_NAME:
        raise SpecError(
            f"{show(name)} is no name", fix=f"use one line of at most {LONGEST_NAME} characters"
        )
    try:
        official = official_name(name)
    except SpecError:
        return name
    if named(official) != genotype:
        raise SpecError(f"{name} is the name of a published cell, and this is another", fix=fix)
    return official


def _check_bases(bases: tuple[Base, ...]) -> tuple[Base, ...]:
    check_axis(tuple(base.name for base in bases))
    return bases


Bases = Annotated[
    tuple[Annotated[Base, PlainValidator(_read_base)], ...], AfterValidator(_check_bases)
]
"""The value of `grid.genotype`; paths of files start at the context's `folder`."""


SAMPLINGS = {"profile": Profile, "uniform": Uniform, "stratified": Stratified}

CONNECTIONS = ("paper4", "paper10", "paper13", "main_text", *SAMPLINGS)
"""Sets of connection variants: the paper's own, and those drawn with options."""

OPERATIONS = ("paper10", "legacy", "uniform")
"""Sets of operation variants: the paper's own, and one drawn with options."""

REDUCTIONS = ("drawn", "kept")
"""A variant's reduction cell: drawn like its normal cell, as published, or the base's."""


def _one_set(kind: str, known: Sequence[str], drawn: Mapping[str, type[Any]]) -> PlainValidator:
    """Return a validator of a set's name, or of the options of one that is drawn."""

    def read(value: Any) -> Any:
        mode, options = read_named(value, "mode", f"set of {kind} variants", known)
        if mode in drawn:
            return mapping_of(drawn[mode])(options)
        if options:
            raise refuse(unknown_keys(options, ["mode"]))
        return mode

    return PlainValidator(read)


_CONNECTIONS = _one_set("connection", CONNECTIONS, SAMPLINGS)
_OPERATIONS = _one_set("operation", OPERATIONS, {"uniform": UniformOperations})


class Variants(BaseModel, **STRICT):
    """The variants of every base: a set of connection variants, one of operations, or none."""

    connections: Annotated[str | Sampling | None, _CONNECTIONS] = None
    operations: Annotated[str | UniformOperations | None, _OPERATIONS] = None
    indices: Axis[Annotated[int, Field(ge=1)]] = ()
    reduction: Annotated[str, one_of("kind of reduction cell", REDUCTIONS)] = "drawn"

    @model_validator(mode="after")
    def _check_sets(self) -> Variants:
        if self.connections and self.operations:
            raise SpecError(
                "connections and operations are both given",
                fix="keep one; a second experiment shares the trials of the bases",
            )
        if not (self.connections or self.operations):
            for key in sorted(self.model_fields_set & {"indices", "reduction"}):
                raise SpecError(f"{key} of no variants", fix="add connections or operations")
        return self

    def of(self, base: Base) -> list[Variant]:
        """Return the variants of a base, by index.

        Raises:
            SpecError: The base has no such set, its drawing fails, or an index is not in it.
        """
        drawn = _draw(base, self.connections, self.operations)
        if missing := set(self.indices) - {variant.index for variant in drawn}:
            raise SpecError(
                f"there is no variant {min(missing)}", fix=f"use indices from 1 to {len(drawn)}"
            )
        chosen = [v for v in drawn if not self.indices or v.index in self.indices]
        if self.reduction == "drawn":
            return chosen
        kept = base.genotype.reduce
        return [replace(v, genotype=replace(v.genotype, reduce=kept)) for v in chosen]


@cache
def _draw(
    base: Base, connections: str | Sampling | None, operations: str | UniformOperations | None
) -> tuple[Variant, ...]:
    if connections:
        return tuple(connection_variants(base.origin, connections))
    if not operations:
        return ()
    return tuple(
        Variant(v.index, v.name if v.name.startswith("OPS") else f"ops {v.name}", v.genotype)
        for v in operation_variants(base.origin, operations)
    )


def _read_variants(value: Any) -> Variants:
    """Validate `grid.variants`: `none`, a set of connection variants, or keys and values."""
    if not isinstance(value, dict):
        check_known(value, "set of variants", ("none", *CONNECTIONS))
        value = {} if value == "none" else {"connections": value}
    return Variants.model_validate_json(json.dumps(value))


def _read_dataset(value: Any, info: ValidationInfo) -> str:
    """Return the name of a data set; one of the user's own is read, and named by its content."""
    kinds = [kind for kind in SOURCES if isinstance(value, dict) and kind in value]
    if isinstance(value, str):
        if value not in registry("dataset").plugged:
            return describe(value).name
        source = plugged(value)
    elif len(kinds) == 1:
        folder = (info.context or {}).get("folder", Path())
        source = mapping_of(SOURCES[kinds[0]])(value).below(folder)
    else:
        fix = "write a name, {npz: FILE, …} or {folder: FOLDER, …}"
        raise SpecError(f"{show(value)} is no data set", fix=fix)
    try:
        return register(source)
    except DataError as error:
        where = f"{error.where}: " if error.where else ""
        raise SpecError(f"{where}{error.what}", fix=error.fix) from error


class Grid(BaseModel, **STRICT):
    """The axes."""

    genotype: Bases = Field(description="published cells, such as [DARTS, ENAS]")
    variants: Annotated[Variants, PlainValidator(_read_variants)] = Variants()
    reconcat: bool = False
    dataset: Annotated[
        tuple[Annotated[str, PlainValidator(_read_dataset)], ...], AfterValidator(check_distinct)
    ] = Field(description="datasets, such as [cifar10]; [] if cells are only drawn")
    learning_rate: Axis[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = (0.025,)
    seed: Axis[Annotated[int, Field(ge=0)]] = (0,)

    def cells(self, base: Base) -> list[Variant]:
        """Return the base itself, as index 0, and its variants.

        Raises:
            SpecError: The base has no such variants.
        """
        cells = [Variant(0, base.name, base.genotype), *self.variants.of(base)]
        if self.reconcat:
            cells = [replace(cell, genotype=reconcat(cell.genotype)) for cell in cells]
        return cells

    def names(self) -> dict[str, Sequence[Any]]:
        """Return how an entry of `exclude` may name values: genotypes, data sets and cells."""
        short = [name.rpartition("-")[0] or name for name in self.dataset]
        indices = {cell.index for base in self.genotype for cell in self.cells(base)}
        return {
            "genotype": [base.name for base in self.genotype],
            "dataset": short if len(set(short)) == len(short) else self.dataset,
            "index": sorted(indices),
        }


def check_product(grid: Grid, axes: Axes, document: Document, files: set[str]) -> Iterator[Problem]:
    """Yield the problems that no axis shows alone: a base without such variants, too many trials.

    Args:
        grid: A grid whose own axes are sound.
        axes: All of its axes.
        document: The document that the grid was read from.
        files: The experiment's files; a missing variant is reported at the base unless an
            override set the variants.
    """
    cells = []
    for position, base in enumerate(grid.genotype):
        try:
            cells.append(len(grid.cells(base)))
        except SpecError as error:
            place = document.place(("grid", "variants"))
            if place.source in files:
                place = document.place(("grid", "genotype", position))
            what = error.what if base.name in error.what else f"{base.name}: {error.what}"
            yield Problem(place, f"grid.variants: {what}", error.fix)
    size = axes.size(cells) if len(cells) == len(grid.genotype) else 0
    if size > MAX_MEMBERS:
        what = f"the grid has {size:,} trials"
        yield Problem(document.place(("grid",)), what, f"stay within {MAX_MEMBERS:,}")
