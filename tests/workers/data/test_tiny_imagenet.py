"""Tiny-ImageNet's pictures get the labels that its text files give them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from small_archives import Members, jpeg, publish, tiny_imagenet_members

from results_schema.errors import DataError
from workers.data.archives import open_verified
from workers.data.decoded import Split

ROOT = "tiny-imagenet-200"
IMAGE = f"{ROOT}/train/n02/images/n02_1.JPEG"
ANNOTATIONS = f"{ROOT}/val/val_annotations.txt"


def decode(folder: Path, members: Members | None = None) -> Split:
    source = publish("tiny_imagenet", folder, members)
    with open_verified(folder / source.archive.file, source.archive) as file:
        return source.decode(file, source.about)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return decode(tmp_path_factory.mktemp("tiny"))


def test_labels_follow_the_sorted_names_of_the_classes(split: Split):
    train, labels, _, test_labels = split
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test_labels.tolist() == [2, 0, 2, 1]
    assert train.shape == (6, 3, 64, 64)
    # Red tells the class of all but the grey image, green its number in the class.
    assert np.allclose(train[1:, 0].mean((1, 2)), [80, 160, 160, 240, 240], atol=3)
    assert np.allclose(train[1:, 1].mean((1, 2)), [40, 0, 40, 0, 40], atol=3)


def test_the_validation_set_is_the_test_set_in_its_own_order(split: Split):
    assert split[2].shape == (4, 3, 64, 64)
    assert np.allclose(split[2][:, 2].mean((1, 2)), [0, 60, 120, 180], atol=3)


def test_a_grey_image_has_three_equal_planes(split: Split):
    grey = split[0][0].astype(int)
    assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
    assert abs(grey.mean() - 90) < 2


def test_arrays_are_bytes_and_whole_numbers_in_one_piece(split: Split):
    assert [part.dtype for part in split] == [np.uint8, np.int64, np.uint8, np.int64]
    assert all(part.flags["C_CONTIGUOUS"] for part in split)


def bomb(side: int) -> bytes:
    """A JPEG that says it is far larger than its bytes."""
    data = bytearray(jpeg((1, 2, 3)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize(
    ("member", "content", "what"),
    [
        (IMAGE, None, "class n02 has 1 training images, not 2"),
        (f"{ROOT}/train/n02/images/n02_2.JPEG", jpeg(9), "n02 has 3 training images, not 2"),
        (f"{ROOT}/train/n09/images/n09_0.JPEG", jpeg(9), "n09 has 1 .* not none, for wnids.txt"),
        (IMAGE, b"", r"train/n02/images/n02_1\.JPEG is no sound JPEG"),
        (IMAGE, b"GIF89a" + bytes(50), "is no sound JPEG"),
        (IMAGE, jpeg((1, 2, 3), format="PNG"), "is no sound JPEG"),
        (IMAGE, jpeg((1, 2, 3))[:400], "is no sound JPEG"),
        (IMAGE, jpeg((1, 2, 3), size=32), "is 32×32, not 64×64"),
        (IMAGE, bomb(8000), "is 8000×8000, not 64×64"),
        (IMAGE, bomb(12_000), "is no sound JPEG: Image size"),
        (IMAGE, bomb(65_500), "is no sound JPEG: Image size"),
        (f"{ROOT}/wnids.txt", None, f"lacks {ROOT}/wnids.txt"),
        (f"{ROOT}/wnids.txt", b"n01\nn02\n", "names 2 classes in 2 words, not 3"),
        (f"{ROOT}/wnids.txt", b"n01\nn02\nn03\nn02\n", "names 3 classes in 4 words, not 3"),
        (f"{ROOT}/wnids.txt", b"\xff\xfe", "can't be read: 'utf-8'"),
        (f"{ROOT}/val/images/val_2.JPEG", None, f"lacks {ROOT}/val/images/val_2.JPEG"),
        (ANNOTATIONS, None, f"lacks {ANNOTATIONS}"),
        (ANNOTATIONS, b"val_0.JPEG\tn01\n", "names 1 images, not 4"),
        (ANNOTATIONS, b"val_0.JPEG\tn09\t0\n", "line 1 .* names no class of wnids.txt: 'val_0"),
        (ANNOTATIONS, b"val_0.JPEG\tn01\nval_0.JPEG\tn02\n", "line 2 .* an image that came before"),
        (ANNOTATIONS, b"val_0.JPEG\tn01\n\n", "line 2 .* names no class"),
        (ANNOTATIONS, b"val_0.JPEG\n", "line 1 .* names no class"),
    ],
)
def test_another_content_is_refused(tmp_path: Path, member: str, content: bytes | None, what: str):
    members = {k: v for k, v in tiny_imagenet_members().items() if k != member}
    if content is not None:
        members[member] = content
    with pytest.raises(DataError, match=what) as error:
        decode(tmp_path, members)
    assert str(tmp_path / "tiny.zip") in str(error.value)
