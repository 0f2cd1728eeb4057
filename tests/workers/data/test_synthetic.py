"""Synthetic data of any shape."""

import hashlib

import pytest
import torch

from results_schema.errors import SpecError
from workers.data.catalog import describe
from workers.data.folder import ready
from workers.data.images import load

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("synthetic_200x3x64_200", (200, 3, 64, 64), 200),
        ("synthetic_30x1x8_2", (30, 1, 8, 8), 2),
        ("synthetic_7x4x12_1", (7, 4, 12, 12), 1),
    ],
)
def test_any_shape_is_made_as_it_is_named(name, shape, classes):
    ready(name)
    data = load(name, CPU)
    assert tuple(data.train.pixels.shape) == shape
    assert len(data.test) == shape[0] // 5
    assert int(data.train.labels.max()) < classes
    assert describe(name).name == name


def test_the_class_can_be_seen_in_the_image():
    data = load("synthetic_500x1x16_4", CPU)
    means = data.train.pixels.double().unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)).flatten(1)
    assert torch.equal(means.argmax(1), data.train.labels), "the brightest quarter tells the class"


def test_the_first_one_is_the_same_as_ever():
    data = load("synthetic", CPU)
    digest = hashlib.sha256(data.test.pixels.numpy().tobytes()).hexdigest()
    assert digest[:16] == "49f5ef390c9ffb9a"


@pytest.mark.parametrize("name", ["synthetic_2x3", "synthetic_0x1x8_2", "synthetic_9x1x8_2x"])
def test_a_misspelt_shape_is_an_unknown_data_set(name):
    with pytest.raises(SpecError, match="unknown data set"):
        describe(name)


@pytest.mark.parametrize("name", ["synthetic_9x1x10_2", "synthetic_9x1x4_17"])
def test_a_shape_that_no_network_takes_is_refused(name):
    with pytest.raises(SpecError, match="cannot be"):
        describe(name)
