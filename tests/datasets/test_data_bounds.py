"""Bounds of the DATA argument: random samples, and files that would unpack to gigabytes."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from nc_tf.attacks.backdoor_file import load_backdoor
from nc_tf.cli.options import class_names
from nc_tf.datasets.formats import jpegs, pictures
from nc_tf.datasets.read import read, read_both
from nc_tf.errors import InputError
from nc_tf.storage import bounds
from nc_tf.storage.trigger_file import load_trigger

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 12, 16, 3), np.uint8)
LABELS = np.arange(23) % 5

Writer = Callable[[Path], Path]


def npz(path: Path, **more: Any) -> Path:
    np.savez(path / "d.npz", x=IMAGES, y=LABELS, **more)
    return path / "d.npz"


def packed_npz(path: Path) -> Path:
    np.savez_compressed(path / "d.npz", x=IMAGES, y=np.eye(5)[LABELS])
    return path / "d.npz"


def by_columns(path: Path) -> Path:
    np.savez(path / "d.npz", x=np.asfortranarray(IMAGES), y=LABELS)
    return path / "d.npz"


def channels_first(path: Path) -> Path:
    np.savez(path / "d.npz", data=IMAGES.transpose(0, 3, 1, 2), label=LABELS)
    return path / "d.npz"


def h5(path: Path) -> Path:
    with h5py.File(path / "d.h5", "w") as file:
        file["x"], file["y"] = IMAGES, LABELS
    return path / "d.h5"


def chunked_h5(path: Path) -> Path:
    with h5py.File(path / "d.h5", "w") as file:
        file.create_dataset("x", data=IMAGES, chunks=(4, 12, 16, 3), compression="gzip")
        file["y"] = LABELS
    return path / "d.h5"


def picture_folder(path: Path) -> Path:
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        file = path / f"class {label}" / f"{number:02d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
    return path


def jpeg_archive(path: Path) -> Path:
    streams = [io.BytesIO() for _ in IMAGES]
    for stream, image in zip(streams, IMAGES, strict=True):
        Image.fromarray(image).save(stream, "JPEG")
    content = [stream.getvalue() for stream in streams]
    buf, offsets = np.frombuffer(b"".join(content), np.uint8), np.cumsum([0, *map(len, content)])
    np.savez(path / "d.npz", buf=buf, offsets=offsets, labels=LABELS, is_test=np.arange(23) % 2 == 0)
    return path / "d.npz"


EVERY = pytest.mark.parametrize(
    "write", [npz, packed_npz, by_columns, channels_first, h5, chunked_h5, picture_folder, jpeg_archive], ids=lambda write: write.__name__
)


@EVERY
def test_a_sample_is_the_one_that_the_whole_would_give(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path)
    whole = read(path)
    for count, seed in ((1, 0), (7, 0), (7, 3), (len(whole.images), 1)):
        expected, sample = whole.sample(count, seed), read(path, count=count, seed=seed, one_class=True)
        np.testing.assert_array_equal(sample.images, expected.images)
        np.testing.assert_array_equal(sample.labels, expected.labels)
        assert (sample.images.dtype, sample.class_names, sample.subset) == (whole.images.dtype, whole.class_names, whole.subset)
        assert (sample.available or count, expected.available or count) == (len(whole.images),) * 2
    many = len(whole.images) + 1
    with pytest.raises(InputError, match=rf"{many} images wanted: expected 1 to {many - 1}, what the data holds; choose fewer"):
        read(path, count=many)
    assert len(read(path, at_most=many).images) == many - 1
    np.testing.assert_array_equal(read(path, at_most=7, seed=3).images, whole.sample(7, 3).images)


@EVERY
def test_a_sample_to_search_on_leaves_the_test_set_whole(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path)
    train, test = read_both(path, seed=2)
    sample, again = read_both(path, seed=2, count=5)
    np.testing.assert_array_equal(again.images, test.images)
    np.testing.assert_array_equal(sample.images, train.sample(5, 2).images)
    np.testing.assert_array_equal(sample.labels, train.sample(5, 2).labels)
    few, measured = read_both(path, seed=2, at_most=5, test_at_most=3)
    np.testing.assert_array_equal(few.images, sample.images)
    np.testing.assert_array_equal(measured.images, test.sample(3, 2).images)
    assert (measured.available, len(read_both(path, seed=2, at_most=99, test_at_most=99)[1].images)) == (len(test.images),) * 2


def test_of_a_sample_no_other_picture_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counting(file: Any, **options: Any) -> Image.Image:
        opened.append(file)
        return Image.open(file, **options)

    for module, write, most in ((pictures, picture_folder, 5), (jpegs, jpeg_archive, 6)):
        del opened[:]
        with monkeypatch.context() as patch:
            patch.setattr(module, "Image", type("Counting", (), {"open": staticmethod(counting)}))
            (tmp_path / write.__name__).mkdir()
            read(write(tmp_path / write.__name__), count=5, image_shape=(12, 16, 3))
        assert len(opened) <= most


def test_of_a_sample_no_other_row_is_read(tmp_path: Path) -> None:
    """Damage in rows that are not wanted is not seen, so they were not read."""
    for write in (npz, chunked_h5):
        (tmp_path / write.__name__).mkdir()
        path = write(tmp_path / write.__name__)
        rows = np.sort(np.random.default_rng(0).permutation(23)[:1])
        content = bytearray(path.read_bytes())
        if write is npz:
            start = content.index(IMAGES[20].tobytes()) + 40
            content[start] ^= 1
        else:
            with h5py.File(path) as file:
                info = file["x"].id.get_chunk_info(5)
            content[info.byte_offset : info.byte_offset + info.size] = bytes(info.size)
        path.write_bytes(content)
        assert rows[0] < 20
        np.testing.assert_array_equal(read(path, count=1, one_class=True).images, IMAGES[rows])
        wholes: list[dict[str, Any]] = [{}, {"count": 23}, {"at_most": 99}]
        for whole in wholes:
            with pytest.raises(InputError, match="cannot be read"):
                read(path, **whole)


def test_labels_that_are_too_few_are_named_before_the_sample_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS[:9])
    with pytest.raises(InputError, match=r"23 images and 9 labels: expected one label an image; check how they were saved"):
        read(tmp_path / "d.npz", count=3)


# Bombs.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that files of a few kilobytes pass."""
    monkeypatch.setattr(bounds, "FREE_BYTES", dict.fromkeys(bounds.FREE_BYTES, 2**14))


BOMB = r"unpacks [\d,]+ bytes to [\d,]+, more than 100 times as many: expected images, which pack less; if this is no bomb, save"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_that_unpack_to_far_more_than_the_file_holds_are_refused(tmp_path: Path, suffix: str) -> None:
    path, zeros = tmp_path / f"d{suffix}", np.zeros((400, 32, 32, 3), np.uint8)
    if suffix == ".npz":
        np.savez_compressed(path, x=zeros, y=np.arange(400))
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=zeros, compression="gzip", chunks=(100, 32, 32, 3))
            file["y"] = np.arange(400)
    for count in (None, 3):
        with pytest.raises(InputError, match=rf"x in .*{path.name} {BOMB}"):
            read(path, count=count)


@pytest.mark.usefixtures("small")
def test_an_array_of_fill_values_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("x", (400, 32, 32, 3), np.uint8, fillvalue=7, chunks=(1, 32, 32, 3))
        file["y"] = np.arange(400)
    with pytest.raises(InputError, match=r"x in .* unpacks 0 bytes to 1,228,800, more than 100 times as many: expected images"):
        read(tmp_path / "d.h5")


@pytest.mark.usefixtures("small")
def test_members_that_share_their_bytes_are_counted_together(tmp_path: Path) -> None:
    """A member that passes alone, and that the list of members names many times."""
    array = io.BytesIO()
    np.save(array, np.repeat(RNG.integers(0, 256, 40, np.uint8), 300))
    with zipfile.ZipFile(tmp_path / "t.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.npy", array.getvalue())
        (info,) = archive.infolist()
        archive.filelist += [info] * 50
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=rf"t.npz cannot be read \(0 in .* {BOMB}"):
        load_trigger(tmp_path / "t.npz")


@pytest.mark.usefixtures("small")
def test_trigger_files_that_are_bombs_or_pipes_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "t.npz", mask=np.zeros((999, 999)), pattern=np.zeros((999, 999, 3)), label=1)
    os.mkfifo(tmp_path / "p.npz")
    for load in (load_trigger, load_backdoor):
        with pytest.raises(InputError, match=rf"t.npz cannot be read \(mask in .* {BOMB}"):
            load(tmp_path / "t.npz")
        with pytest.raises(InputError, match=r"p.npz cannot be read \(.* is a pipe or a device: expected a plain file"):
            load(tmp_path / "p.npz")


@pytest.mark.usefixtures("small")
def test_jpegs_and_pictures_that_are_bombs_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (1600, 1600)).save(stream, "JPEG", optimize=True)
    content = np.frombuffer(stream.getvalue() * 2, np.uint8)
    half = len(content) // 2
    np.savez(tmp_path / "d.npz", buf=content, offsets=[0, half, 2 * half], labels=[0, 1], is_test=[True, True])
    with pytest.raises(InputError, match=rf"d.npz {BOMB}"):
        read(tmp_path / "d.npz")
    for suffix in ("png", "gif", "tif"):
        for name in "ab":
            (tmp_path / suffix / name).mkdir(parents=True)
            more = {"compression": "tiff_lzw"} if suffix == "tif" else {}
            Image.new("L", (1600, 1600)).save(tmp_path / suffix / name / f"0.{suffix}", **more)
        with pytest.raises(InputError, match=rf"{suffix} {BOMB}"):
            read(tmp_path / suffix)
        assert read(tmp_path / suffix, image_shape=(8, 8, 1)).images.shape == (2, 8, 8, 1)  # which takes no room


@pytest.mark.usefixtures("small")
def test_text_without_letters_takes_time_and_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<U0", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(npz(tmp_path), "a") as archive:
        archive.writestr("classes.npy", header.getvalue())
    assert read(tmp_path / "d.npz").class_names is None


def test_labels_and_masks_may_pack_well(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.repeat(IMAGES, 400, 0), y=np.eye(43)[np.arange(23 * 400) // 300])
    assert read(tmp_path / "d.npz").labels.max() == 30
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"], file["y"] = IMAGES, LABELS
        file.attrs.create("layer_names", np.zeros(7000, "S8"))  # which is never read
    assert len(read(tmp_path / "d.h5").images) == 23


# Names of classes in a file of their own.


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("stop\nyield\n", ("stop", "yield")),
        ("\ufeff0 eins\n1 zwei", ("eins", "zwei")),
        ("0 Class 1\r\n1 Class 2\r\n\r\n", ("Class 1", "Class 2")),
        ("0 degrees\n90 degrees", ("0 degrees", "90 degrees")),
        ("a\x1b[2J\x1b]0;owned\x07\nb\u2028c", (r"a\x1b[2J\x1b]0;owned\x07", r"b\u2028c")),
    ],
)
def test_class_names_are_cleaned(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    (tmp_path / "names.txt").write_bytes(content.encode())
    assert class_names(str(tmp_path / "names.txt"), 2) == names


def test_what_is_no_list_of_class_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "names.txt").write_bytes(b"a\nb\nc")
    with pytest.raises(InputError, match=r"names.txt has 3 names: expected 2, one for each class of the model; complete the list"):
        class_names(str(tmp_path / "names.txt"), 2)
    (tmp_path / "names.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(InputError, match=r"names.txt cannot be read \(.*\): expected a text file with one class name a line"):
        class_names(str(tmp_path / "names.txt"), 2)
    monkeypatch.setattr("nc_tf.cli.options.LARGEST_NAMES", 3)
    with pytest.raises(InputError, match=r"names.txt has more than 3 bytes: expected a text file with one class name a line"):
        class_names(str(tmp_path / "names.txt"), 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe is a pipe or a device: expected a plain file; copy the content into one"):
        class_names(str(tmp_path / "pipe"), 2)
