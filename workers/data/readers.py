"""How a user's own images become arrays: an npz file, a folder of images, a plug-in's function.

Nothing is unpickled, and headers are read first, so that a vast image or array is refused before it
takes memory. Every `DataError` names the file or the array.
"""

from __future__ import annotations

import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from results_schema.errors import DataError
from workers.data.catalog import Split
from workers.data.custom import BESIDE

if TYPE_CHECKING:
    import numpy as np

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
"""Names of the arrays: images uint8 [N, H, W] or [N, H, W, C], labels of any integer type [N]."""

LARGEST = 8_000_000_000
"""Most bytes of all images."""
MOST_PIXELS = 50_000_000
"""Most pixels of an image file."""
MOST_CLASSES = 10_000

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the names of images; other files of a folder are passed over."""

_GREY = {"1", "L"}
_COLOUR = {"P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"}


def read_npz(path: Path, test: float) -> Split:
    """Return the arrays of an npz file, of which a share is held out where it has no test set."""
    import numpy as np

    names = ARRAYS[:2] if test else ARRAYS
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy") for name in archive.namelist()}
        if missing := [name for name in names if name not in members]:
            fix = "save all of train_images, train_labels, test_images and test_labels"
            fix += "; or hold out a share of the training images by test: 0.2"
            raise DataError(f"lacks {', '.join(missing)}", fix=fix)
        if test and (extra := sorted(members & {*ARRAYS[2:]})):
            raise DataError(f"has {extra[0]}, and test asks for a split", fix="omit test")
        found = {}
        for name in names:
            with archive.open(f"{name}.npy") as member:
                _check_header(name, member)
            with archive.open(f"{name}.npy") as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
        return make_split(found, test)


def _check_header(name: str, member: IO[bytes]) -> None:
    """Check an array's type and size by its header alone."""
    import numpy as np

    version = np.lib.format.read_magic(member)
    readers: dict[Any, Callable[[IO[bytes]], Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise DataError(f"{name} has format {version}", fix="save it with numpy.savez")
    shape, _, dtype = readers[version](member)
    check_array(name, dtype, shape)


def check_array(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise `DataError` unless an array of this name may have a type and a shape."""
    if dtype.hasobject:
        fix = "save numbers: nothing is unpickled"
        raise DataError(f"{name} holds Python objects", fix=fix)
    if name.endswith("labels"):
        if dtype.kind not in "iu" or len(shape) != 1:
            what = f"{name} is {dtype} of shape {shape}"
            raise DataError(what, fix="save whole numbers from 0, one for each image")
        return _check_bytes(name, shape[0] * dtype.itemsize)
    if dtype != "uint8":
        fix = "save bytes from 0 to 255, such as (255 * images).round().astype('uint8')"
        raise DataError(f"{name} is {dtype}, not uint8", fix=fix)
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] > 16):
        fix = "use [N, H, W] or [N, H, W, C], of at least one image and at most 16 channels"
        raise DataError(f"{name} has shape {shape}", fix=fix)
    if shape[1] != shape[2]:
        what = f"{name} has images of {shape[1]}×{shape[2]} pixels"
        raise DataError(what, fix="crop or pad them to squares")
    return _check_bytes(name, math.prod(shape))


def _check_bytes(what: str, size: int) -> None:
    if size > LARGEST:
        raise DataError(f"{what} takes {size:,} bytes", fix=f"stay within {LARGEST:,}")


def make_split(found: Any, test: float = 0.0) -> Split:
    """Return checked arrays, given by name or in the order of `ARRAYS`, as trials need them.

    `test` is the share of each class to hold out as test set; 0 where there is one.

    Raises:
        DataError: An array is missing, does not fit the others, or has a type that it can't have.
    """
    import numpy as np

    names = ARRAYS[:2] if test else ARRAYS
    given = found if isinstance(found, Mapping) else dict(zip(ARRAYS, found, strict=False))
    if missing := [name for name in names if name not in given]:
        raise DataError(f"lacks {', '.join(missing)}", fix=f"give {', '.join(names)}")
    arrays = {name: np.asarray(given[name]) for name in names}
    for name, array in arrays.items():
        check_array(name, array.dtype, array.shape)
    for images, labels in zip(names[::2], names[1::2], strict=True):
        if len(arrays[images]) != len(arrays[labels]):
            what = f"{images} has {len(arrays[images])} images, and {labels} {len(arrays[labels])}"
            raise DataError(what, fix="give one label for each image")
    if test:
        parts = _hold_out(arrays[ARRAYS[0]], arrays[ARRAYS[1]], test)
        arrays = dict(zip(ARRAYS, parts, strict=True))
    train, test_images = arrays["train_images"], arrays["test_images"]
    if train.shape[1:] != test_images.shape[1:]:
        what = f"training images are {train.shape[1:]}, and test images {test_images.shape[1:]}"
        raise DataError(what, fix="save both in one shape")
    for name in ARRAYS[1::2]:
        _check_labels(name, arrays[name], arrays["train_labels"])
    pixels, tests = (
        np.ascontiguousarray(each.reshape(*each.shape[:3], -1).transpose(0, 3, 1, 2))
        for each in (train, test_images)
    )
    labels, test_labels = (arrays[name].astype(np.int64) for name in ARRAYS[1::2])
    return Split(pixels, labels, tests, test_labels)


def _check_labels(name: str, labels: np.ndarray, train: np.ndarray) -> None:
    import numpy as np

    classes = int(train.max()) + 1
    number = "number classes from 0, without gaps"
    for image in (int(labels.argmin()), int(labels.argmax())):
        label = int(labels[image])
        if label < 0 or label >= min(classes, MOST_CLASSES):
            known = f"the training labels end at {classes - 1}"
            why = known if 0 <= label < MOST_CLASSES else f"of at most {MOST_CLASSES:,} classes"
            raise DataError(f"{name}[{image}] is {label}, {why}", fix=number)
    if labels is train:
        present = np.bincount(train, minlength=classes)
        if classes < 2:
            raise DataError("all training images are of one class", fix="give at least two classes")
        if not present.all():
            absent = int(present.argmin())
            raise DataError(f"{name} has no image of class {absent}", fix=number)


def _hold_out(images: np.ndarray, labels: np.ndarray, share: float) -> Iterator[np.ndarray]:
    """Yield images and labels of a training and a test set, the same ones on every machine."""
    from workers.data.batches import held_out

    count = round(share * len(labels))
    if not 0 < count < len(labels):
        what = f"test {share:g} holds out {count} of {len(labels)} images"
        raise DataError(what, fix="use a share such as 0.2")
    held = held_out(labels, count, "test")
    yield from (images[~held], labels[~held], images[held], labels[held])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever reading a file may raise into a `DataError` that names it."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=error.where or str(path), fix=error.fix) from error
    except OSError as error:
        what = f"can't be read: {error.strerror or error}"
        raise DataError(what, where=str(path), fix=BESIDE) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        what = f"is no sound npz file: {error}".splitlines()[0]
        raise DataError(what, where=str(path), fix="save it with numpy.savez") from error


Listed = list[tuple[str, list[Path]]]
"""Classes of a folder in the order of their labels, with their images."""


def list_images(folder: Path, test: float) -> tuple[Listed, Listed]:
    """Return the classes and images of a folder's training and test set.

    The folder has `train` and `test`, each with a folder for each class; or, with a share `test` to
    hold out, the classes themselves.

    Raises:
        DataError: It has not, or a class has no image.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "there is no such folder"
        raise DataError(what, where=str(folder), fix=BESIDE)
    train, tests = folder / "train", folder / "test"
    if tests.is_dir() and test:
        raise DataError("has a test folder, and test asks for a split", where=str(folder),
                        fix="omit test")  # fmt: skip
    if not test and not (train.is_dir() and tests.is_dir()):
        lacking = " and ".join(one.name for one in (train, tests) if not one.is_dir())
        fix = "make folders train and test, or hold out a share of the images by test: 0.2"
        raise DataError(f"lacks {lacking}", where=str(folder), fix=fix)
    first = _classes(train if train.is_dir() else folder)
    others = [] if test else _classes(tests)
    if strange := {name for name, _ in others} - {name for name, _ in first}:
        what = f"has the class {min(strange)}, which the training images lack"
        raise DataError(what, where=str(tests), fix="remove it, or add training images of it")
    if len(first) < 2:
        what = f"has {len(first)} folders of classes"
        raise DataError(what, where=str(folder), fix="make one for each of at least two")
    return first, others


def _classes(folder: Path) -> Listed:
    found = []
    names = sorted(one.name for one in folder.iterdir() if one.is_dir())
    for name in (name for name in names if not name.startswith(".")):
        files = [
            Path(place) / file
            for place, _, files in os.walk(folder / name)
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
        if not files:
            what = "has no image"
            fix = f"remove the folder, or add files that end in {', '.join(SUFFIXES[:3])}, …"
            raise DataError(what, where=str(folder / name), fix=fix)
        found.append((name, sorted(files)))
    return found


def read_folder(folder: Path, size: int | None, test: float) -> Split:
    """Return the images of a folder as arrays, grey if all files are, else in red, green and blue.

    With a `size` in pixels they are scaled and cut at the centre; for `test` see `list_images`.

    Raises:
        DataError: See `list_images`; or an image can't be read, is vast, or differs in size.
    """
    import numpy as np

    first, others = list_images(folder, test)
    labels = {name: label for label, (name, _) in enumerate(first)}
    parts = [[(file, labels[name]) for name, files in some for file in files]
             for some in (first, others)]  # fmt: skip
    every = [file for part in parts for file, _ in part]
    grey, size = _survey(every, size)
    channels = 1 if grey else 3
    _check_bytes(f"all {len(every):,} images", len(every) * channels * size**2)
    arrays = []
    for part in parts if not test else parts[:1]:
        pixels = np.empty((len(part), size, size, channels), np.uint8)

        def decode(number: int, part: Sequence[Any] = part, pixels: np.ndarray = pixels) -> None:
            pixels[number] = _decode(part[number][0], size, grey=grey)

        with ThreadPoolExecutor() as pool:
            list(pool.map(decode, range(len(part))))
        arrays += [pixels, np.array([label for _, label in part])]
    return make_split(arrays, test)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from PIL import Image

    bombs = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        with Image.open(file) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, *bombs) as error:
        if isinstance(error, DataError):
            raise
        what = f"is no image that can be read: {error}".splitlines()[0]
        raise DataError(what, where=str(file), fix="remove it, or save it as PNG") from error


def _survey(files: Sequence[Path], size: int | None) -> tuple[bool, int]:
    from PIL import Image

    grey, first = True, (0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in files:
            with _opened(file) as image:
                shape, mode = image.size, image.mode
            if math.prod(shape) > MOST_PIXELS:
                what = f"is {shape[0]}×{shape[1]} pixels"
                raise DataError(what, where=str(file), fix=f"stay within {MOST_PIXELS:,} pixels")
            if mode not in _GREY | _COLOUR:
                what = f"has pixels of mode {mode}"
                raise DataError(what, where=str(file), fix="save it with 8 bits a channel")
            grey = grey and mode in _GREY
            first = first if first[0] else shape
            if size is None and (shape != first or shape[0] != shape[1]):
                other = f", and {files[0].name} is {first[0]}×{first[1]}" if shape != first else ""
                what = f"is {shape[0]}×{shape[1]} pixels{other}"
                fix = "add size: 32, to which all are scaled and cut"
                raise DataError(what, where=str(file), fix=fix)
    return grey, size or first[0]


def _decode(file: Path, size: int, *, grey: bool) -> np.ndarray:
    import numpy as np
    from PIL import Image, ImageOps

    with _opened(file) as image:
        converted = image.convert("L" if grey else "RGB")
        if converted.size != (size, size):
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        return np.asarray(converted).reshape(size, size, -1)
