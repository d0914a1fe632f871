"""Archives of JPEGs: read as any other data, and refused if their arrays contradict each other, before memory is allocated."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nc_tf.datasets.formats import jpegs
from nc_tf.datasets.formats.jpegs import JpegArchive
from nc_tf.datasets.read import read, read_both
from nc_tf.errors import InputError


def jpeg(brightness: int, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, (brightness,) * len(mode) if len(mode) > 1 else brightness).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def pack(path: Path, pictures: list[bytes], **replaced: Any) -> Path:
    """Rows 0, 3, 6, ... are the test set; the label of a row is its number; more arrays, or None for one less."""
    rows = len(replaced.pop("n_frames", pictures))
    arrays = {
        "buf": np.frombuffer(b"".join(pictures), np.uint8),
        "offsets": np.cumsum([0, *map(len, pictures)]),
        "labels": np.arange(rows),
        "is_test": np.arange(rows) % 3 == 0,
        "classes": np.array([f"class {label}" for label in range(rows)]),
        **({"n_frames": np.full(rows, 50)} if rows < len(pictures) else {}),
        **replaced,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def pictures(tmp_path: Path, **replaced: Any) -> Path:
    return pack(tmp_path / "p.npz", [jpeg(20 * number) for number in range(6)], **replaced)


def clips(tmp_path: Path, **replaced: Any) -> Path:
    """Six clips of two frames: 0 and 10, 20 and 30, ..."""
    return pack(tmp_path / "c.npz", [jpeg(10 * number) for number in range(12)], n_frames=range(6), **replaced)


def test_pictures_are_read(tmp_path: Path) -> None:
    data = read(pictures(tmp_path), image_shape=(6, 8, 3))
    assert (data.images.shape, data.images.dtype, data.subset) == ((2, 6, 8, 3), np.uint8, "test")
    assert data.labels.tolist() == [0, 3]
    assert (data.class_names or ())[3] == "class 3"
    np.testing.assert_allclose(data.images[:, 2, 2, 1], [0, 60], atol=2)


def test_clips_are_read_frame_by_frame(tmp_path: Path) -> None:
    train, test = read_both(clips(tmp_path), seed=0, image_shape=(2, 6, 8, 3))
    assert (train.images.shape, test.images.shape) == ((4, 2, 6, 8, 3), (2, 2, 6, 8, 3))
    assert (train.subset, test.subset) == ("train", "test")
    np.testing.assert_allclose(train.images[:, :, 0, 0, 0], [[20, 30], [40, 50], [80, 90], [100, 110]], atol=2)
    assert train.labels.tolist() == [1, 2, 4, 5]


def test_clips_of_one_frame_are_no_pictures(tmp_path: Path) -> None:
    data = read(pack(tmp_path / "c.npz", [jpeg(9), jpeg(10)], n_frames=range(2), is_test=np.ones(2, bool)))
    assert data.images.shape == (2, 6, 8, 3)  # without the array n_frames
    np.savez(tmp_path / "d.npz", **np.load(tmp_path / "c.npz"), n_frames=np.ones(2, int))
    assert read(tmp_path / "d.npz").images.shape == (2, 1, 6, 8, 3)


def test_gray_pictures_have_one_channel_and_names_may_be_missing(tmp_path: Path) -> None:
    data = read(pack(tmp_path / "p.npz", [jpeg(30, mode="L"), jpeg(40, mode="L")], is_test=np.ones(2, bool), classes=None))
    assert data.images.shape == (2, 6, 8, 1)
    assert data.class_names is None


@pytest.mark.parametrize(("is_test", "found"), [(np.zeros(6, bool), "train"), (np.ones(6, bool), "test")])
def test_the_only_set_there_is_stands_in(tmp_path: Path, is_test: np.ndarray, found: str) -> None:
    path = pictures(tmp_path, is_test=is_test)
    for subset in ("train", "test"):
        data = read(path, subset="train" if subset == "train" else "test")
        assert (data.subset, len(data.images)) == (found, 6)
    train, test = read_both(path, seed=0)
    assert (len(train.images), len(test.images)) == (4, 2)


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    from nc_tf.storage.npz_file import npz_arrays

    frames = [jpeg(10 * number) for number in range(6)]
    archive = JpegArchive(
        np.frombuffer(b"".join(frames), np.uint8),
        np.cumsum([0, *map(len, frames)]),
        np.array([1, 0]),
        np.array([True, False]),
        ("a", "b"),
        np.array([70, 80]),
        ("v.avi", "w.avi"),
        '{"frames": 3}',
        ("u.avi is no AVI video",),
    )
    jpegs.save(tmp_path / "c.npz", archive)
    with npz_arrays(tmp_path / "c.npz", text=jpegs.TEXT) as arrays:
        again = jpegs.unpack(arrays, "c")
    for field in ("classes", "names", "settings", "skipped"):
        assert getattr(again, field) == getattr(archive, field), field
    for field in ("buf", "offsets", "labels", "is_test", "n_frames"):
        np.testing.assert_array_equal(getattr(again, field), getattr(archive, field))
    assert again.frames == 3


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("buf of floats", {"buf": np.zeros(9)}, r"buf is float64 \(9,\): expected uint8 \(B,\); make the file again"),
    ("offsets of floats", {"offsets": np.zeros(7)}, r"offsets is float64 \(7,\): expected whole numbers"),
    ("labels of rank 2", {"labels": np.eye(6)}, r"labels has shape \(6, 6\): expected \(N,\), at least one"),
    ("no labels", {"labels": np.zeros(0, int)}, r"labels has shape \(0,\): expected \(N,\), at least one"),
    ("labels missing", {"labels": np.arange(4)}, r"7 offsets for 4 labels: expected N \+ 1"),
    ("clips of no length", {"labels": np.arange(3)}, r"7 offsets for 3 labels: expected N \+ 1"),
    ("no JPEG", {"offsets": np.array([0]), "n_frames": range(6)}, r"1 offsets for 6 labels: expected N \+ 1"),
    ("descending", {"offsets": np.array([0, 5, 4, 6, 7, 8, 9])}, r"offsets between 0 and 9: expected ascending ones from 0 to \d+"),
    ("beyond the end", {"offsets": np.arange(7) * 10**6}, r"offsets between 0 and 6000000: expected ascending ones"),
    ("before the start", {"offsets": np.arange(-1, 6)}, r"offsets between -1 and 5: expected ascending ones"),
    ("labels of another type", {"labels": np.arange(6.0)}, r"labels is float64: expected whole numbers; make the file again"),
    ("is_test of another type", {"is_test": np.ones(6)}, r"is_test is float64: expected true or false"),
    ("names short", {"classes": np.array(["a", "b"])}, r"label 5, and the names of 2 classes: expected a name for each label"),
    ("is_test short", {"is_test": np.ones(5, bool)}, r"is_test has shape \(5,\): expected \(6,\), one for each label"),
    ("classes of numbers", {"classes": np.arange(6)}, r"classes in .* has type int64: expected an array of text; save it as one"),
    ("pickles", {"labels": np.array([{}] * 6, object)}, r"labels in .* holds objects or strings, and unpickling objects can run code"),
    ("not JPEGs", {"buf": np.zeros(6, np.uint8), "offsets": np.arange(7)}, r"JPEG 0 is no JPEG \(UnidentifiedImageError\): expected JPEGs"),
]


@pytest.mark.parametrize(("replaced", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_arrays_that_contradict_each_other_are_refused(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(pictures(tmp_path, **replaced))


def test_lengths_of_another_number_of_clips_are_refused(tmp_path: Path) -> None:
    path = clips(tmp_path)
    np.savez(tmp_path / "d.npz", **{**np.load(path), "n_frames": np.ones(5, int)})
    with pytest.raises(InputError, match=r"n_frames has shape \(5,\): expected \(6,\)"):
        read(tmp_path / "d.npz")


def test_pictures_of_two_sizes_are_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "p.npz", [jpeg(0), jpeg(1, size=(9, 6))], is_test=np.ones(2, bool))
    with pytest.raises(InputError, match=r"JPEG 1 is 9x6 pixels \(RGB\), JPEG 0 8x6 \(RGB\): expected one size"):
        read(path)


def test_half_a_jpeg_is_named(tmp_path: Path) -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(noise, "JPEG")
    path = pack(tmp_path / "p.npz", [noise.getvalue(), noise.getvalue()[:2000]], is_test=np.ones(2, bool))
    with pytest.raises(InputError, match=r"JPEG 1 is damaged \(.*truncated.*\): expected whole JPEGs; make the file again"):
        read(path)


def test_four_colours_and_immense_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"JPEG 0 has 8x6 pixels \(CMYK\): expected RGB or L, and at most 67,108,864"):
        read(pack(tmp_path / "p.npz", [jpeg(0, mode="CMYK")] * 2, is_test=np.ones(2, bool)))
    monkeypatch.setattr(jpegs, "LARGEST_PICTURE", 47)
    with pytest.raises(InputError, match=r"JPEG 0 has 8x6 pixels \(RGB\): .* at most 47"):
        read(pictures(tmp_path))


def test_what_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nc_tf.storage.bounds.MEMORY_BOUND", 2**11)
    row = jpeg(0, size=(64, 64))
    with pytest.raises(InputError, match=r"p\.npz declares shape \(2, 64, 64, 3\), .* GiB: expected at most"):
        read(pack(tmp_path / "p.npz", [row] * 2, is_test=np.ones(2, bool)))


def test_another_shape_than_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one clip has shape \(2, 6, 8, 3\): expected \(16, 64, 64, 3\), the input of the model"):
        read(clips(tmp_path), image_shape=(16, 64, 64, 3))


def test_the_real_archives_are_read(realdata: Path) -> None:
    train, test = read_both(realdata / "ucf10_full_16x64_jpeg.npz", seed=0, image_shape=(16, 64, 64, 3))
    assert (train.images.shape, test.images.shape) == ((950, 16, 64, 64, 3), (364, 16, 64, 64, 3))
    assert set(train.labels) == set(test.labels) == set(range(10))
    assert (train.class_names or ())[4] == "HorseRace"
    data = read(realdata / "cifar10_jpeg.npz")
    assert (data.images.shape, data.subset) == ((10000, 32, 32, 3), "test")
    assert np.bincount(data.labels).tolist() == [1000] * 10
