"""Data sets are found, decoded once into one verified file, or downloaded; a check comes first."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_archives import SMALL, Server, draw, publish, serve

from results_schema.errors import DataError, SpecError
from workers.data import folder
from workers.data.batches import load, on_device, training_batches
from workers.data.catalog import DATASETS, Split
from workers.data.folder import arrays, check, locate, ready
from workers.data.sources import SOURCES, Source

ROOT = Path(__file__).parents[3]
CACHED = "cifar10-v1.safetensors"

# Reads the small CIFAR-10 in a folder, or that is offered, and prints when it decodes it.
READER = """
import sys, time
from pathlib import Path
from small_archives import SMALL, archive_of
from workers.data.catalog import Split
from workers.data.folder import arrays
from workers.data.sources import Source, decode_cifar10

root, waits, published, url = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]

class Slow:
    def __array__(self, dtype=None, copy=None):
        print("half", flush=True)
        time.sleep(60)

def decode(file, about):
    print("decoding", flush=True)
    train, labels, test, test_labels = decode_cifar10(file, about)
    time.sleep(0.3)
    return Split(train, labels, Slow() if waits else test, test_labels)

split = arrays(Source(SMALL["cifar10"], archive_of(published / "c10.tgz", url), decode), root)
print("read", sum(int(part.sum()) for part in split), flush=True)
"""


def reader(
    root: Path, waits: str = "", published: Path | None = None, url: str = ""
) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    return subprocess.Popen(
        [sys.executable, "-c", READER, str(root), waits, str(published or root), url],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def equal(split: Split, name: str = "cifar10") -> bool:
    return all((a == b).all() for a, b in zip(split, draw(name), strict=True))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "published").mkdir()
    with serve(tmp_path / "published") as server:
        yield server


@pytest.fixture
def offered(server: Server) -> Source:
    """A small CIFAR-10 that only the server has."""
    return publish("cifar10", server.folder, url=server.url)


def test_the_folder_is_the_argument_then_the_variable_then_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(folder.VARIABLE, "~/sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(tmp_path / "given") == tmp_path / "given"
    assert locate() == tmp_path / "sets"
    monkeypatch.setenv(folder.VARIABLE, "")
    assert locate() == tmp_path / ".cache" / "nas-sweep" / "data"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_archive_is_decoded_once_and_not_needed_again(tmp_path: Path, name: str):
    source = publish(name, tmp_path)
    assert equal(arrays(source, tmp_path), name)
    (tmp_path / source.archive.file).unlink()
    assert equal(arrays(source, tmp_path), name)


def test_tiny_imagenet_comes_from_its_zip(tmp_path: Path):
    train, labels, _, _ = arrays(publish("tiny_imagenet", tmp_path), tmp_path)
    assert train.shape == (6, 3, 64, 64)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_missing_archive_is_downloaded_into_a_new_folder(offered: Source, tmp_path: Path):
    root = tmp_path / "new" / "data"
    assert equal(arrays(offered, root))
    assert (root / offered.archive.file).stat().st_size == offered.archive.size


def test_a_missing_archive_without_a_network_says_which_file_to_put_where(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    (tmp_path / source.archive.file).unlink()
    expected = rf"put c10\.tgz \([\d,]+ bytes, MD5 {source.archive.md5}\) from .* into {tmp_path}$"
    for ask in (arrays, check):
        with pytest.raises(DataError, match=expected):
            ask(source, tmp_path)
    (tmp_path / source.archive.pickled).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"small-python\.tar is not read, as unpickling runs"):
        arrays(source, tmp_path)


def test_a_damaged_archive_is_refused_and_left_alone(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    path = tmp_path / source.archive.file
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c10\.tgz: is damaged"):
        arrays(source, tmp_path)
    assert path.read_bytes() == data
    assert not list(tmp_path.glob("*cifar10-v1*"))


FLIPPED_SIZE = len(folder._header(SMALL["cifar10"], "0" * 64)[0]) + 26 * (8 + 3 * 8 * 8)
"""Bytes of the cached file of 26 images."""


@given(bit=st.integers(0, 8 * FLIPPED_SIZE - 1))
def test_one_flipped_bit_is_found_and_the_archive_decoded_again(
    tmp_path_factory: pytest.TempPathFactory, bit: int
):
    root = tmp_path_factory.getbasetemp() / "flipped"
    root.mkdir(exist_ok=True)
    source = publish("cifar10", root)
    arrays(source, root)
    path = root / CACHED
    sound = path.read_bytes()
    assert len(sound) == FLIPPED_SIZE
    data = bytearray(sound)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert folder._read(root, source.about) is None
    assert equal(arrays(source, root))
    assert path.read_bytes() == sound


@pytest.mark.parametrize("keep", [0, 7, 100, 1000, FLIPPED_SIZE - 1])
def test_a_file_cut_off_anywhere_is_decoded_again(tmp_path: Path, keep: int):
    source = publish("cifar10", tmp_path)
    arrays(source, tmp_path)
    path = tmp_path / CACHED
    path.write_bytes(path.read_bytes()[:keep])
    assert equal(arrays(source, tmp_path))


def test_arrays_of_another_set_or_shape_are_not_taken(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    arrays(source, tmp_path)
    (tmp_path / CACHED).rename(tmp_path / "cifar10-v2.safetensors")
    assert folder._read(tmp_path, replace(source.about, preprocessing=2)) is None
    (tmp_path / "cifar10-v2.safetensors").rename(tmp_path / CACHED)
    assert folder._read(tmp_path, replace(source.about, train=21)) is None


def test_damaged_arrays_without_their_archive_say_what_to_get(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    arrays(source, tmp_path)
    (tmp_path / source.archive.file).unlink()
    path = tmp_path / CACHED
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"can't be downloaded.*\n  put c10\.tgz"):
        arrays(source, tmp_path)


def test_the_file_is_one_that_safetensors_reads(tmp_path: Path):
    arrays(publish("cifar10", tmp_path), tmp_path)
    read = safetensors.numpy.load_file(tmp_path / CACHED)
    assert equal(Split(**read))
    with safetensors.safe_open(tmp_path / CACHED, "numpy") as file:
        assert (file.metadata()["name"], file.metadata()["preprocessing"]) == ("cifar10", "1")


def test_writing_to_the_arrays_changes_no_file(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    pixels = arrays(source, tmp_path).train_pixels
    assert isinstance(pixels, np.memmap)
    pixels[:] = 0
    assert equal(arrays(source, tmp_path))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond so many bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 200, FLIPPED_SIZE - 1])
def test_a_full_disk_leaves_nothing(tmp_path: Path, size: int):
    with largest_file(size), pytest.raises(OSError, match="File too large"):
        folder._write(tmp_path, SMALL["cifar10"], draw("cifar10"))
    assert not list(tmp_path.iterdir())


def test_two_machines_without_a_common_lock_leave_one_whole_file(tmp_path: Path):
    about = SMALL["cifar10"]
    folder._write(tmp_path, about, draw("cifar10"))
    first = folder._read(tmp_path, about)
    folder._write(tmp_path, about, draw("cifar10"))
    second = folder._read(tmp_path, about)
    assert first is not None and second is not None
    assert equal(first) and equal(second)
    assert [path.name for path in tmp_path.iterdir()] == [CACHED]


def test_a_new_preprocessing_is_decoded_beside_the_old(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    arrays(source, tmp_path)
    newer = replace(source, about=replace(source.about, preprocessing=2))
    assert equal(arrays(newer, tmp_path))
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        f"cifar10-v{version}.safetensors" for version in (1, 2)
    }


def test_of_several_processes_one_decodes_and_all_read(tmp_path: Path):
    publish("cifar10", tmp_path)
    processes = [reader(tmp_path) for _ in range(3)]
    lines = "".join(process.communicate(timeout=60)[0] for process in processes).split("\n")
    total = sum(int(part.sum()) for part in draw("cifar10"))
    assert lines.count("decoding") == 1
    assert lines.count(f"read {total}") == 3


def test_of_several_processes_of_a_node_one_downloads_and_decodes(server: Server, tmp_path: Path):
    publish("cifar10", server.folder, url=server.url)
    root = tmp_path / "data"
    workers = [reader(root, published=server.folder, url=server.url) for _ in range(2)]
    lines = "".join(worker.communicate(timeout=60)[0] for worker in workers).split("\n")
    assert server.asked == ["GET bytes=0-"]
    assert lines.count("decoding") == 1
    total = sum(int(part.sum()) for part in draw("cifar10"))
    assert lines.count(f"read {total}") == 2


def test_a_process_killed_half_way_leaves_the_work_to_the_next(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    process = reader(tmp_path, "half")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["decoding\n", "half\n"]
    [half] = tmp_path.glob(".cifar10-v1*")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert equal(arrays(source, tmp_path))
    assert not half.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    (tmp_path / "file").touch()
    for ask in (arrays, check):
        with pytest.raises(DataError, match=rf"file/data: can't be written.*\n.*{folder.VARIABLE}"):
            ask(source, tmp_path / "file" / "data")


def test_a_missing_package_is_named_before_anything_is_downloaded(offered: Source, tmp_path: Path):
    source = replace(offered, package="no_such_package")
    for ask in (arrays, check):
        with pytest.raises(DataError, match="cifar10 can't be read without no_such_package"):
            ask(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_is_there_or_offered_is_ready(offered: Source, server: Server, tmp_path: Path):
    check(offered, tmp_path / "data")
    assert server.asked == ["HEAD -"]
    check(publish("cifar10", tmp_path), tmp_path)
    arrays(offered, server.folder)
    (server.folder / offered.archive.file).unlink()
    check(offered, server.folder)
    assert server.asked == ["HEAD -"]


def test_a_truncated_archive_is_not_ready(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    path = tmp_path / source.archive.file
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"c10\.tgz: is incomplete.*\n  delete it"):
        check(source, tmp_path)


def test_a_data_set_larger_than_the_free_disk_is_not_ready(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    vast = replace(source, about=replace(source.about, train=10**15))
    with pytest.raises(
        DataError, match=r"cifar10 needs 200,\d+,.* bytes, and .* are free\n  free some"
    ):
        check(vast, tmp_path)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - set(SOURCES)))
def test_embedded_data_sets_are_ready(name: str, tmp_path: Path):
    ready(name, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_published_set_is_ready_only_with_its_own_archive(tmp_path: Path):
    (tmp_path / SOURCES["cifar10"].archive.file).write_bytes(b"half")
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: is incomplete"):
        ready("cifar10", tmp_path)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: is incomplete"):
        load("cifar10", torch.device("cpu"), tmp_path)
    with pytest.raises(SpecError, match="unknown data set 'cifar'"):
        ready("cifar", tmp_path)


def test_the_check_needs_no_torch():
    code = "import workers.data.folder as f, sys; f.ready('digits'); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr


def test_mapped_arrays_make_batches_without_being_copied(tmp_path: Path):
    source = publish("cifar10", tmp_path)
    split = arrays(source, tmp_path)
    data = on_device(source.about, split, torch.device("cpu"))
    assert data.train.pixels.data_ptr() == split[0].ctypes.data
    batches = list(training_batches(data, 8, seed=0, epoch=1))
    assert [tuple(images.shape) for images, _ in batches] == [(n, 3, 8, 8) for n in (8, 8, 4)]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.sort().values.tolist() == sorted(split[1].tolist())
