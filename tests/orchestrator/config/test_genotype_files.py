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
        ("a.json", b"{", "a.json:1: not YAML"),
        ("a.json", b"[" * 100_000, "a.json:1: lists or mappings are nested"),
        ("a.json", b'{"normal": 1,\n"normal": 2}', "a.json:2: normal is given twice"),
        ("a.json", b"\xff\xfe", "a.json:1: .* not UTF-8"),
        ("a.json", b" " * 640_001, "a.json: the file is too large"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []", "a.yaml:1: tag .* is not allowed"),
        ("a.yaml", b"", "a.yaml:1: the file is empty"),
        ("a.yaml", YAML.replace("sep", "spe").encode(), "a.yaml: normal cell, node 2, edge 0"),
        ("a.txt", b"Genotype(\n  normal==3)", "a.txt: "),
        ("a.txt", TEXT.replace("sep", "spe").encode(), "a.txt: normal cell, node 2, edge 0"),
        ("a.py", b"", "a genotype in a .py file"),
        ("a", b"", "a genotype in a nameless file"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    name: str, content: bytes, message: str, tmp_path: Path
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        load_genotype(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value)) < 1000


def test_a_small_file_of_aliases_that_stands_for_a_vast_tree_is_refused(tmp_path: Path):
    levels = [f"&a{i} [{', '.join([f'*a{i - 1}'] * 50)}]" for i in range(1, 9)]
    nested = "\n- ".join(["- &a0 [skip_connect, 0]", *levels])
    rest = "normal_concat: [2]\nreduce: []\nreduce_concat: [2]"
    (tmp_path / "a.yaml").write_text(f"normal:\n{nested}\n{rest}\n")
    with pytest.raises(SpecError, match="more than 10,000 keys and values"):
        load_genotype(tmp_path / "a.yaml")


def test_what_is_no_file_is_named(tmp_path: Path):
    (tmp_path / "folder.json").mkdir()
    for name, message in (("none.json", "there is no such file"), ("folder.json", "a folder")):
        with pytest.raises(SpecError, match=f"{name}: .*{message}"):
            load_genotype(tmp_path / name)
