"""A user's own genotype: our JSON form, or the DARTS notation as plain data or Python's text.

Whatever the notation, it is brought into the JSON form, which `Genotype.from_json` alone parses.
Its operations must be known here, unlike those of a genotype that is read from a store.
Text is never evaluated, and sizes are bounded before anything loops over the content.
"""

from __future__ import annotations

import ast
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Genotype
from workers.cells.operations import check_names

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
"""The four parts of a genotype in the DARTS notation, in the order of its named tuple."""

MOST_NODES = 100  # intermediate nodes of a cell that a file may ask for
_MOST_ITEMS = MOST_NODES**2
_LONGEST_RANGE = 1000
_PYTHON_FIX = "write Genotype(normal=[(op, source), …], normal_concat=…, reduce=…, reduce_concat=…)"


def parse_genotype(data: Any) -> Genotype:
    """Build a genotype from a mapping.

    Either `{"normal": {"nodes": [[[op, source], …], …], "concat": […]}, "reduce": …}`, or the
    DARTS notation `{"normal": [[op, source], …], "normal_concat": […], "reduce": …,
    "reduce_concat": …}` with two edges to a node, or the latter with [op, node, source], or with a
    list of edges for each node, for nodes of any number of edges.

    Raises:
        SpecError: It is neither; the error names the cell, the node, the edge and what may stand
            there.
    """
    _check_size(data)
    keys = set(data) if isinstance(data, Mapping) else None
    if keys == set(FIELDS):
        data = {name: _from_darts(name, data[name], data[f"{name}_concat"]) for name in FIELDS[::2]}
    elif keys != {"normal", "reduce"}:
        what = f"a genotype is a mapping, not {reprlib.repr(data)}"
        if keys is not None:
            what = f"no genotype with the keys {reprlib.repr(list(data))}"
        fix = f"use the keys {', '.join(FIELDS)}, or normal and reduce with nodes and concat"
        raise SpecError(what, fix=fix)
    genotype = Genotype.from_json(data)
    for where, cell in (("normal cell", genotype.normal), ("reduce cell", genotype.reduce)):
        if (count := len(cell.nodes)) > MOST_NODES:
            fix = f"use at most {MOST_NODES}"
            raise SpecError(f"{count} intermediate nodes", where=where, fix=fix)
        if not cell.depth:
            what = "no path leads from an input to the output"
            raise SpecError(what, where=where, fix="connect a node of concat to one")
    check_names(genotype)
    return genotype


def parse_text(text: str) -> Genotype:
    """Build a genotype from `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=…, …)`.

    A name before it (`DARTS = Genotype(…)`) and arguments without names are accepted too.

    Raises:
        SpecError: The text is something else, or its genotype is not valid.
    """
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"line {line}" if line else ""
        raise SpecError("not Python's notation for data", where=where, fix=_PYTHON_FIX) from error
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign) else None
    if not isinstance(call, ast.Call) or _callee(call) != "Genotype":
        raise SpecError("the text is not one Genotype(…)", fix=_PYTHON_FIX)
    given = [*zip(FIELDS, call.args, strict=False)]
    given += [(argument.arg or "**", argument.value) for argument in call.keywords]
    names = [name for name, _ in given]
    if sorted(names) != sorted(FIELDS) or len(call.args) > len(FIELDS):
        raise SpecError(f"Genotype(…) is given {', '.join(names) or 'nothing'}", fix=_PYTHON_FIX)
    return parse_genotype({name: _literal(name, value) for name, value in given})


def _check_size(data: Any) -> None:
    # First of all: YAML's aliases make a small file an enormous tree, and an error that prints a
    # number of thousands of digits would itself fail.
    pending, items = [data], 0
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            value = list(value.values())
        if _is_list(value):
            items += len(value)
            if items > _MOST_ITEMS:
                raise SpecError(f"a genotype of over {_MOST_ITEMS:,} items, more than cells need")
            pending += value
        elif isinstance(value, int) and value.bit_length() > 32:
            raise SpecError("a number beyond any node")


def _from_darts(name: str, edges: Any, concat: Any) -> dict[str, Any]:
    """Return a cell of the DARTS notation in the JSON form; its edges are not checked yet."""
    if not _is_list(edges):
        raise SpecError(f"not a list but {reprlib.repr(edges)}", where=f"{name} cell")
    if edges and all(_is_list(node) and all(map(_is_list, node)) for node in edges):
        return {"nodes": edges, "concat": concat}  # a list for each node, as in pt.darts
    if any(_is_list(edge) and len(edge) == 3 for edge in edges):
        return {"nodes": _from_triples(name, edges, concat), "concat": concat}
    if len(edges) % 2:
        what = f"{len(edges)} edges do not make two to a node"
        fix = "add or drop an edge, or name every edge's node: [op, node, source]"
        raise SpecError(what, where=f"{name} cell", fix=fix)
    return {"nodes": [edges[i : i + 2] for i in range(0, len(edges), 2)], "concat": concat}


def _from_triples(name: str, edges: Sequence[Any], concat: Any) -> list[list[tuple[Any, Any]]]:
    """Return the edges into each node, empty for one that only concat names."""
    last = INPUTS + MOST_NODES - 1
    named = concat if _is_list(concat) else ()
    nodes: dict[int, list[tuple[Any, Any]]] = {
        node: [] for node in named if type(node) is int and INPUTS <= node <= last
    }
    for position, edge in enumerate(edges):
        where = f"{name} cell, edge {position} of the list"
        if not _is_list(edge) or len(edge) != 3:
            raise SpecError(f"an edge is [op, node, source], not {reprlib.repr(edge)}", where=where)
        op, node, source = edge
        # `True` equals 1 and is no node, so the type itself is compared.
        if type(node) is not int or not INPUTS <= node <= last:
            fix = f"use a whole number from {INPUTS} to {last}"
            raise SpecError(f"{reprlib.repr(node)} is no intermediate node", where=where, fix=fix)
        nodes.setdefault(node, []).append((op, source))
    return [nodes.get(node, []) for node in range(INPUTS, max(nodes) + 1)]


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple | range)


def _literal(name: str, node: ast.expr) -> Any:
    try:
        if _is_call(node, "list", "tuple") and len(node.args) == 1:
            node = node.args[0]
        if _is_call(node, "range"):
            numbers = range(*(ast.literal_eval(argument) for argument in node.args))
            # A range costs nothing itself, but what reads the genotype makes a list of it.
            if len(numbers) > _LONGEST_RANGE:
                raise ValueError("range")
            return numbers
        return ast.literal_eval(node)
    except (ValueError, TypeError, OverflowError, SyntaxError, RecursionError) as error:
        raise SpecError(
            f"{name} is not plain data", fix="use lists, tuples, numbers, texts and range(a, b)"
        ) from error


def _is_call(node: ast.expr, *names: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _callee(node) in names and not node.keywords


def _callee(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))
