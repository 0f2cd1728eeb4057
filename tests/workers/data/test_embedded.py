"""The data sets without a download: pixels never change, and no test image is trained on."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from results_schema.errors import DataError, SpecError
from workers.data import embedded
from workers.data.batches import load
from workers.data.catalog import DATASETS, Split, describe
from workers.data.folder import check_ready

READERS = [about.name for about in DATASETS.values() if about.archive is None]


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {name: DATASETS[name].make() for name in READERS}


@pytest.mark.parametrize("name", READERS)
def test_shapes_and_labels_are_the_catalogs(splits: dict[str, Split], name: str):
    about = DATASETS[name]
    train, train_labels, test, test_labels = splits[name]
    shape = (about.channels, about.size, about.size)
    assert (train.shape, test.shape) == ((about.train, *shape), (about.test, *shape))
    assert train.dtype == test.dtype == np.uint8
    assert (len(train_labels), len(test_labels)) == (about.train, about.test)
    assert set(train_labels) == set(test_labels) == set(range(about.classes))


@pytest.mark.parametrize("name", READERS)
def test_the_catalogs_mean_and_deviation_are_those_of_the_training_pixels(splits, name):
    about, pixels = DATASETS[name], splits[name].train_pixels
    for channel in range(about.channels):
        values = pixels[:, channel]
        assert values.mean() / 255 == pytest.approx(about.mean[channel], abs=1e-4)
        assert values.std() / 255 == pytest.approx(about.std[channel], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("digits", ["67404aee5381", "9dfbfaf7fa4f", "4da59b13dc02", "93b51b2ed8e4"]),
        ("digit_pairs", ["12e798a5268b", "57167123e8d1", "a813cd9e3772", "592fa5ce26b0"]),
        ("digits_32", ["4550278e", "9dfbfaf7", "8ac38916", "93b51b2e"]),
        ("digit_pairs_32", ["9c5253a4", "57167123", "ab05ea5b", "592fa5ce"]),
        ("digit_scenes", ["e77205b9", "6f5ca9d7", "e7387697", "85ccc821"]),
    ],
)
def test_pixels_and_labels_are_forever_the_same(splits, name, digests):
    assert DATASETS[name].preprocessing == 1, "new pixels need new digests"
    for part, digest in zip(splits[name], digests, strict=True):
        assert hashlib.sha256(part.tobytes()).hexdigest().startswith(digest)


def test_a_class_of_synthetic_images_is_its_blob(splits: dict[str, Split]):
    train, labels, _, _ = splits["synthetic"]
    of_class = np.stack([train[labels == label].mean(0) for label in range(10)])
    brightest = of_class.max((1, 2, 3), keepdims=True)
    blobs = of_class > brightest - 45
    assert (blobs.sum((1, 2, 3)) == 64).all()
    assert blobs.any(0).sum() == 640


def test_a_pair_is_two_digits_side_by_side(splits: dict[str, Split]):
    """Left and right halves are those of digits of the two labels, scaled in height alone."""
    (digits, labels), _ = embedded._sources()
    sources: dict[bytes, set[int]] = {}
    for image, label in zip(digits, labels, strict=True):
        sources.setdefault(edges(image.astype(int) * 255 / 16), set()).add(int(label))
    pairs, pair_labels, _, _ = splits["digit_pairs"]
    for pair, label in zip(pairs[:500, 0].astype(int), pair_labels[:500], strict=True):
        left, right = edges(pair[:, :8]), edges(pair[:, 8:])
        assert label // 10 in sources[left]
        assert label % 10 in sources[right]


def edges(half: np.ndarray) -> bytes:
    """Top and bottom rows, which scaling in height leaves as they are, rounded to bytes."""
    return np.stack([half[0], half[-1]]).round().astype(np.uint8).tobytes()


def test_no_test_image_is_trained_on():
    (train, _), (test, _) = embedded._sources()
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_no_training_pair_holds_a_digit_of_the_test_set(splits: dict[str, Split]):
    train, _, test, _ = splits["digit_pairs"]
    halves = [
        {half.tobytes() for pair in pairs[:, 0] for half in (pair[:, :8], pair[:, 8:])}
        for pairs in (train, test)
    ]
    assert not halves[0] & halves[1]
    # Nearly all digits are used, or the pairs would not be a fair substitute for a hundred classes.
    assert len(halves[0]) > 1300
    assert len(halves[1]) > 300


def test_without_scikit_learn_it_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"scikit-learn\n  install scikit-learn"):
        DATASETS["digits"].make()


def test_a_damaged_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(embedded, "find_spec", lambda name: found)
    with pytest.raises(DataError, match=r"digits\.csv\.gz"):
        DATASETS["digits"].make()


@pytest.mark.parametrize("name", ["digits", "digit_pairs"])
def test_a_larger_set_shows_the_same_pictures(splits: dict[str, Split], name: str):
    for mine, other in zip(splits[f"{name}_32"], splits[name], strict=True):
        if mine.ndim == 1:
            assert (mine == other).all()
        else:
            shrunk = mine.reshape(len(mine), 1, 16, 2, 16, 2).mean((3, 5))
            pairs = zip(shrunk.reshape(len(mine), -1), other.reshape(len(mine), -1), strict=True)
            assert min(np.corrcoef(a, b)[0, 1] for a, b in list(pairs)[:200]) > 0.95


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


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("synthetic_200x3x64_200", (200, 3, 64, 64), 200),
        ("synthetic_7x4x12_1", (7, 4, 12, 12), 1),
    ],
)
def test_any_shape_is_made_as_it_is_named(name, shape, classes):
    check_ready(describe(name))
    data = load(name, CPU)
    assert tuple(data.train.pixels.shape) == shape
    assert len(data.test) == shape[0] // 5
    assert int(data.train.labels.max()) < classes
    assert describe(name).name == name


def test_the_class_can_be_seen_in_the_image():
    data = load("synthetic_500x1x16_4", CPU)
    means = data.train.pixels.double().unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)).flatten(1)
    assert torch.equal(means.argmax(1), data.train.labels), "the brightest quarter is the class"


def test_the_first_one_is_the_same_as_ever(splits: dict[str, Split]):
    digest = hashlib.sha256(splits["synthetic"].test_pixels.tobytes()).hexdigest()
    assert digest[:16] == "49f5ef390c9ffb9a"


@pytest.mark.parametrize("name", ["synthetic_2x3", "synthetic_0x1x8_2", "synthetic_9x1x8_2x"])
def test_a_misspelt_shape_is_an_unknown_data_set(name):
    with pytest.raises(SpecError, match="unknown data set"):
        describe(name)


@pytest.mark.parametrize("name", ["synthetic_9x1x10_2", "synthetic_9x1x4_17"])
def test_a_shape_that_no_network_takes_is_refused(name):
    with pytest.raises(SpecError, match="cannot be"):
        describe(name)
