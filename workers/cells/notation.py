"""A user's own genotype: our JSON form, or the DARTS notation as JSON, YAML or Python's text."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge, Genotype
from workers.cells.readers import FIELDS, read_json, read_python, read_yaml

MOST_NODES = 100
"""Intermediate nodes of a cell that a file may ask for."""

_MOST_BYTES = 64_000


def load_genotype(path: str | Path) -> Genotype:
    """Reads a genotype from a file: .json, .yaml or .yml, or .txt with `Genotype(normal=…, …)`.

    Raises:
        SpecError: The file cannot be read, or holds no sound genotype; the error names the file
            and, where it applies, the cell, node and edge.
        MachineError: The file is YAML and ruamel.yaml is not installed.
    """
    path = Path(path)
    parsers = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml, ".txt": read_python}
    if path.suffix.lower() not in parsers:
        raise SpecError(
            f"a genotype in a {path.suffix or 'nameless'} file",
            where=str(path),
            fix=f"use {', '.join(parsers)}",
        )
    if path.exists() and not (
        path.is_file() or path.is_dir()
    ):  # opening a pipe would wait for a writer
        raise SpecError("this is no file", where=str(path))
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"cannot read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError("not UTF-8 text", where=str(path)) from error
    if len(data) > _MOST_BYTES:
        raise SpecError(f"larger than {_MOST_BYTES:,} bytes, so no genotype", where=str(path))
    try:
        return parse_genotype(parsers[path.suffix.lower()](text))
    except SpecError as error:
        raise _at(str(path), error) from error


def parse_genotype(data: Any) -> Genotype:
    """Builds a genotype from a mapping.

    Either `{"normal": {"nodes": [[[op, source], …], …], "concat": […]}, "reduce": …}`, or the
    DARTS notation `{"normal": [[op, source], …], "normal_concat": […], "reduce": …,
    "reduce_concat": …}` with two edges to a node, or the latter with [op, node, source] for nodes
    of any number of edges.

    Raises:
        SpecError: It is neither; the error names the cell, the node, the edge and what may stand
            there.
    """
    if isinstance(data, Mapping) and set(data) == {"normal", "reduce"}:
        return Genotype(*(_own_cell(name, data[name]) for name in ("normal", "reduce")))
    if isinstance(data, Mapping) and set(data) == set(FIELDS):
        return Genotype(
            *(_darts_cell(name, data[name], data[f"{name}_concat"]) for name in FIELDS[::2])
        )
    keys = f" with the keys {_short(list(data))}" if isinstance(data, Mapping) else ""
    raise SpecError(
        f"no genotype{keys}" if keys else f"a genotype is a mapping, not {_short(data)}",
        fix=f"use the keys {', '.join(FIELDS)}, or normal and reduce with nodes and concat",
    )


def parse_text(text: str) -> Genotype:
    """Builds a genotype from `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=…, …)`.

    Raises:
        SpecError: It is no such text, or its genotype is unsound.
    """
    return parse_genotype(read_python(text))


def _own_cell(name: str, data: Any) -> Cell:
    if not isinstance(data, Mapping) or set(data) != {"nodes", "concat"}:
        raise SpecError(
            f"not a mapping of nodes and concat but {_short(data)}", where=f"{name} cell"
        )
    nodes = _list(data["nodes"], f"{name} cell, nodes")
    return _cell(
        name,
        [
            [
                _edge(edge, f"{name} cell, node {node}, edge {position}", "op, source")
                for position, edge in enumerate(_list(edges, f"{name} cell, node {node}"))
            ]
            for node, edges in enumerate(nodes, start=INPUTS)
        ],
        _list(data["concat"], f"{name} cell, concat"),
    )


def _darts_cell(name: str, edges: Any, concat: Any) -> Cell:
    edges = _list(edges, f"{name} cell")
    concat = _list(concat, f"{name} cell, concat")
    if any(_is_list(edge) and len(edge) == 3 for edge in edges):
        return _cell(name, _from_triples(name, edges, concat), concat)
    pairs = [
        _edge(edge, f"{name} cell, node {i // 2 + INPUTS}, edge {i % 2}", "op, source")
        for i, edge in enumerate(edges)
    ]
    if len(pairs) % 2:
        raise SpecError(
            f"{len(pairs)} edges do not make two to a node",
            where=f"{name} cell",
            fix="add or drop an edge, or name every edge's node: [op, node, source]",
        )
    return _cell(name, [pairs[i : i + 2] for i in range(0, len(pairs), 2)], concat)


def _from_triples(
    name: str, edges: Sequence[Any], concat: Sequence[Any]
) -> list[list[Sequence[Any]]]:
    """The edges of each node, empty for one that only concat names."""
    last = INPUTS + MOST_NODES - 1
    nodes: dict[int, list[Sequence[Any]]] = {
        node: [] for node in concat if type(node) is int and INPUTS <= node <= last
    }
    for position, triple in enumerate(edges):
        where = f"{name} cell, edge {position} of the list"
        op, node, source = _edge(triple, where, "op, node, source")
        if type(node) is not int or not INPUTS <= node <= last:
            raise SpecError(
                f"{_short(node)} is no intermediate node",
                where=where,
                fix=f"use a whole number from {INPUTS} to {last}",
            )
        nodes.setdefault(node, []).append((op, source))
    return [nodes.get(node, []) for node in range(INPUTS, max(nodes) + 1)]


def _cell(name: str, nodes: Sequence[Sequence[Sequence[Any]]], concat: Sequence[Any]) -> Cell:
    if len(nodes) > MOST_NODES:
        raise SpecError(
            f"{len(nodes)} intermediate nodes",
            where=f"{name} cell",
            fix=f"use at most {MOST_NODES}",
        )
    try:
        cell = Cell(
            tuple(tuple(Edge(op, source) for op, source in edges) for edges in nodes),
            tuple(concat),
        )
    except SpecError as error:
        raise _at(f"{name} cell", error, ", ") from error
    if not cell.depth:
        raise SpecError(
            "no path leads from an input to the output",
            where=f"{name} cell",
            fix="connect a node of concat to an input",
        )
    return cell


def _edge(edge: Any, where: str, form: str) -> Sequence[Any]:
    parts = _list(edge, where)
    if len(parts) != form.count(",") + 1 or not isinstance(parts[0], str):
        raise SpecError(f"an edge is [{form}], not {_short(edge)}", where=where)
    return parts


def _list(value: Any, where: str) -> Sequence[Any]:
    if not _is_list(value):
        raise SpecError(f"not a list but {_short(value)}", where=where)
    if len(value) > MOST_NODES**2:
        raise SpecError(f"a list of {len(value)}, more than any cell needs", where=where)
    if any(type(item) is int and item.bit_length() > 32 for item in value):
        raise SpecError("a number beyond any node", where=where)
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | range)


def _short(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _at(where: str, error: SpecError, joint: str = ": ") -> SpecError:
    return SpecError(
        error.what, where=joint.join(filter(None, (where, error.where))), fix=error.fix
    )
