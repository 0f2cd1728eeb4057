"""Genotypes in files: JSON, YAML and Python's text."""

import json
from pathlib import Path

import pytest

from orchestrator.config.grid import load_genotype
from results_schema.errors import SpecError
from workers.cells.bases import named

TEXT = """
DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], normal_concat=[2],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=range(2, 3))
"""
YAML = """
# found by hand
normal: [[sep_conv_3x3, 0], [sep_conv_3x3, 1]]
normal_concat: [2]
reduce: &cell [[max_pool_3x3, 0], [max_pool_3x3, 1]]
reduce_concat: [2]
"""


def test_files_of_every_kind(tmp_path: Path):
    own = json.dumps(named("ENAS").to_json())
    (tmp_path / "own.json").write_text(own)
    (tmp_path / "bom.JSON").write_text(own, "utf-8-sig")
    (tmp_path / "tabs.json").write_text(json.dumps(named("ENAS").to_json(), indent="\t"))
    (tmp_path / "cell.yaml").write_text(YAML)
    (tmp_path / "cell.yml").write_text(YAML)
    (tmp_path / "cell.txt").write_text(TEXT, "utf-8-sig")
    for name in ("own.json", "bom.JSON", "tabs.json"):
        assert load_genotype(tmp_path / name) == named("ENAS")
    one, other, text = (load_genotype(tmp_path / f"cell.{kind}") for kind in ("yaml", "yml", "txt"))
    assert one == other == text
    assert one.normal.width == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[" * 100_000, "a.json:1: lists or mappings are nested"),
        ("a.json", b'{"normal": 1,\n"normal": 2}', "a.json:2: normal is given twice"),
        ("a.yaml", b"", "a.yaml:1: the file is empty"),
        ("a.yaml", YAML.replace("sep", "spe").encode(), "a.yaml: normal cell, node 2, edge 0"),
        ("a.txt", b"Genotype(\n  normal==3)", "a.txt: "),
        ("a.txt", TEXT.replace("sep", "spe").encode(), "a.txt: normal cell, node 2, edge 0"),
        ("a.txt", b" " * 640_001, "a.txt: the file is too large"),
        ("a.txt", b"\xff", "a.txt:1: .* not UTF-8"),
        ("a.py", b"", "a genotype in a .py file"),
        ("a", b"", "a genotype in a nameless file"),
        ("a.txt", None, "a.txt: there is no such file"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    name: str, content: bytes | None, message: str, tmp_path: Path
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        load_genotype(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value)) < 1000
