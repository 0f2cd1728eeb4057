"""Published bytes become the images and labels that were written into them."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_archives import (
    Members,
    cifar10_members,
    cifar100_members,
    draw,
    jpeg,
    publish,
    tiny_imagenet_members,
    write_tar,
    write_zip,
)
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from results_schema.errors import DataError
from workers.data.catalog import Dataset, Split
from workers.data.folder import read_archive
from workers.data.published import open_zip, read_tar

BATCH = "cifar-10-batches-bin/data_batch_3.bin"


def decode(about: Dataset, folder: Path) -> Split:
    assert about.archive is not None
    return read_archive(about, about.archive, folder / about.archive.file)


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
def test_other_records_than_the_catalogs_are_refused(tmp_path, content, what):
    members = {key: data for key, data in cifar10_members(draw("cifar10")).items() if key != BATCH}
    if content is not None:
        members[BATCH] = content
    with pytest.raises(DataError, match=what):
        decode(publish("cifar10", tmp_path, members), tmp_path)


def test_an_empty_test_set_is_refused(tmp_path: Path):
    members = {**cifar100_members(draw("cifar100")), "cifar-100-binary/test.bin": b""}
    with pytest.raises(DataError, match=r"test\.bin have 0 images, not 6"):
        decode(publish("cifar100", tmp_path, members), tmp_path)


ROOT = "tiny-imagenet-200"
IMAGE = f"{ROOT}/train/n02/images/n02_1.JPEG"
ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"


def decode_tiny(folder: Path, members: Members | None = None) -> Split:
    return decode(publish("tiny_imagenet", folder, members), folder)


def test_the_validation_set_is_the_test_set_in_its_own_order(tmp_path: Path):
    """Its classes are labelled by their sorted names; the first training image is grey."""
    split = decode_tiny(tmp_path)
    assert split.test_labels.tolist() == [2, 0, 2, 1]
    assert split.test_pixels.shape == (4, 3, 64, 64)
    assert np.allclose(split.test_pixels[:, 2].mean((1, 2)), [0, 60, 120, 180], atol=3)
    grey = split.train_pixels[0].astype(int)
    assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
    assert abs(grey.mean() - 90) < 2


def bomb(side: int) -> bytes:
    """A JPEG that says it is far larger than its bytes."""
    data = bytearray(jpeg((1, 2, 3)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def test_pixels_and_labels_are_those_of_an_image_folder(tmp_path: Path):
    """torchvision reads the extracted training images by class and name, as the decoder does."""
    noise = np.random.default_rng(0).integers(256, size=(6, 64, 64, 3), dtype=np.uint8)
    members, images = dict(tiny_imagenet_members()), iter(noise)
    for member in sorted(member for member in members if "/train/" in member):
        if member.endswith(".JPEG"):
            data = io.BytesIO()
            Image.fromarray(next(images)).save(data, "JPEG")
            members[member] = data.getvalue()
        else:
            del members[member]
    train, labels, _, _ = decode_tiny(tmp_path, members)
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        archive.extractall(tmp_path)
    folder = ImageFolder(str(tmp_path / ROOT / "train"), pil_to_tensor)
    expected = [folder[index] for index in range(len(folder))]
    assert [label for _, label in expected] == labels.tolist()
    assert all(
        (image.numpy() == ours).all() for (image, _), ours in zip(expected, train, strict=True)
    )


@pytest.mark.parametrize(
    ("member", "content", "what"),
    [
        (IMAGE, None, "class n02 has 1 training images, not 2"),
        (f"{ROOT}/train/n02/images/n02_2.JPEG", jpeg(9), "n02 has 3 training images, not 2"),
        (f"{ROOT}/train/n09/images/n09_0.JPEG", jpeg(9), "n09 has 1 .* not none, for wnids.txt"),
        (IMAGE, b"", r"train/n02/images/n02_1\.JPEG is no valid JPEG"),
        (IMAGE, jpeg((1, 2, 3), format="PNG"), "is no valid JPEG"),
        (IMAGE, jpeg((1, 2, 3))[:400], "is no valid JPEG"),
        (IMAGE, jpeg((1, 2, 3), size=32), "is 32×32, not 64×64"),
        (IMAGE, bomb(12_000), "is no valid JPEG: Image size"),
        (IMAGE, bomb(65_500), "is no valid JPEG: Image size"),
        (f"{ROOT}/wnids.txt", None, f"lacks {ROOT}/wnids.txt"),
        (f"{ROOT}/wnids.txt", b"n01\nn02\n", "names 2 classes in 2 words, not 3"),
        (f"{ROOT}/wnids.txt", b"n01\nn02\nn03\nn02\n", "names 3 classes in 4 words, not 3"),
        (f"{ROOT}/wnids.txt", b"\xff\xfe", "can't be read: 'utf-8'"),
        (f"{ROOT}/val/images/val_2.JPEG", None, f"lacks {ROOT}/val/images/val_2.JPEG"),
        (ANNOTATIONS, None, f"lacks {ANNOTATIONS}"),
        (ANNOTATIONS, b"val_0.JPEG\tn01\n", "names 1 images, not 4"),
        (ANNOTATIONS, b"val_0.JPEG\tn09\t0\n", "line 1 .* names no class of wnids.txt: 'val_0"),
        (ANNOTATIONS, b"val_0.JPEG\tn01\nval_0.JPEG\tn02\n", "line 2 .* an image that came before"),
        (ANNOTATIONS, b"val_0.JPEG\n", "line 1 .* names no class"),
    ],
)
def test_another_content_is_refused(tmp_path: Path, member: str, content: bytes | None, what: str):
    members = {k: v for k, v in tiny_imagenet_members().items() if k != member}
    if content is not None:
        members[member] = content
    with pytest.raises(DataError, match=what) as error:
        decode_tiny(tmp_path, members)
    assert str(tmp_path / "tiny.zip") in str(error.value)


OUTSIDE = ["a/../../evil", "/etc/evil", "C:evil", "a\\..\\..\\evil"]


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def read(path: Path, *wanted: str, most: int = 100) -> dict[str, memoryview]:
    with path.open("rb") as file:
        return read_tar(file, wanted, most)


def unzip(path: Path, most: int = 100) -> dict[str, bytes]:
    with path.open("rb") as file, open_zip(file, most) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wanted_members_of_a_tar_are_read_and_missing_ones_named(tmp_path: Path):
    members = [("a/x", b"one"), (tar_member("a/b", tarfile.DIRTYPE), b""), ("./a/b/y", b"two")]
    path = write_tar(tmp_path / "a.tgz", members)
    assert read(path, "a/x", "a/b/y") == {"a/x": b"one", "a/b/y": b"two"}
    with pytest.raises(DataError, match=r"a\.tgz: lacks a/y, a/z"):
        read(path, "a/z", "a/y", "a/x")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_outside_the_archive_is_refused(tmp_path: Path, name: str):
    members = [("x", b""), (name, b"evil")]
    with pytest.raises(DataError) as error:
        read(write_tar(tmp_path / "a.tgz", members), "x")
    assert f"member {name!r} is outside the archive" in str(error.value)
    with pytest.raises(DataError, match="is outside the archive"):
        unzip(write_zip(tmp_path / "a.zip", members))


@pytest.mark.parametrize(
    ("member", "what"),
    [
        (tar_member("a/l", tarfile.SYMTYPE, "/etc/passwd"), "is no plain file"),
        (tar_member("./a/x"), "comes twice"),
        (zip_member("a/l", 0o120777), "is no plain file"),
        (zip_member("a/x", 0o100644), "comes twice"),
    ],
)
def test_a_strange_member_is_refused(tmp_path, member, what):
    if isinstance(member, tarfile.TarInfo):
        path = write_tar(tmp_path / "a.tgz", [("a/x", b"one"), (member, b"")])
    else:
        path = write_zip(tmp_path / "a.zip", [("a/x", b"one"), (member, b"/etc/passwd")])
    with pytest.raises(DataError, match=rf"{path}: member '.*/[lx]' {what}.*\n  .*delete it"):
        read(path, "a/x") if path.suffix == ".tgz" else unzip(path)


def test_an_encrypted_member_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("a/x", b"one")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"member 'a/x' .*encrypted"):
        unzip(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    bombs = [(f"bomb{number}", bytes(600_000)) for number in range(2)]
    with pytest.raises(DataError, match="member 'bomb1' makes it unpack to more than 1,048,676"):
        read(write_tar(tmp_path / "a.tgz", bombs), "bomb0")
    with pytest.raises(DataError, match="member 'bomb1' makes it unpack to more than 1,048,676"):
        unzip(write_zip(tmp_path / "a.zip", bombs))


def test_a_tar_whose_header_is_a_bomb_is_refused(tmp_path: Path):
    """The size of a name is in the archive's hands, and tarfile would read it whole."""
    path, header = tmp_path / "a.tgz", tar_member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 30
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(8 << 20))
    with pytest.raises(DataError, match="unpacks to more than the data set"):
        read(path, "a/x")


def test_a_sparse_member_is_refused(tmp_path: Path):
    header = bytearray(tar_member("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386 + 12 * 8 + 1 : 386 + 12 * 8 + 13] = b"77777777777\0"  # its real size, 8 GB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    with pytest.raises(DataError, match="member 'holes' is no plain file"):
        read(path, "holes")


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("bomb", bytes(8 << 20))])
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(DataError, match="Bad CRC-32"):
        unzip(path)


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_torn_archive_cannot_be_read(tmp_path: Path, keep: int):
    for name, write, ask in (("a.tgz", write_tar, read), ("a.zip", write_zip, unzip)):
        path = write(tmp_path / name, [("a/x", bytes(range(256)))])
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=rf"{name}: can't be read|lacks"):
            ask(path)
