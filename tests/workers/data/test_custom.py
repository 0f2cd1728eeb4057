"""A user's own images: what they become, their names, and stores that have them."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from results_schema import layout, store
from results_schema.errors import DataError, SpecError
from results_schema.store import LocalStore, open_store
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data import batches, catalog, custom, folder
from workers.data.catalog import describe
from workers.data.custom import ImageFolder, Npz, Plugged, from_json, publishing, register, to_json


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has met no such data set, with a data folder of its own."""
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "CUSTOM", {})
    monkeypatch.setattr(custom, "CUSTOM", catalog.CUSTOM)
    monkeypatch.setattr(custom, "_SOURCES", {})
    monkeypatch.setattr(store, "ATTACHED", {})
    monkeypatch.setattr(custom, "ATTACHED", store.ATTACHED)
    yield
    batches._loaded.cache_clear()


def forget() -> None:
    """As another process would begin."""
    catalog.CUSTOM.clear()
    custom._SOURCES.clear()
    store.ATTACHED.clear()
    batches._loaded.cache_clear()


def drawn(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (count, *shape), dtype=np.uint8)


def arrays(*shape: int, seed: int = 0) -> dict[str, Any]:
    """Noise of four classes as an npz file has it."""
    return {
        "train_images": drawn(24, *shape, seed=seed),
        "train_labels": np.arange(24, dtype=np.uint8) % 4,
        "test_images": drawn(8, *shape, seed=seed + 1),
        "test_labels": np.arange(8, dtype=np.int32) % 4,
    }


def saved(path: Path, parts: dict[str, Any], **options: Any) -> Npz:
    np.savez_compressed(path, **parts)
    return Npz(npz=str(path), **options)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3)])
def test_arrays_become_a_data_set_named_by_its_content(tmp_path: Path, shape: tuple[int, ...]):
    parts = arrays(*shape)
    name = register(saved(tmp_path / "My Flowers.npz", parts))
    about = describe(name)
    assert name.startswith("my_flowers-") and len(name) == len("my_flowers-") + 10
    shown = about.classes, about.channels, about.size, about.train, about.test
    assert shown == (4, 3 if shape[-1] == 3 else 1, 8, 24, 8)
    assert (about.flip, about.padding, about.epochs, about.stem_stride) == (False, 1, 600, 1)
    pixels = (parts["train_images"] / 255).reshape(24, 8, 8, -1)
    assert about.mean == pytest.approx(tuple(pixels.mean((0, 1, 2))), abs=1e-6)
    assert about.std == pytest.approx(tuple(pixels.std((0, 1, 2))), abs=1e-6)
    found = folder.arrays(about)
    expected = parts["train_images"].reshape(24, 8, 8, -1).transpose(0, 3, 1, 2)
    assert (found.train_pixels == expected).all()
    assert found.test_labels.tolist() == [0, 1, 2, 3] * 2


def test_a_name_follows_content_and_use_and_not_place_time_or_layout(tmp_path: Path):
    first = register(saved(tmp_path / "a.npz", arrays(8, 8)))
    (tmp_path / "b").mkdir()
    fortran = {name: np.asfortranarray(part) for name, part in arrays(8, 8).items()}
    assert register(saved(tmp_path / "b/a.npz", fortran)) == first
    others = {
        register(saved(tmp_path / "b/a.npz", arrays(8, 8, seed=5))),
        *(
            register(replace(Npz(npz=str(tmp_path / "a.npz")), **{option: value}))
            for option, value in [("flip", True), ("padding", 0), ("mean", (0.5,)), ("epochs", 9)]
        ),
    }
    assert len({first, *others}) == 6
    assert describe(register(Npz(npz=str(tmp_path / "a.npz"), name="b"))).name == f"b{first[1:]}"


def test_it_is_read_again_only_where_a_file_has_changed(tmp_path: Path, monkeypatch: Any):
    source = saved(tmp_path / "a.npz", arrays(8, 8))
    name, read = register(source), Npz.read
    reads: list[Npz] = []
    monkeypatch.setattr(Npz, "read", lambda self: reads.append(self) or read(self))
    forget()
    assert (register(source), reads) == (name, [])
    os.utime(tmp_path / "a.npz", ns=(1, 1))
    assert (register(source), len(reads)) == (name, 1)
    for note in (tmp_path / "cache/own").iterdir():
        note.write_text('{"stamp": [1], "description": 3}')
    assert (register(source), len(reads)) == (name, 2)
    saved(tmp_path / "a.npz", arrays(8, 8, seed=3))
    assert register(source) != name


def picture(path: Path, *size: int, mode: str = "RGB", **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode()) + sum(path.parent.name.encode())
    shape = {"L": size[::-1], "RGB": (*size[::-1], 3)}[mode]
    Image.fromarray(drawn(1, *shape, seed=seed)[0]).save(path, **how)


def test_a_folder_of_images_has_a_class_for_each_folder_in_it(tmp_path: Path):
    root = tmp_path / "photos"
    for kind in ("train", "test"):
        for label in ("bee", "Ant", "cat"):
            for number in range(3):
                picture(root / kind / label / f"{number}.png", 8, 8)
    (root / "train/.cache").mkdir()
    (root / "train/bee/notes.txt").write_text("not an image")
    about = describe(register(ImageFolder(folder=str(root))))
    assert (about.classes, about.channels, about.size, about.train, about.test) == (3, 3, 8, 9, 9)
    found = folder.arrays(about)
    assert found.train_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    with Image.open(root / "train/bee/1.png") as image:
        assert (found.train_pixels[4] == np.asarray(image).transpose(2, 0, 1)).all()


def test_images_of_any_size_and_kind_are_scaled_and_a_share_is_held_out(tmp_path: Path):
    root = tmp_path / "photos"
    for number in range(10):
        picture(root / "a" / f"{number}.jpg", 20 + number, 30)
        picture(root / "b" / "deeper" / f"{number}.PNG", 12, 40, mode="L")
    about = describe(register(ImageFolder(folder=str(root), size=16, test=0.2)))
    assert (about.channels, about.size, about.train, about.test) == (3, 16, 16, 4)
    assert sorted(folder.arrays(about).test_labels.tolist()) == [0, 0, 1, 1]
    shutil.rmtree(root / "a")
    shutil.copytree(root / "b", root / "c")
    assert describe(register(ImageFolder(folder=str(root), size=16, test=0.2))).channels == 1


def header(parts: dict[str, Any], **shapes: tuple[int, ...]) -> bytes:
    """An npz file whose arrays claim other shapes than they have."""
    file = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            array = io.BytesIO()
            shape = shapes.get(name, part.shape)
            about = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(array, about)
            archive.writestr(f"{name}.npy", array.getvalue() + part.tobytes())
    return file.getvalue()


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"train_images": drawn(24, 8, 8) / 255}, "train_images is float64, not uint8", "astype"),
    ({"train_images": drawn(24, 8, 9)}, "images of 8×9 pixels", "squares"),
    ({"train_images": drawn(24, 64)}, "has shape (24, 64)", "[N, H, W]"),
    ({"train_images": drawn(24, 8, 8, 40)}, "has shape (24, 8, 8, 40)", "16 channels"),
    ({"train_images": drawn(24, 16, 16)}, "training images are (16, 16), and test", "one shape"),
    ({"test_images": drawn(0, 8, 8)}, "test_images has shape (0, 8, 8)", "at least one"),
    ({"train_images": drawn(23, 8, 8)}, "has 23 images, and train_labels 24", "one label for"),
    ({"train_images": np.zeros((24, 8, 8), np.uint8)}, "channel 0 is the same", "give std"),
    ({"train_labels": np.arange(24) / 2}, "train_labels is float64", "whole numbers"),
    ({"train_labels": np.eye(24, 4, dtype=int)}, "of shape (24, 4)", "whole numbers"),
    ({"train_labels": np.zeros(24, int)}, "all training images are of one class", "two classes"),
    ({"train_labels": np.arange(24) % 4 * 2}, "has no image of class 1", "without gaps"),
    ({"train_labels": np.arange(24) % 4 - 1}, "train_labels[0] is -1", "from 0"),
    ({"train_labels": np.arange(24) * 10**9}, "is 23000000000, of at most 10,000", "without gaps"),
    ({"test_labels": np.arange(8)}, "test_labels[7] is 7, the training labels end at 3", "from 0"),
    ({"test_labels": None}, "lacks test_labels", "test: 0.2"),
    ({"train_labels": np.array([0, None] * 12)}, "holds Python objects", "nothing is unpickled"),
]


@pytest.mark.parametrize(("change", "what", "fix"), WRONG, ids=[row[1] for row in WRONG])
def test_a_bad_array_is_one_error_that_names_it(tmp_path, change, what, fix):
    parts = {name: part for name, part in (arrays(8, 8) | change).items() if part is not None}
    source = saved(tmp_path / "a.npz", parts)
    with pytest.raises(DataError) as caught:
        register(source)
    assert what in caught.value.what and fix in caught.value.fix
    assert "a.npz" in str(caught.value)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no sound npz file"),
        (b"PK\x03\x04" + b"x" * 200, "is no sound npz file"),
        (header(arrays(8, 8), train_images=(10**7, 64, 64, 3)), "takes 122,880,000,000 bytes"),
        (header(arrays(8, 8), train_labels=(10**12,)), "takes 1,000,000,000,000 bytes"),
        (header(arrays(8, 8), train_images=(100, 8, 8)), "is no sound npz file"),
    ],
)
def test_a_damaged_or_vast_file_is_refused_before_it_takes_memory(tmp_path, content, what):
    (tmp_path / "a.npz").write_bytes(content)
    start = time.monotonic()
    with pytest.raises(DataError, match=what):
        register(Npz(npz=str(tmp_path / "a.npz")))
    assert time.monotonic() - start < 5


def _no_split(root: Path) -> None:
    (root / "test").rename(root / "other")


def _truncate(root: Path) -> None:
    file = root / "train/a/1.png"
    file.write_bytes(file.read_bytes()[:90])


def _vast(root: Path) -> None:
    Image.new("L", (20_000, 3_000)).save(root / "train/a/1.png", compress_level=1)


def _deep(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "train/a/1.png")


SPOILT: list[tuple[Any, dict[str, Any], str]] = [
    (_no_split, {}, "lacks test\n  make folders train and test"),
    (lambda root: None, {"test": 0.2}, "has a test folder"),
    (_truncate, {}, "1.png: is no image that can be read"),
    (lambda root: (root / "train/a/1.png").write_text("<svg>"), {}, "1.png: is no image"),
    (_vast, {"size": 8}, "1.png: is 20000×3000 pixels"),
    (_deep, {}, "1.png: has pixels of mode I;16"),
    (lambda root: picture(root / "train/b/1.png", 8, 9), {}, "is 8×9 pixels, and 0.png is 8×8"),
    (lambda root: shutil.rmtree(root / "train/b"), {}, "test: has the class b, which"),
    (lambda root: [shutil.rmtree(root / part / "b") for part in ("train", "test")], {}, "1 folder"),
    (lambda root: (root / "train/c").mkdir(), {}, "train/c: has no image"),
    (shutil.rmtree, {}, "can't be read: No such file"),
    (lambda root: None, {"mean": (0.5, 0.5)}, "mean has 2 numbers, and images have 3"),
]


@pytest.mark.parametrize(("spoil", "options", "error"), SPOILT, ids=[row[2] for row in SPOILT])
def test_a_folder_that_will_not_do_is_one_error(tmp_path, spoil, options, error):
    root = tmp_path / "photos"
    for part, label, number in [(p, c, n) for p in ("train", "test") for c in "ab" for n in (0, 1)]:
        picture(root / part / label / f"{number}.png", 8, 8)
    spoil(root)
    with pytest.raises(DataError) as caught:
        register(ImageFolder(folder=str(root), **options))
    assert error in str(caught.value)
    assert "\n" not in caught.value.what


def test_a_store_describes_and_holds_it_for_a_process_without_its_files(tmp_path: Path):
    name = register(saved(tmp_path / "a.npz", arrays(8, 8)))
    about, expected = describe(name), folder.arrays(describe(name))
    opened = open_store(tmp_path / "results")
    with publishing([name, "digits"], opened):
        assert opened.leases.take(layout.dataset_lease(name)) is None, "gc could remove it"
    assert sorted(opened.list(layout.DATASETS)) == [
        layout.dataset(name),
        layout.dataset_arrays(name),
    ]
    (tmp_path / "a.npz").unlink()
    shutil.rmtree(tmp_path / "cache")
    forget()
    with pytest.raises(SpecError, match="no description of the data set"):
        describe(name)
    open_store(tmp_path / "results")
    assert replace(describe(name), description="") == replace(about, description="")
    for one, other in zip(folder.arrays(describe(name)), expected, strict=True):
        assert (one == other).all()
    forget()
    shutil.rmtree(tmp_path / "cache")
    open_store(tmp_path / "results")
    data = bytearray(opened.get(layout.dataset_arrays(name)))
    data[-300] ^= 1
    opened.put(layout.dataset_arrays(name), bytes(data))
    with pytest.raises(DataError, match="are in no store of this process"):
        folder.arrays(describe(name))


@pytest.mark.parametrize(
    "change",
    [{"classes": 5}, {"classes": "4"}, {"mean": [0.1]}, {"mean": None}, {"train": -1}, {"name": 3}],
)
def test_a_description_that_was_altered_is_refused(tmp_path: Path, change: dict[str, Any]):
    name = register(saved(tmp_path / "a.npz", arrays(8, 8)))
    described = json.loads(json.dumps(to_json(describe(name))))
    assert from_json(described).name == name
    with pytest.raises(ValueError, match="its "):
        from_json(described | change)
    opened = LocalStore(tmp_path / "results")
    opened.put(layout.dataset(name), json.dumps(described | change).encode())
    forget()
    store.attach_store(tmp_path / "results")
    with pytest.raises(SpecError, match="no description"):
        describe(name)


@pytest.mark.parametrize(
    "change",
    [
        *({key: 0} for key in ("train", "test", "size", "classes", "epochs", "stem_stride")),
        *({"padding": -1}, {"std": (0.0,)}, {"std": (math.nan,)}, {"mean": (math.inf,)}),
        {"channels": 0, "mean": (), "std": ()},
    ],
)
def test_a_description_with_a_name_that_fits_is_refused_if_no_data_set_can_be_so(tmp_path, change):
    about = replace(describe(register(saved(tmp_path / "a.npz", arrays(8, 8)))), **change)
    with pytest.raises(ValueError, match="its "):
        from_json(
            json.loads(json.dumps(to_json(replace(about, name=f"a-{custom._digest(about)}"))))
        )


def test_a_worker_without_its_files_trains_on_what_the_store_has(tmp_path: Path):
    name = register(saved(tmp_path / "a.npz", arrays(8, 8)))
    with publishing([name], open_store(tmp_path / "results")):
        pass
    (tmp_path / "a.npz").unlink()
    cell = named("DARTS")
    recipe = Recipe(epochs=1, batch_size=12, validation=0.25)
    spec = TrialSpec(cell, name, 1, NetworkSpec(3, 2), recipe, 0.1, 0)
    (tmp_path / "spec.json").write_text(spec.to_json())
    command = [sys.executable, "-m", "workers.train", tmp_path / "spec.json", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--store", tmp_path / "results"],
        env=os.environ | {"NAS_SWEEP_DATA": str(tmp_path / "node")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.suffix for path in (tmp_path / "node").glob("a-*")] == [".safetensors"]


def test_a_plugins_function_is_read_once_and_a_failure_is_one_line(own_plugins: Any):
    from results_schema.plugins import registry

    calls: list[int] = []

    def noise() -> Any:
        calls.append(1)
        return tuple(arrays(8, 8).values())

    registry("dataset").enter("noise", noise, flip=True, epochs=4)
    registry("dataset").enter("broken", lambda: 1 / 0)
    registry("dataset").enter("short", lambda: {"train_images": drawn(3, 8, 8)})
    registry("dataset").enter("odd", noise, mirrored=True)
    name = register(custom.plugged("noise"))
    assert register(custom.plugged("noise")) == name and len(calls) == 1
    assert (describe(name).flip, describe(name).epochs) == (True, 4)
    for entry, error in (
        ("broken", "data set broken: its function fails: ZeroDivisionError"),
        ("short", "data set short: lacks train_labels"),
    ):
        with pytest.raises(DataError, match=error):
            register(Plugged(plugin=entry))
    with pytest.raises(SpecError, match="no option mirrored"):
        custom.plugged("odd")
