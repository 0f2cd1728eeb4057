"""Decoded arrays are whole, verified and private, or an error says what to do."""

import json
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import SMALL, draw

from results_schema.errors import DataError
from workers.data import decoded

ABOUT = SMALL["cifar10"]
FILES = [f"{split}_{part}.npy" for split in ("train", "test") for part in ("pixels", "labels")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    decoded.write(tmp_path, ABOUT, draw("cifar10"))
    return tmp_path


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond so many bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read(root: Path):
    split = decoded.read(root, ABOUT)
    assert all((a == b).all() for a, b in zip(split, draw("cifar10"), strict=True))
    assert sorted(path.name for path in (root / "cifar10-v1").iterdir()) == sorted(
        [*FILES, "about.json"]
    )
    assert [path.name for path in root.iterdir()] == ["cifar10-v1"]


def test_arrays_are_mapped_and_writing_to_them_changes_no_file(root: Path):
    pixels = decoded.read(root, ABOUT)[0]
    assert isinstance(pixels, np.memmap)
    pixels[:] = 0
    assert (decoded.read(root, ABOUT)[0] == draw("cifar10")[0]).all()


def test_the_json_names_shapes_hashes_and_the_version(root: Path):
    said = json.loads((root / "cifar10-v1" / "about.json").read_text())
    assert (said["name"], said["preprocessing"]) == ("cifar10", 1)
    assert said["arrays"]["train_pixels"]["shape"] == [20, 3, 8, 8]
    assert len(said["arrays"]["test_labels"]["sha256"]) == 64


@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_caught(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bit: int
):
    root = tmp_path_factory.getbasetemp() / "flipped"
    if not root.exists():
        root.mkdir()
        decoded.write(root, ABOUT, draw("cifar10"))
    path = root / "cifar10-v1" / name
    sound = path.read_bytes()
    data = bytearray(sound)
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}: is damaged.*\n  delete .*flipped/cifar10-v1;"):
        decoded.read(root, ABOUT)
    path.write_bytes(sound)


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_json_never_gives_other_arrays(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
):
    root = tmp_path_factory.getbasetemp() / "flipped-json"
    if not root.exists():
        root.mkdir()
        decoded.write(root, ABOUT, draw("cifar10"))
    path = root / "cifar10-v1" / "about.json"
    sound = path.read_bytes()
    data = bytearray(sound)
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    try:
        split = decoded.read(root, ABOUT)
        assert all((a == b).all() for a, b in zip(split, draw("cifar10"), strict=True))
    except DataError as error:
        assert "delete" in error.fix
    path.write_bytes(sound)


@pytest.mark.parametrize("name", [*FILES, "about.json"])
def test_a_missing_file_is_named(root: Path, name: str):
    (root / "cifar10-v1" / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: can't be read: .*No such file.*\n  delete"):
        decoded.read(root, ABOUT)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arrays": 3}', '{"arrays": {}}', "\ud800"])
def test_a_json_that_says_nothing_is_refused(root: Path, text: str):
    path = root / "cifar10-v1" / "about.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=r"about\.json: can't be read"):
        decoded.read(root, ABOUT)


def test_arrays_of_another_set_are_refused(root: Path):
    (root / "cifar10-v1").rename(root / "cifar10-v2")
    with pytest.raises(DataError, match="belongs to another data set"):
        decoded.read(root, replace(ABOUT, preprocessing=2))


def test_arrays_of_another_shape_are_refused(root: Path):
    with pytest.raises(DataError, match=r"uint8 \(20, 3, 8, 8\), not uint8 \(21, 3, 8, 8\)"):
        decoded.read(root, replace(ABOUT, train=21))


def test_a_new_version_is_kept_beside_the_old(root: Path):
    decoded.write(root, replace(ABOUT, preprocessing=2), draw("cifar10"))
    assert decoded.read(root, ABOUT)[0].shape == (20, 3, 8, 8)
    assert decoded.read(root, replace(ABOUT, preprocessing=2))[0].shape == (20, 3, 8, 8)


@pytest.mark.parametrize("size", [0, 200, 3967])  # 3,968 bytes are needed
def test_a_full_disk_leaves_nothing(tmp_path: Path, size: int):
    with largest_file(size), pytest.raises(OSError, match="File too large"):
        decoded.write(tmp_path, ABOUT, draw("cifar10"))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_away(root: Path):
    (root / "cifar10-v1").rename(next_aside(root))
    (next_aside(root) / "train_pixels.npy").write_bytes(b"half")
    decoded.write(root, ABOUT, draw("cifar10"))
    assert [path.name for path in root.iterdir()] == ["cifar10-v1"]
    decoded.read(root, ABOUT)


def next_aside(root: Path) -> Path:
    """Where a process of this machine writes before it renames."""
    return root / f".cifar10-v1-{platform.node()}"


def test_the_first_of_two_machines_wins(root: Path):
    other = tuple(np.zeros_like(part) for part in draw("cifar10"))
    decoded.write(root, ABOUT, (other[0], other[1], other[2], other[3]))
    assert (decoded.read(root, ABOUT)[0] == draw("cifar10")[0]).all()
    assert [path.name for path in root.iterdir()] == ["cifar10-v1"]
