"""The larger stand-ins are real digits, the same for ever, and no test image is trained on."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from workers.cells.cost import check_image
from workers.data import embedded
from workers.data.catalog import DATASETS
from workers.data.decoded import Split

READERS: dict[str, Callable[[], Split]] = {
    "digits_32": embedded.digits_32,
    "digit_pairs_32": embedded.digit_pairs_32,
    "digit_scenes": embedded.digit_scenes,
}


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {name: read() for name, read in READERS.items()}


@pytest.mark.parametrize("name", READERS)
def test_shapes_and_labels_are_the_catalogs(splits: dict[str, Split], name: str):
    about = DATASETS[name]
    train, train_labels, test, test_labels = splits[name]
    shape = (about.channels, about.size, about.size)
    assert (train.shape, test.shape) == ((about.train, *shape), (about.test, *shape))
    assert (len(train_labels), len(test_labels)) == (about.train, about.test)
    assert set(train_labels) == set(test_labels) == set(range(about.classes))


@pytest.mark.parametrize("name", READERS)
def test_the_catalogs_mean_and_deviation_are_those_of_the_training_pixels(
    splits: dict[str, Split], name: str
):
    about, pixels = DATASETS[name], splits[name][0] / 255
    assert pixels.mean() == pytest.approx(about.mean[0], abs=1e-4)
    assert pixels.std() == pytest.approx(about.std[0], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("digits_32", ["4550278e", "9dfbfaf7", "8ac38916", "93b51b2e"]),
        ("digit_pairs_32", ["9c5253a4", "57167123", "ab05ea5b", "592fa5ce"]),
        ("digit_scenes", ["e77205b9", "6f5ca9d7", "e7387697", "85ccc821"]),
    ],
)
def test_pixels_and_labels_are_for_ever_the_same(
    splits: dict[str, Split], name: str, digests: list[str]
):
    assert DATASETS[name].preprocessing == 1, "new pixels need new digests"
    found = [hashlib.sha256(part.tobytes()).hexdigest()[:8] for part in splits[name]]
    assert found == digests


@pytest.mark.parametrize(
    ("large", "small"), [("digits_32", embedded.digits), ("digit_pairs_32", embedded.digit_pairs)]
)
def test_a_larger_set_shows_the_same_pictures(
    splits: dict[str, Split], large: str, small: Callable[[], Split]
):
    for mine, other in zip(splits[large], small(), strict=True):
        if mine.ndim == 1:
            assert (mine == other).all()
        else:
            shrunk = mine.reshape(len(mine), 1, 16, 2, 16, 2).mean((3, 5))
            pairs = zip(shrunk.reshape(len(mine), -1), other.reshape(len(mine), -1), strict=True)
            assert min(np.corrcoef(a, b)[0, 1] for a, b in list(pairs)[:200]) > 0.95


@pytest.mark.parametrize(
    ("name", "stride"), [("digits_32", 1), ("digit_pairs_32", 1), ("digit_scenes", 2)]
)
def test_the_auxiliary_head_finds_its_map(name: str, stride: int):
    check_image(DATASETS[name].size, stride, auxiliary=True)


def test_all_scenes_are_equally_frequent(splits: dict[str, Split]):
    _, labels, _, test_labels = splits["digit_scenes"]
    assert set(np.bincount(labels)) == {10}
    assert set(np.bincount(test_labels)) == {3}


def tiles(scenes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The middle 4×4 pixels of each of a scene's digits, light on dark: [N, 4, 4, 16] bytes."""
    light = np.where((labels >= 100)[:, None, None], 255 - scenes[:, 0], scenes[:, 0])
    return light.reshape(-1, 4, 16, 4, 16)[:, :, 6:10, :, 6:10].swapaxes(2, 3).reshape(-1, 4, 4, 16)


def middles() -> tuple[dict[bytes, set[int]], dict[bytes, set[int]]]:
    """Those of every training and test digit by itself, with its label."""
    found = []
    for images, labels in embedded._sources():
        scaled = embedded._scale(images, 16)[:, 0, 6:10, 6:10].reshape(-1, 16)
        known: dict[bytes, set[int]] = {}
        for image, label in zip(scaled, labels, strict=True):
            known.setdefault(image.tobytes(), set()).add(int(label))
        found.append(known)
    return found[0], found[1]


def test_a_scene_is_one_crowd_beside_another_of_its_own_split(splits: dict[str, Split]):
    train, labels, test, test_labels = splits["digit_scenes"]
    train_known, test_known = middles()
    seen: set[bytes] = set()
    for scenes, classes, known in ((train, labels, train_known), (test, test_labels, test_known)):
        for rows, label in zip(tiles(scenes, classes), classes, strict=True):
            for column, digit in enumerate([label // 10 % 10] * 2 + [label % 10] * 2):
                for tile in rows[:, column]:
                    assert digit in known[tile.tobytes()]
                    seen.add(tile.tobytes())
    assert len(seen) > 1700, "nearly every digit stands in some crowd"
