import pytest
import torch

from results_schema.errors import DataError, SpecError
from workers.data import embedded, images
from workers.data.catalog import DATASETS
from workers.data.images import load

CPU = torch.device("cpu")


def test_digits_are_bytes_and_labels_on_the_device():
    data = load("digits", CPU)
    assert data.train.pixels.shape == (1440, 1, 16, 16)
    assert data.train.pixels.dtype == torch.uint8
    assert data.test.labels.dtype == torch.int64
    assert (len(data.train), len(data.test)) == (1440, 357)
    assert data.about is DATASETS["digits"]


def test_a_data_set_is_kept_for_the_next_trial():
    assert load("digits", CPU) is load("digits", CPU)


def test_an_unknown_data_set_is_met_with_the_nearest():
    with pytest.raises(SpecError, match=r"unknown data set 'digit'\n  did you mean digits\?"):
        load("digit", CPU)


def test_images_may_be_normalised_as_those_of_another_data_set():
    data = load("digits", CPU)
    other = data.normalised_by("digits_32")
    assert other.train is data.train
    assert (other.about.mean, other.about.std) == ((0.3054,), (0.3234,))
    assert other.about.padding == data.about.padding
    assert data.normalised_by("own").about == data.about
    with pytest.raises(SpecError, match="cifar10 has statistics of 3 channels"):
        data.normalised_by("cifar10")


def test_a_data_set_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch):
    (pixels, labels), test = embedded._sources()
    monkeypatch.setattr(embedded, "_sources", lambda: ((pixels[:-1], labels[:-1]), test))
    images._loaded.cache_clear()
    with pytest.raises(DataError, match=r"\(1439, 1, 16, 16\), not \(1440, 1, 16, 16\)"):
        load("digits", CPU)
