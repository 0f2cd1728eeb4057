"""Data sets are found, downloaded, and decoded once into one verified file; a check comes first."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_archives import SMALL, Server, archive_of, draw, publish, serve

from results_schema.errors import DataError
from workers.data import folder
from workers.data.batches import on_device, training_batches
from workers.data.catalog import DATASETS, Archive, Dataset, Split
from workers.data.folder import arrays, check_ready, locate

ROOT = Path(__file__).parents[3]
CACHED = "cifar10-v1.safetensors"

# Reads the small CIFAR-10 that a server offers, and prints when it decodes it.
READER = """
import sys
from dataclasses import replace
from pathlib import Path
from small_archives import SMALL, archive_of
from workers.data import published
from workers.data.folder import arrays

root, offered, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def decode(file, about):
    print("decoding", flush=True)
    return published.cifar10(file, about)

about = replace(SMALL["cifar10"], source="__main__:decode", archive=archive_of(offered, url))
print("read", sum(int(part.sum()) for part in arrays(about, root)), flush=True)
"""


def reader(root: Path, server: Server) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    words = [str(root), str(server.folder / "c10.tgz"), server.url]
    return subprocess.Popen(
        [sys.executable, "-c", READER, *words],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def equal(split: Split | None, name: str = "cifar10") -> bool:
    assert split is not None
    return all((a == b).all() for a, b in zip(split, draw(name), strict=True))


def archive(about: Dataset) -> Archive:
    assert about.archive is not None
    return about.archive


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "published").mkdir()
    with serve(tmp_path / "published") as server:
        yield server


@pytest.fixture
def offered(server: Server) -> Dataset:
    """A small CIFAR-10 that only the server has."""
    return publish("cifar10", server.folder, url=server.url)


@pytest.fixture
def here(tmp_path: Path) -> Dataset:
    """A small CIFAR-10 whose archive is in the folder, and nowhere else."""
    return publish("cifar10", tmp_path)


def test_the_folder_is_the_argument_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(folder.VARIABLE, "~/sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(tmp_path / "given") == tmp_path / "given"
    assert locate() == tmp_path / "sets"
    monkeypatch.setenv(folder.VARIABLE, "")
    assert locate() == tmp_path / ".cache" / "nas-sweep" / "data"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_archive_is_decoded_once_and_not_needed_again(tmp_path: Path, name: str):
    about = publish(name, tmp_path)
    assert equal(arrays(about, tmp_path), name)
    (tmp_path / archive(about).file).unlink()
    assert equal(arrays(about, tmp_path), name)


def test_a_missing_archive_without_a_network_says_which_file_to_put_where(here, tmp_path):
    (tmp_path / archive(here).file).unlink()
    expected = rf"put c10\.tgz \([\d,]+ bytes, MD5 {archive(here).md5}\) from .* into {tmp_path}$"
    for ask in (arrays, check_ready):
        with pytest.raises(DataError, match=expected):
            ask(here, tmp_path)
    (tmp_path / archive(here).pickled).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"small-python\.tar is not read"):
        arrays(here, tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "is damaged: its MD5 is"),
        (lambda data: data[:-1], r"is incomplete: it has [\d,]+ bytes, not"),
        (lambda data: data + b"\0", "is another file"),
    ],
)
def test_another_archive_than_the_published_is_refused_and_left_alone(here, tmp_path, change, what):
    path = tmp_path / archive(here).file
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"c10\.tgz: {what}.*\n  delete it.*or put c10\.tgz"):
        arrays(here, tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*cifar10-v1*"))


def test_a_decoders_error_names_the_archive(here: Dataset, tmp_path: Path):
    with pytest.raises(DataError, match=rf"{tmp_path}/c10\.tgz: .*20 images, not 21"):
        arrays(replace(here, train=21), tmp_path)


FLIPPED_SIZE = 8 + 480 + 26 * (8 + 3 * 8 * 8)
"""Bytes of the cached file of 26 images, or a few less."""


@settings(max_examples=30)
@given(bit=st.integers(0, 8 * FLIPPED_SIZE - 1))
def test_one_flipped_bit_is_found_and_the_archive_decoded_again(tmp_path_factory, bit):
    root = tmp_path_factory.getbasetemp() / "flipped"
    root.mkdir(exist_ok=True)
    about, path = publish("cifar10", root), root / CACHED
    arrays(about, root)
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)
    assert folder._read(root, about) is None
    assert equal(arrays(about, root))


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_off_anywhere_is_decoded_again(here: Dataset, tmp_path: Path, keep: int):
    arrays(here, tmp_path)
    path = tmp_path / CACHED
    path.write_bytes(path.read_bytes()[:keep])
    assert equal(arrays(here, tmp_path))


def test_arrays_of_another_set_version_or_shape_are_not_taken(here: Dataset, tmp_path: Path):
    arrays(here, tmp_path)
    newer = replace(here, preprocessing=2)
    assert folder._read(tmp_path, newer) is None
    assert equal(arrays(newer, tmp_path))
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        CACHED,
        "cifar10-v2.safetensors",
    }, "one is beside the other"
    (tmp_path / "cifar10-v2.safetensors").rename(tmp_path / CACHED)
    assert folder._read(tmp_path, here) is None
    (tmp_path / CACHED).rename(tmp_path / "cifar10-v2.safetensors")
    assert folder._read(tmp_path, replace(newer, train=21)) is None


def test_arrays_are_mapped_and_make_batches_without_a_copy(here: Dataset, tmp_path: Path):
    split = arrays(here, tmp_path)
    data = on_device(here, split, torch.device("cpu"))
    assert data.train.pixels.data_ptr() == split[0].ctypes.data
    batches = list(training_batches(data, 8, seed=0, epoch=1))
    assert [tuple(images.shape) for images, _ in batches] == [(n, 3, 8, 8) for n in (8, 8, 4)]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.sort().values.tolist() == sorted(split[1].tolist())
    split.train_pixels[:] = 0
    assert equal(arrays(here, tmp_path)), "writing to the arrays changes no file"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond so many bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 200, 5000])
def test_a_full_disk_leaves_nothing(here: Dataset, tmp_path: Path, size: int):
    with largest_file(size), pytest.raises(DataError, match=r"can't be written: .*too large"):
        arrays(here, tmp_path)
    assert not list(tmp_path.glob("*cifar10-v1*"))


def test_two_machines_without_a_common_lock_leave_one_whole_file(tmp_path: Path):
    about = SMALL["cifar10"]
    folder._write(tmp_path, about, draw("cifar10"))
    first = folder._read(tmp_path, about)
    folder._write(tmp_path, about, draw("cifar10"))
    assert equal(first) and equal(folder._read(tmp_path, about))
    assert [path.name for path in tmp_path.iterdir()] == [CACHED]


def test_of_several_processes_one_downloads_and_decodes(server, offered, tmp_path):
    workers = [reader(tmp_path / "data", server) for _ in range(2)]
    lines = "".join(worker.communicate(timeout=60)[0] for worker in workers).split("\n")
    assert server.asked == ["GET bytes=0-"]
    assert lines.count("decoding") == 1
    assert lines.count(f"read {sum(int(part.sum()) for part in draw('cifar10'))}") == 2


def test_what_a_killed_process_left_is_written_over(here: Dataset, tmp_path: Path):
    half = tmp_path / f".{CACHED}-{folder.platform.node()}"
    half.write_bytes(b"half")
    assert equal(arrays(here, tmp_path))
    assert not half.exists()


def test_a_folder_that_cannot_be_written_is_named(here: Dataset, tmp_path: Path):
    (tmp_path / "file").touch()
    for ask in (arrays, check_ready):
        with pytest.raises(DataError, match=rf"file/data: can't be written.*\n.*{folder.VARIABLE}"):
            ask(here, tmp_path / "file" / "data")


def test_a_missing_package_is_named_before_anything_is_downloaded(offered: Dataset, tmp_path: Path):
    about = replace(offered, package="no_such_package")
    for ask in (arrays, check_ready):
        with pytest.raises(DataError, match="cifar10 can't be read without no_such_package"):
            ask(about, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_is_there_or_offered_is_ready(offered: Dataset, server: Server, tmp_path: Path):
    check_ready(offered, tmp_path / "data")
    assert server.asked == ["HEAD -"]
    check_ready(publish("cifar10", tmp_path), tmp_path)
    arrays(offered, server.folder)
    (server.folder / archive(offered).file).unlink()
    check_ready(offered, server.folder)
    assert server.asked == ["HEAD -"]


def test_a_data_set_larger_than_the_free_disk_is_not_ready(here: Dataset, tmp_path: Path):
    with pytest.raises(DataError, match=r"needs 200,\d+,.* bytes, and .* are free\n  free some"):
        check_ready(replace(here, train=10**15), tmp_path)


@pytest.mark.parametrize("about", [each for each in DATASETS.values() if not each.archive])
def test_embedded_data_sets_are_ready(about: Dataset, tmp_path: Path):
    check_ready(about, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_the_check_needs_no_torch():
    code = (
        "import sys; from workers.data.catalog import DATASETS; import workers.data.folder as f; "
        "f.check_ready(DATASETS['digits']); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr


CONTENT = bytes(range(250)) * 4


@pytest.fixture
def content(server: Server) -> Archive:
    (server.folder / "a.tgz").write_bytes(CONTENT)
    return archive_of(server.folder / "a.tgz", server.url)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def names(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


def test_a_broken_download_resumes_where_it_stopped(server: Server, content: Archive, into: Path):
    server.cut = 400
    folder.download(content, into)
    assert (into / "a.tgz").read_bytes() == CONTENT
    assert server.asked == ["GET bytes=0-", "GET bytes=400-", "GET bytes=800-"]


def test_the_next_call_resumes_what_an_earlier_one_began(server, content, into):
    server.cut = 100
    with pytest.raises(DataError, match=r"can't be downloaded: broke off after 300 bytes\n  put a"):
        folder.download(content, into)
    assert names(into) == ["a.tgz.part"]
    server.cut = 1000
    folder.download(content, into)
    assert server.asked[-1] == "GET bytes=300-"
    assert (into / "a.tgz").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_begins_again(server: Server, content: Archive, into: Path):
    (into / "a.tgz.part").write_bytes(CONTENT[:300])
    server.ranges = False
    folder.download(content, into)
    assert (into / "a.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"too long"])
def test_a_part_of_full_length_is_used_if_it_is_sound(content: Archive, into: Path, part: bytes):
    (into / "a.tgz.part").write_bytes(part)
    folder.download(content, into)
    assert (into / "a.tgz").read_bytes() == CONTENT
    assert names(into) == ["a.tgz"]


def test_other_bytes_than_the_published_are_not_kept(server: Server, content: Archive, into: Path):
    (server.folder / "a.tgz").write_bytes(bytes(len(CONTENT)))
    with pytest.raises(DataError, match=f"the download has MD5 .*, not {content.md5}"):
        folder.download(content, into)
    assert names(into) == []


def test_no_more_is_written_than_was_published(server: Server, content: Archive, into: Path):
    (server.folder / "a.tgz").write_bytes(CONTENT + bytes(1 << 16))
    folder.download(content, into)
    assert (into / "a.tgz").read_bytes() == CONTENT


def test_an_offer_is_checked_without_a_download(server: Server, content: Archive, into: Path):
    folder.check_offer(content, into)
    assert server.asked == ["HEAD -"]
    with pytest.raises(DataError, match="the server offers 1000 bytes, not 1001"):
        folder.check_offer(content._replace(size=1001), into)
    with pytest.raises(DataError, match=r"b\.tgz: can't be downloaded: Not Found\n  put a\.tgz"):
        folder.check_offer(content._replace(url=f"{server.url}/b.tgz"), into)
    assert names(into) == []
