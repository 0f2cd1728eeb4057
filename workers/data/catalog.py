"""The registry of data sets: shape, scaling, augmentation and source of each (Section A.1).

`preprocessing` is part of a trial's identity: it counts changes of the split, the scaling or the
augmentation, so that a trial trained before such a change is never taken for one after it.
"""

from __future__ import annotations

import pkgutil
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from results_schema.errors import SpecError, suggest
from results_schema.plugins import registry

if TYPE_CHECKING:
    import numpy as np


class Split(NamedTuple):
    """The arrays of a data set: pixels uint8 [N, C, H, W] and labels int64 [N], from 0."""

    train_pixels: np.ndarray
    train_labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray


class Archive(NamedTuple):
    """A file that a data set's authors publish: name, address, bytes and MD5 in hexadecimal.

    `pickled` names the same data published as Python pickles, which are not read.
    """

    file: str
    url: str
    size: int
    md5: str
    pickled: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is fixed about a data set.

    Attributes:
        name: As experiments and trial ids write it.
        preprocessing: Version of everything below and of the split.
        source: What returns its `Split`, given this entry, as `module:function`; where there is an
            archive it is given that first, open and verified.
        archive: The file it is published as, or None if it needs no download.
        package: What the source needs beside NumPy and torch: the name it is imported by, or "".
        size: Height and width of an image, in pixels.
        train: Number of training images; `test` of the others.
        padding: Zeros on each side before a random crop back to `size`, in pixels.
        flip: Whether training images are mirrored at random.
        mean: Mean of each channel, of pixels in [0, 1]; subtracted.
        std: Standard deviation of each channel; divided by.
        epochs: Epochs of training, unless an experiment names them (Section A.3).
        stem_stride: Stride of the network's first convolution (Section A.3).
        sha256: Of the arrays of a user's own data set (`workers.data.custom`), or "".
    """

    name: str
    description: str
    preprocessing: int = 1
    source: str
    archive: Archive | None = None
    package: str = ""
    classes: int
    channels: int
    size: int
    train: int
    test: int
    padding: int = 4
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epochs: int = 600
    stem_stride: int = 1
    sha256: str = ""

    def make(self, *archive: BinaryIO) -> Split:
        """Return its arrays from its source, which is imported only now."""
        return pkgutil.resolve_name(self.source)(*archive, self)

    def held_out(self, share: float) -> int:
        """Return how many training images a validation split of this share holds out.

        Raises:
            SpecError: It takes all of them, or not one.
        """
        count = round(share * self.train)
        if share and not 0 < count < self.train:
            what = f"validation {share:g} holds out {count} of {self.train} training images"
            raise SpecError(what, fix="use a share such as 0.1, or 0 for none")
        return count

    def normalised_by(self, statistics: str) -> Dataset:
        """Return the same with the "own" statistics, or with another data set's.

        Raises:
            SpecError: There is no such data set, or its images have another number of channels.
        """
        other = self if statistics == "own" else describe(statistics)
        if other.channels != self.channels:
            raise SpecError(
                f"{statistics} has statistics of {other.channels} channels, and images of "
                f"{self.name} have {self.channels}",
                fix="use statistics: own",
            )
        return replace(self, mean=other.mean, std=other.std)


_DIGITS = Dataset(
    name="digits",
    description="scikit-learn's 1,797 handwritten digits, 8×8 scaled to 16×16",
    source="workers.data.embedded:digits",
    package="sklearn",
    classes=10,
    channels=1,
    size=16,
    train=1440,
    test=357,
    padding=2,
    flip=False,  # a mirrored 2 is no digit
    mean=(0.3054,),
    std=(0.3184,),
)
_DIGIT_PAIRS = replace(
    _DIGITS,
    name="digit_pairs",
    description="two handwritten digits side by side, 00 to 99, in 16×16",
    source="workers.data.embedded:digit_pairs",
    classes=100,
    train=4000,
    test=1000,
    mean=(0.3055,),
    std=(0.3565,),
)
_CIFAR10 = Dataset(
    name="cifar10",
    description="CIFAR-10, photographs of ten kinds of thing",
    source="workers.data.published:cifar10",
    archive=Archive(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        pickled="cifar-10-python.tar.gz",
    ),
    classes=10,
    channels=3,
    size=32,
    train=50_000,
    test=10_000,
    flip=True,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
_ALL = (
    _DIGITS,
    _DIGIT_PAIRS,
    replace(
        _DIGITS,
        name="digits_32",
        description="the handwritten digits of `digits`, 8×8 scaled to 32×32",
        size=32,
        padding=4,
        std=(0.3234,),
    ),
    replace(
        _DIGIT_PAIRS,
        name="digit_pairs_32",
        description="the pairs of `digit_pairs`, 00 to 99, in 32×32",
        size=32,
        padding=4,
        mean=(0.3054,),
        std=(0.3205,),
    ),
    replace(
        _DIGITS,
        name="digit_scenes",
        description="a crowd of one handwritten digit beside another's, dark or light, 64×64",
        source="workers.data.embedded:digit_scenes",
        classes=200,
        size=64,
        train=2000,
        test=600,
        padding=4,
        mean=(0.4999,),
        std=(0.3710,),
        epochs=300,
        stem_stride=2,
    ),
    replace(
        _CIFAR10,
        name="synthetic",
        description="seeded blobs and noise of CIFAR-10's shape, for measuring speed",
        source="workers.data.embedded:synthetic",
        archive=None,
        mean=(0.3206, 0.3184, 0.3184),
        std=(0.1893, 0.1874, 0.1874),
    ),
    _CIFAR10,
    replace(
        _CIFAR10,
        name="cifar100",
        description="CIFAR-100, photographs of a hundred kinds of thing",
        source="workers.data.published:cifar100",
        archive=Archive(
            "cifar-100-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            size=168_513_733,
            md5="03b5dce01913d631647c71ecec9e9cb8",
            pickled="cifar-100-python.tar.gz",
        ),
        classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    replace(
        _CIFAR10,
        name="tiny_imagenet",
        description="Tiny-ImageNet-200, photographs of two hundred kinds of thing",
        source="workers.data.published:tiny_imagenet",
        # Size and MD5 are those of the published file; its publishers state neither.
        archive=Archive(
            "tiny-imagenet-200.zip",
            "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
            size=248_100_043,
            md5="90528d7ca1a48142e341f4ef8d21d0de",
        ),
        package="PIL",
        classes=200,
        size=64,
        train=100_000,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2302, 0.2265, 0.2262),
        epochs=300,
        stem_stride=2,
    ),
)
DATASETS = {dataset.name: dataset for dataset in _ALL}
"""Every data set by name. A new one is an entry here, and its source a function anywhere."""
for _one in _ALL:
    registry("dataset").enter(_one.name, _one)  # so that no plug-in takes its name

CUSTOM: dict[str, Dataset] = {}
"""Users' own data sets that this process has met, by name."""

_SHAPED = re.compile(r"synthetic_([1-9]\d{0,6})x([1-9]\d?)x([1-9]\d{0,2})_([1-9]\d{0,3})")


def describe(name: str) -> Dataset:
    """Return the data set of a name.

    Args:
        name: A key of `DATASETS`; the name of a user's own that an experiment or a store of this
            process describes, without the hash of its content if one is called so; or
            `synthetic_<N>x<C>x<S>_<classes>` for N training images and a fifth as many test images
            of C channels and S×S pixels.

    Raises:
        SpecError: No data set has this name.
    """
    if shape := _SHAPED.fullmatch(name):
        return _synthetic(name, *map(int, shape.groups()))
    if name in CUSTOM:
        return CUSTOM[name]
    if "-" in name:
        # By name, as the module imports this one, and in the end torch.
        return pkgutil.resolve_name("workers.data.custom:from_stores")(name)
    if name in DATASETS:
        return DATASETS[name]
    own = [about for known, about in CUSTOM.items() if known.rpartition("-")[0] == name]
    if len(own) == 1:
        return own[0]
    if own:
        fix = f"use {' or '.join(sorted(about.name for about in own))}"
        raise SpecError(f"{len(own)} data sets are called {name!r}", fix=fix)
    raise SpecError(f"unknown data set {name!r}", fix=suggest(name, DATASETS))


def _synthetic(name: str, train: int, channels: int, size: int, classes: int) -> Dataset:
    if size % 4 or classes > size**2:
        raise SpecError(
            f"synthetic images of {size}×{size} pixels and {classes} classes cannot be",
            fix="use a size that 4 divides, and at most one class for each pixel",
        )
    return replace(
        DATASETS["synthetic"],
        name=name,
        description=f"seeded blobs and noise, {channels}×{size}×{size}, for measuring speed",
        classes=classes,
        channels=channels,
        size=size,
        train=train,
        test=max(1, train // 5),
        padding=size // 8,
        mean=(0.32,) * channels,
        std=(0.19,) * channels,
    )
