import sys
from pathlib import Path

import pytest

from results_schema.errors import ConfigError
from workers.program.source import find, find_as_sent

TRAIN = "import torch\nfrom lab import net\n\n\ndef train(trial):\n    return net.SIZE\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("")
    (tmp_path / "lab" / "net.py").write_text("from . import sizes\nSIZE = sizes.SIZE\n")
    (tmp_path / "lab" / "sizes.py").write_text("SIZE = 3\n")
    (tmp_path / "lab" / "other.py").write_text("raise RuntimeError\n")
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def test_the_digest_covers_the_programs_own_imports_alone(lab: Path):
    source = find("train.py:train", lab)
    assert set(source.files) == {"train.py", "lab/__init__.py", "lab/net.py", "lab/sizes.py"}
    (lab / "lab" / "other.py").write_text("")
    assert find("train.py:train", lab).digest == source.digest
    (lab / "lab" / "sizes.py").write_text("SIZE = 4\n")
    changed = find("train.py:train", lab)
    assert changed.digest != source.digest
    assert find_as_sent(changed.sent(), lab / "shipped") == changed
    with pytest.raises(ConfigError, match=f"{changed.digest} here, and {source.digest} in this"):
        find_as_sent(source.sent(), lab / "shipped")


def test_a_module_on_the_path_is_a_program_too(lab: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(lab)
    (lab / "lab" / "run.py").write_text("def train(trial, scale=2):\n    return trial * scale\n")
    source = find("lab.run:train", Path("/"))
    with source.imported() as function:
        assert function(4) == 8


def test_two_programs_of_one_name_run_one_after_the_other(lab: Path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "train.py").write_text("import lab\n\n\ndef train(trial):\n    return lab.X\n")
    (other / "lab.py").write_text("X = 7\n")
    before = list(sys.path)
    for folder, result in ((lab, 3), (other, 7), (lab, 3)):
        with find("train.py:train", folder).imported() as function:
            assert function(None) == result
    assert sys.path == before
    assert "train" not in sys.modules


@pytest.mark.parametrize(
    ("program", "text", "found"),
    [
        ("missing.py:train", "", "there is no program missing.py"),
        ("../x.py:train", "", "../x.py is no file in the experiment's folder"),
        ("/x.py:train", "", "/x.py is no file in the experiment's folder"),
        ("bad.py:train", "x = 1\ndef train(:\n", "bad.py:2: not Python"),
        ("bad.py:train", "def trian(trial): ...\n", "did you mean trian"),
        ("bad.py:train", "\ndef train(): ...\n", "bad.py:2: train can't be called with one"),
        ("bad.py:train", "def train(trial, lr): ...\n", "train can't be called with one"),
        ("bad.py:train", "def train(trial, *, lr): ...\n", "train can't be called with one"),
        ("bad.py:train", "\0", "bad.py:1: not Python"),
        ("bad.py", "", "'bad.py' names no program"),
    ],
)
def test_mistakes_are_found_without_running_anything(tmp_path, program, text, found):
    (tmp_path / "bad.py").write_text(f"{text}\nraise SystemExit('it ran')\n")
    with pytest.raises(ConfigError) as caught:
        find(program, tmp_path)
    assert found in str(caught.value)
    assert caught.value.fix


def test_a_module_that_is_there_already_is_not_replaced(tmp_path: Path):
    (tmp_path / "workers.py").write_text("def train(trial): ...\n")
    source = find("workers.py:train", tmp_path)
    with pytest.raises(ConfigError, match="a module workers is there"), source.imported():
        pass
    assert "orchestrator" not in sys.modules["workers"].__dict__
