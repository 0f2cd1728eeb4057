"""CIFAR's records become the images and labels that were written into them."""

from pathlib import Path

import numpy as np
import pytest
from small_archives import cifar10_members, cifar100_members, draw, publish

from results_schema.errors import DataError
from workers.data.archives import open_verified
from workers.data.cifar import CIFAR10, CIFAR100
from workers.data.decoded import Split
from workers.data.sources import Source

BATCH = "cifar-10-batches-bin/data_batch_3.bin"


def decode(source: Source, folder: Path) -> Split:
    with open_verified(folder / source.archive.file, source.archive) as file:
        return source.decode(file, source.about)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_images_and_labels_come_back(tmp_path: Path, name: str):
    split = decode(publish(name, tmp_path), tmp_path)
    assert [part.dtype for part in split] == [np.uint8, np.int64, np.uint8, np.int64]
    assert all((a == b).all() for a, b in zip(split, draw(name), strict=True))
    assert [path.suffix for path in tmp_path.iterdir()] == [".tgz"], "nothing is extracted"


def test_planes_are_red_green_blue_and_rows_run_across(tmp_path: Path):
    """One record spelled out byte by byte, as the format's description has it."""
    members = cifar10_members(draw("cifar10"))
    record = bytes([7]) + bytes([1]) * 8 + bytes([2]) * 56 + bytes([3]) * 64 + bytes([4]) * 64
    members["cifar-10-batches-bin/data_batch_1.bin"] = record * 4
    train, labels, _, _ = decode(publish("cifar10", tmp_path, members), tmp_path)
    assert labels[0] == 7
    assert (train[0, 0, 0] == 1).all() and (train[0, 0, 1:] == 2).all()
    assert (train[0, 1] == 3).all() and (train[0, 2] == 4).all()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, f"lacks {BATCH}"),
        (b"\0" * 193 * 3, "have 19 images, not 20"),
        (b"\0" * 193 * 5, "have 21 images, not 20"),
        (b"\0" * (193 * 4 - 1), rf"{BATCH} has 771 bytes, no multiple of 193"),
        ((b"\0" * 193) * 3 + b"\x0a" + b"\0" * 192, r"image 11 of .* has label 10, not one below"),
    ],
)
def test_other_records_than_the_catalogs_are_refused(
    tmp_path: Path, content: bytes | None, what: str
):
    members = {key: data for key, data in cifar10_members(draw("cifar10")).items() if key != BATCH}
    if content is not None:
        members[BATCH] = content
    with pytest.raises(DataError, match=what):
        decode(publish("cifar10", tmp_path, members), tmp_path)


def test_an_empty_test_set_is_refused(tmp_path: Path):
    members = {**cifar100_members(draw("cifar100")), "cifar-100-binary/test.bin": b""}
    with pytest.raises(DataError, match=r"test\.bin have 0 images, not 6"):
        decode(publish("cifar100", tmp_path, members), tmp_path)


def test_the_published_archives_are_the_binary_ones():
    for archive in (CIFAR10, CIFAR100):
        assert archive.url.endswith("/" + archive.file)
        assert "binary" in archive.file and "python" in archive.pickled
        assert len(bytes.fromhex(archive.md5)) == 16
