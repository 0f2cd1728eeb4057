"""The data sets without a download: their pixels never change, and no test image is trained on."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from results_schema.errors import DataError
from workers.data import embedded
from workers.data.catalog import DATASETS
from workers.data.embedded import Split

READERS = {"digits": embedded.digits, "digit_pairs": embedded.digit_pairs}


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {
        **{name: read() for name, read in READERS.items()},
        "synthetic": embedded.synthetic(DATASETS["synthetic"]),
    }


@pytest.mark.parametrize("name", ["digits", "digit_pairs", "synthetic"])
def test_shapes_and_labels_are_the_catalogs(splits: dict[str, Split], name: str):
    about = DATASETS[name]
    train, train_labels, test, test_labels = splits[name]
    shape = (about.channels, about.size, about.size)
    assert train.shape == (about.train, *shape)
    assert test.shape == (about.test, *shape)
    assert train.dtype == test.dtype == np.uint8
    assert set(train_labels) == set(test_labels) == set(range(about.classes))
    assert (len(train_labels), len(test_labels)) == (about.train, about.test)


@pytest.mark.parametrize("name", ["digits", "digit_pairs", "synthetic"])
def test_the_catalogs_mean_and_deviation_are_those_of_the_training_pixels(
    splits: dict[str, Split], name: str
):
    about, pixels = DATASETS[name], splits[name][0]
    for channel in range(about.channels):
        values = pixels[:, channel]
        assert values.mean() / 255 == pytest.approx(about.mean[channel], abs=1e-3)
        assert values.std() / 255 == pytest.approx(about.std[channel], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("digits", ["67404aee5381", "9dfbfaf7fa4f", "4da59b13dc02", "93b51b2ed8e4"]),
        ("digit_pairs", ["12e798a5268b", "57167123e8d1", "a813cd9e3772", "592fa5ce26b0"]),
    ],
)
def test_pixels_and_labels_are_for_ever_the_same(name: str, digests: list[str]):
    assert DATASETS[name].preprocessing == 1, "new pixels need new digests"
    assert [hashlib.sha256(part.tobytes()).hexdigest()[:12] for part in READERS[name]()] == digests


def test_synthetic_images_are_the_same_on_every_call(splits: dict[str, Split]):
    again = embedded.synthetic(DATASETS["synthetic"])
    assert all((a == b).all() for a, b in zip(splits["synthetic"], again, strict=True))


def test_a_class_of_synthetic_images_is_told_by_its_blob(splits: dict[str, Split]):
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
    # Nearly all digits are used, or the pairs would not be a fair stand-in for a hundred classes.
    assert len(halves[0]) > 1300
    assert len(halves[1]) > 300


def test_without_scikit_learn_it_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"scikit-learn\n  install scikit-learn"):
        embedded.digits()


def test_a_damaged_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(embedded, "find_spec", lambda name: found)
    with pytest.raises(DataError, match=r"digits\.csv\.gz"):
        embedded.digits()
