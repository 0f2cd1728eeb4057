"""Text to plain data: JSON, YAML, and Python's notation of a genotype, which is never evaluated."""

from __future__ import annotations

import ast
import json
from collections import Counter
from typing import Any, TypeGuard

from results_schema.errors import MachineError, SpecError

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
"""The four parts of a genotype in the DARTS notation, in the order of its named tuple."""

_FORM = "Genotype(normal=[(op, source), …], normal_concat=…, reduce=[…], reduce_concat=…)"

_LONGEST_RANGE = 1000


def read_json(text: str) -> Any:
    """Parses JSON; a key that repeats within one object is an error.

    Raises:
        SpecError: The text is no such JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error.msg}", where=f"line {error.lineno}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"not JSON that can be read: {error}") from error


def read_yaml(text: str) -> Any:
    """Parses YAML without any of its tags for objects.

    Raises:
        SpecError: The text is no such YAML, or a key repeats.
        MachineError: ruamel.yaml is not installed.
    """
    # Imported here, as a worker's bare machine may lack it.
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ModuleNotFoundError as error:
        raise MachineError(
            "reading YAML needs ruamel.yaml", fix="install it, or write the genotype as JSON"
        ) from error
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or type(error).__name__)
        where = f"line {mark.line + 1}" if mark else ""
        raise SpecError(f"not YAML that can be read: {problem}", where=where) from error


def read_python(text: str) -> dict[str, Any]:
    """Parses `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), …)`.

    A name before it (`DARTS = Genotype(…)`) and arguments without names are understood too.

    Returns:
        The four `FIELDS`.

    Raises:
        SpecError: The text is something else, or an argument is no plain data.
    """
    fix = f"write {_FORM}"
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"line {line}" if line else ""
        raise SpecError("not Python's notation for data", where=where, fix=fix) from error
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign) else None
    if not isinstance(call, ast.Call) or _callee(call) != "Genotype":
        raise SpecError("the text is not one Genotype(…)", fix=fix)
    given = [*zip(FIELDS, call.args, strict=False)]
    given += [(argument.arg or "**", argument.value) for argument in call.keywords]
    names = [name for name, _ in given]
    if sorted(names) != sorted(FIELDS) or len(call.args) > len(FIELDS):
        raise SpecError(f"Genotype(…) is given {', '.join(names) or 'nothing'}", fix=fix)
    return {name: _literal(name, value) for name, value in given}


def _literal(name: str, node: ast.expr) -> Any:
    try:
        if _is_call(node, "list", "tuple") and len(node.args) == 1:
            node = node.args[0]
        if _is_call(node, "range"):
            numbers = range(*(ast.literal_eval(argument) for argument in node.args))
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    if repeated := sorted(key for key, count in counts.items() if count > 1):
        raise SpecError(f"the key {repeated[0]!r} stands twice")
    return dict(pairs)
