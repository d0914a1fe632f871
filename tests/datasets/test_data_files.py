"""The DATA argument: every layout that is read, and one message for every fault."""

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nc_tf.datasets import labelled
from nc_tf.datasets.checks import check_images
from nc_tf.datasets.read import read
from nc_tf.errors import InputError

Arrays = dict[str, Any]

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
ONE_HOT = np.eye(3, dtype=np.uint8)[LABELS]


def save(path: Path, arrays: Arrays) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, allow_pickle=True, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def save_pictures(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    return folder


def colour(*values: int, size: tuple[int, int] = (4, 5)) -> Image.Image:
    return Image.new("RGB" if len(values) == 3 else "L", size, values if len(values) == 3 else values[0])


@pytest.fixture(params=[".h5", ".hdf5", ".npz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"data{request.param}"


# What is read.


@pytest.mark.parametrize(("images_name", "labels_name"), [("X_{}", "Y_{}"), ("x_{}", "y_{}")])
def test_the_wanted_subset_is_read(file: Path, images_name: str, labels_name: str) -> None:
    arrays: Arrays = {}
    for subset, step in (("test", 1), ("train", -1)):
        arrays |= {images_name.format(subset): IMAGES[::step], labels_name.format(subset): ONE_HOT[::step]}
    save(file, arrays)
    for subset, step in (("test", 1), ("train", -1)):
        data = read(file, subset="test" if subset == "test" else "train")
        np.testing.assert_array_equal(data.images, IMAGES[::step])
        np.testing.assert_array_equal(data.labels, LABELS[::step])
        assert (data.images.dtype, data.labels.dtype, data.class_names, data.subset) == (np.uint8, np.int64, None, subset)


@pytest.mark.parametrize(("stored", "found"), [("X_test Y_test", "test"), ("X_train Y_train", "train"), ("x y", "only")])
@pytest.mark.parametrize("wanted", ["test", "train"])
def test_the_only_subset_there_is_stands_in(file: Path, stored: str, found: str, wanted: labelled.Subset) -> None:
    images_name, labels_name = stored.split()
    data = read(save(file, {images_name: IMAGES, labels_name: LABELS}), subset=wanted)
    assert data.subset == found
    np.testing.assert_array_equal(data.images, IMAGES)


def test_data_and_label_have_their_channels_first(file: Path) -> None:
    data = read(save(file, {"data": IMAGES.transpose(0, 3, 1, 2), "label": LABELS}))
    np.testing.assert_array_equal(data.images, IMAGES)


def test_clips_and_gray_images_are_read(file: Path) -> None:
    assert read(save(file, {"x": IMAGES[:, None], "y": LABELS})).images.shape == (6, 1, 5, 4, 3)
    gray = np.repeat(IMAGES, 2, axis=2)[..., 0]
    np.testing.assert_array_equal(read(save(file, {"x": gray, "y": LABELS})).images, gray[..., None])


def test_an_npz_file_may_name_its_classes(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    assert read(save(file, {"x": IMAGES, "y": LABELS, "classes": np.array(["a", "b", "c"])})).class_names == ("a", "b", "c")
    with pytest.raises(InputError, match=r"label 2, and the names of 2 classes: expected a name for each label; correct `classes`"):
        read(save(file, {"x": IMAGES, "y": LABELS, "classes": np.array(["a", "b"])}))


@pytest.mark.parametrize("other", [np.arange(3), np.array("abc"), np.array([["a"], ["b"], ["c"]]), np.array(["a", "b", None])])
def test_what_else_is_called_classes_is_left_alone(tmp_path: Path, other: np.ndarray) -> None:
    np.savez(tmp_path / "data.npz", x=IMAGES, y=LABELS, classes=other)
    assert read(tmp_path / "data.npz").class_names is None


def test_a_name_cannot_write_more_than_a_name(tmp_path: Path) -> None:
    forged = ["a", "b\n- Outlier: No", "\ud800"]
    read_names = read(save(tmp_path / "data.npz", {"x": IMAGES, "y": LABELS, "classes": np.array(forged)})).class_names
    assert read_names == ("a", r"b\n- Outlier: No", r"\ud800")


def test_the_wanted_shape_passes(file: Path) -> None:
    save(file, {"x": IMAGES, "y": LABELS})
    assert read(file, image_shape=(5, 4, 3)).images.shape == (6, 5, 4, 3)
    assert read(file, image_shape=(None, None, 3)).images.shape == (6, 5, 4, 3)


@settings(deadline=None, max_examples=30)
@given(
    images=hnp.arrays(np.uint8, st.tuples(st.integers(2, 4), *[st.integers(1, 5)] * 2, st.sampled_from([1, 3, 4])))
    | hnp.arrays(np.float32, (3, 4, 5, 3), elements=st.floats(2, 255, width=32)),
    suffix=st.sampled_from([".h5", ".npz"]),
    one_hot=st.booleans(),
)
def test_what_is_saved_is_what_is_read(images: np.ndarray, suffix: str, one_hot: bool) -> None:
    labels = np.arange(len(images))
    with tempfile.TemporaryDirectory() as folder:
        stored = np.eye(len(images))[labels] if one_hot else labels
        data = read(save(Path(folder) / f"data{suffix}", {"x": images, "y": stored}))
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    assert (data.images.dtype, data.labels.dtype) == (images.dtype, np.int64)


def test_a_folder_gives_names_and_labels_in_order(tmp_path: Path) -> None:
    pictures = {"stop/b.png": colour(1, 2, 3), "stop/a.ppm": colour(4, 5, 6), "ahead/a.bmp": colour(7, 8, 9)}
    save_pictures(tmp_path, pictures)
    (tmp_path / "stop" / "readme.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    data = read(tmp_path)
    assert data.class_names == ("ahead", "stop")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.images[:, 0, 0].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert (data.images.shape, data.images.dtype, data.subset) == ((3, 5, 4, 3), np.uint8, "only")


def test_folders_named_by_numbers_are_the_labels(tmp_path: Path) -> None:
    data = read(save_pictures(tmp_path, {f"{label}/a.png": colour(label, 0, 0) for label in (10, 9, 2)}))
    assert data.labels.tolist() == [2, 9, 10]
    assert data.images[:, 0, 0, 0].tolist() == [2, 9, 10]
    assert data.class_names is None


def test_folders_named_test_and_train_are_the_subsets(tmp_path: Path) -> None:
    save_pictures(tmp_path, {f"{subset}/{name}/a.png": colour(9, 9, 9) for subset in ("test", "train") for name in "ab"})
    save_pictures(tmp_path, {"train/b/b.png": colour(1, 1, 1)})
    assert (len(read(tmp_path).images), read(tmp_path).subset) == (2, "test")
    assert (len(read(tmp_path, subset="train").images), read(tmp_path, subset="train").subset) == (3, "train")


def test_pictures_are_scaled_to_the_wanted_shape(tmp_path: Path) -> None:
    save_pictures(tmp_path, {"a/a.jpg": colour(50, 50, 50, size=(9, 7)), "b/a.png": colour(60, 60, 60)})
    data = read(tmp_path, image_shape=(8, 6, 3))
    assert data.images.shape == (2, 8, 6, 3)
    assert [int(image.max()) for image in data.images] == [50, 60]
    assert read(tmp_path, image_shape=(8, 6, 1)).images.shape == (2, 8, 6, 1)


def test_gray_pictures_keep_one_channel_unless_the_model_takes_three(tmp_path: Path) -> None:
    save_pictures(tmp_path, {"a/a.png": colour(50), "b/a.png": colour(60)})
    assert read(tmp_path).images.shape == (2, 5, 4, 1)
    assert read(tmp_path, image_shape=(None, None, 3)).images.shape == (2, 5, 4, 3)
    save_pictures(tmp_path, {"c/a.png": colour(1, 2, 3)})
    assert read(tmp_path).images.shape == (3, 5, 4, 3)


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype(float), ONE_HOT, ONE_HOT.astype(float), ONE_HOT.astype(bool)])
def test_every_form_of_label_is_understood(labels: np.ndarray) -> None:
    checked = check_images(IMAGES, labels)[1]
    assert checked.dtype == np.int64
    np.testing.assert_array_equal(checked, LABELS)


@pytest.mark.parametrize(("given", "checked"), [("uint8", "uint8"), ("int64", "uint8"), ("float16", "float32"), ("float64", "float32")])
def test_every_number_type_is_understood(given: str, checked: str) -> None:
    images, labels = check_images(IMAGES.astype(given))
    np.testing.assert_array_equal(images, IMAGES)
    assert images.dtype == checked
    assert labels is None


def test_whole_numbers_may_be_dark() -> None:
    assert check_images(IMAGES // 255)[0].max() == 1


# What the content of arrays is refused for, whether they come from a file or from a caller.

NAN = IMAGES.astype(float)
NAN[3, 2, 1, 0] = np.nan
BAD_ARRAYS: list[tuple[str, Any, Any, str]] = [
    ("counts differ", IMAGES, LABELS[:5], r"6 images and 5 labels: expected one label an image"),
    ("rank 2", IMAGES.reshape(6, -1), LABELS, r"images of shape \(6, 60\): expected \(N, H, W, C\)"),
    ("rank 6", IMAGES[None, None], LABELS, r"images of shape \(1, 1, 6, 5, 4, 3\): expected \(N, H, W, C\)"),
    ("one image", IMAGES[0], LABELS[:5], r"\(5, 4, 3\) look like one image: .* add the first axis"),
    ("channels first", np.zeros((6, 3, 32, 32), np.uint8), LABELS, r"\(6, 3, 32, 32\) have their channels first: .* transpose them"),
    ("no images", IMAGES[:0], LABELS[:0], r"no images \(shape \(0, 5, 4, 3\)\): expected at least one"),
    ("no labels", IMAGES, LABELS[:0], r"no labels: expected one an image"),
    ("images of text", np.full((6, 5, 4, 3), b"a"), LABELS, r"type \|S1"),
    ("images of booleans", IMAGES > 100, LABELS, r"images of type bool: expected numbers in \[0, 255\]"),
    ("unit range", IMAGES / 255, LABELS, r"largest value 1: expected raw pixels in \[0, 255\]; multiply by 255"),
    ("unit range with overshoot", IMAGES / 170, LABELS, r"largest value 1.5: .* multiply by 255"),
    ("negative", IMAGES / 127.5 - 1, LABELS, r"smallest value -1: expected raw pixels in \[0, 255\]; undo the preprocessing"),
    ("above 255", IMAGES.astype(np.uint16) * 257, LABELS, r"largest value 65535: expected raw pixels in \[0, 255\]; scale the"),
    ("NaN", NAN, LABELS, r"the images hold NaN or infinity"),
    ("infinity", np.where(IMAGES > 250, np.inf, IMAGES), LABELS, r"the images hold NaN or infinity"),
    ("two ones", IMAGES, ONE_HOT | np.array([0, 0, 1], np.uint8), r"label row 0 of 3 values is not one-hot"),
    ("no one", IMAGES, ONE_HOT * (np.arange(6) != 4)[:, None], r"label row 4 of 3 values is not one-hot"),
    ("probabilities", IMAGES, ONE_HOT * 0.8 + 0.1, r"label row 0 of 3 values is not one-hot"),
    ("labels of rank 3", IMAGES, ONE_HOT[None], r"labels of shape \(1, 6, 3\): expected \(N,\) class numbers or \(N, K\) one-hot"),
    ("a single label", IMAGES, np.array(1), r"labels of shape \(\): expected"),
    ("negative labels", IMAGES, LABELS - 1, r"label -1: expected whole numbers from 0"),
    ("broken labels", IMAGES, LABELS + 0.5, r"label 0.5 at index 0: expected whole numbers from 0"),
    ("NaN labels", IMAGES, np.where(LABELS == 2, np.nan, LABELS), r"label nan at index 2: expected whole numbers"),
    ("huge labels", IMAGES, LABELS.astype(np.uint64) + np.uint64(2**63), r"label 9223372036854775810: expected class numbers below"),
    ("labels of text", IMAGES, LABELS.astype("S1"), r"type \|S1"),
    ("one class", IMAGES, LABELS * 0 + 4, r"every label is 4: expected images of at least two classes"),
]
BAD = pytest.mark.parametrize(("images", "labels", "message"), [case[1:] for case in BAD_ARRAYS], ids=[case[0] for case in BAD_ARRAYS])


@BAD
def test_bad_arrays_are_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_images(images, labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"), [case[1:] for case in BAD_ARRAYS if np.ndim(case[1]) == 4 and case[0] != "channels first"]
)
def test_bad_clips_are_called_clips(images: Any, labels: Any, message: str) -> None:
    message = message.replace("an image", "a clip").replace("images", "clips").replace("(0, ", "(0, 1, ")
    with pytest.raises(InputError, match=message) as caught:
        check_images(images[:, None], labels)
    assert "image" not in str(caught.value)


@BAD
def test_bad_files_are_refused_with_their_path(images: Any, labels: Any, message: str, file: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(save(file, {"x": images, "y": labels}))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shape_that_is_neither_of_images_nor_of_clips_is_named() -> None:
    with pytest.raises(InputError, match=r"one image has shape \(5, 4, 3\): expected \(192,\), the input of the model"):
        check_images(IMAGES, LABELS, image_shape=(192,))


def test_labels_beyond_the_classes_of_the_model_are_refused() -> None:
    with pytest.raises(InputError, match=r"label 2: expected labels from 0 to 1, the classes of the model"):
        check_images(IMAGES, LABELS, num_classes=2)


def test_another_shape_than_the_models_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match=r"one image has shape \(5, 4, 3\): expected \(32, 32, 3\), the input of the model"):
        read(save(file, {"x": IMAGES, "y": LABELS}), image_shape=(32, 32, 3))


def test_clips_that_are_too_few_or_of_another_shape_are_called_clips(file: Path) -> None:
    save(file, {"x": IMAGES[:, None], "y": LABELS})
    with pytest.raises(InputError, match=r"one clip has shape \(1, 5, 4, 3\): expected \(2, 5, 4, 3\), .*; resize the clips, or choose"):
        read(file, image_shape=(2, 5, 4, 3))
    with pytest.raises(InputError, match="7 clips wanted: expected 1 to 6"):
        read(file).sample(7, seed=0)


def test_something_that_is_no_array_is_refused() -> None:
    with pytest.raises(InputError, match="images of type object"):
        check_images(object())


# What files are refused for.


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing.h5 does not exist: expected an .h5 or .npz file, or a folder"):
        read(tmp_path / "nothing.h5")


@pytest.mark.parametrize(("name", "said"), [("data.csv", "'.csv'"), ("data", "'no suffix'")])
def test_an_unknown_suffix_is_named(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("1,2")
    with pytest.raises(InputError, match=rf"ends in {said}: expected .h5, .hdf5, .npz, or a folder"):
        read(tmp_path / name)


def test_an_unknown_subset_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="subset 'val': expected 'test' or 'train'"):
        read(tmp_path, subset="val")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_named(file: Path, share: float) -> None:
    content = save(file, {"x": IMAGES, "y": LABELS}).read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cannot be read \(.*\): expected a whole file of its kind; copy or download it again"):
        read(file)


@pytest.mark.parametrize("damage", ["header", "lzma"])
def test_damage_that_numpy_and_zipfile_do_not_expect_is_named(damage: str, tmp_path: Path) -> None:
    """An array's header that breaks off within a bracket, and compressed bytes that are none."""
    path = tmp_path / "data.npz"
    array = np.lib.format.magic(1, 0) + (12).to_bytes(2, "little") + b"{'shape': (L"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA if damage == "lzma" else zipfile.ZIP_STORED) as file:
        for name in "xy":
            file.writestr(f"{name}.npy", array)
    if damage == "lzma":
        content = bytearray(path.read_bytes())
        start = content.index(b"x.npy") + len("x.npy")
        content[start + 4] = 0xFF  # after two bytes each for version and length: properties that LZMA does not have
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"data.npz cannot be read \(.*\): expected a whole file of its kind"):
        read(path)


def test_a_flipped_bit_in_an_npz_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=IMAGES, y=LABELS)
    content = bytearray((tmp_path / "data.npz").read_bytes())
    content[300] ^= 1
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read \(Bad CRC-32"):
        read(tmp_path / "data.npz")


def test_missing_keys_name_those_found(file: Path) -> None:
    with pytest.raises(InputError, match=r"holds images, y: expected X_test and Y_test, .* rename the arrays"):
        read(save(file, {"images": IMAGES, "y": LABELS}))
    with pytest.raises(InputError, match="holds no arrays: expected X_test"):
        read(save(file, {}))


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "it_ran",)

    save(tmp_path / "data.npz", {"x": np.array([Bomb()] * 6), "y": LABELS})
    with pytest.raises(InputError, match=r"x in .* holds objects or strings, and unpickling objects can run code"):
        read(tmp_path / "data.npz")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("target", ["soft", "external", "dangling"])
def test_links_are_refused_and_not_followed(target: str, tmp_path: Path) -> None:
    save(tmp_path / "secret.h5", {"x": IMAGES})
    links = {
        "soft": h5py.SoftLink("/other"),
        "external": h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x"),
        "dangling": h5py.SoftLink("/nowhere"),
    }
    save(tmp_path / "data.h5", {"other": IMAGES, "y": LABELS, "x": links[target]})
    with pytest.raises(InputError, match=r"x in .*data.h5 is a link to another place: expected the data itself"):
        read(tmp_path / "data.h5")


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_storage_in_other_files_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(IMAGES.nbytes))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["y"] = LABELS
        if kind == "external":
            file.create_dataset("x", IMAGES.shape, np.uint8, external=[(tmp_path / "secret", 0, IMAGES.nbytes)])
        else:
            layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
            layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", IMAGES.shape)
            file.create_virtual_dataset("x", layout)
    with pytest.raises(InputError, match=r"x in .* keeps its data in other files: expected the data itself"):
        read(tmp_path / "data.h5")


@pytest.mark.parametrize("kind", ["group", "empty"])
def test_what_is_no_array_is_refused(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["y"] = LABELS
        if kind == "group":
            file.create_group("x")
        else:
            file["x"] = h5py.Empty("u1")
    with pytest.raises(InputError, match=r"x in .* is not an array"):
        read(tmp_path / "data.h5")


def test_an_absurd_shape_is_refused_before_reading(file: Path) -> None:
    shape = (10**6, 1000, 1000, 3)
    if file.suffix == ".npz":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        save(file, {"y": LABELS})
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("x.npy", header.getvalue())
    else:
        with h5py.File(file, "w") as opened:
            opened["y"] = LABELS
            opened.create_dataset("x", shape, np.uint8, chunks=(1, 1000, 1000, 3))
    assert file.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"x in .* declares shape \(1000000, 1000, 1000, 3\), 2,794 GiB: expected at most 32 GiB"):
        read(file)


def test_a_table_with_named_columns_is_refused(file: Path) -> None:
    table = np.zeros(6, [("a", "u1"), ("b", "f4")])
    with pytest.raises(InputError, match=r"x in .* has type .*: expected an array of numbers"):
        read(save(file, {"x": table, "y": LABELS}))


def test_columns_with_foreign_names_are_refused(tmp_path: Path) -> None:
    # Such names need version 3 of the format, and numpy warns about it.
    table = np.zeros(6, [("größe→", "u1")])
    with pytest.warns(UserWarning, match="Stored array in format 3.0"):
        save(tmp_path / "data.npz", {"x": table, "y": LABELS})
    with pytest.raises(InputError, match=r"x in .* is a table with named columns"):
        read(tmp_path / "data.npz")


def test_too_little_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nc_tf.storage.npz_file.check_size", exhausted)
    with pytest.raises(InputError, match="does not fit into memory: expected fewer or smaller images"):
        read(save(tmp_path / "data.npz", {"x": IMAGES, "y": LABELS}))


# What folders are refused for.


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path, {"a.png": colour(1, 2, 3)})
    with pytest.raises(InputError, match=r"has no sub-folders: expected a sub-folder for each class, with its pictures; sort the pictures"):
        read(tmp_path)


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"has sub-folders without pictures; .*: expected .png .jpg"):
        read(tmp_path)


def test_a_folder_of_one_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every label is 0: expected images of at least two classes"):
        read(save_pictures(tmp_path, {"a/a.png": colour(1, 2, 3)}))


@pytest.mark.parametrize("image_shape", [None, (None, None, 3)])
def test_pictures_of_two_sizes_are_named(tmp_path: Path, image_shape: labelled.ImageShape | None) -> None:
    save_pictures(tmp_path, {"a/a.png": colour(1, 2, 3), "b/a.png": colour(1, 2, 3, size=(9, 9))})
    with pytest.raises(InputError, match=r"b.a.png is 9x9 pixels, the first picture 4x5: expected one size; resize the pictures"):
        read(tmp_path, image_shape=image_shape)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_a_broken_picture_is_named(tmp_path: Path, content: bytes) -> None:
    save_pictures(tmp_path, {"a/a.png": colour(1, 2, 3)})
    (tmp_path / "a" / "b.png").write_bytes(content)
    message = r"1 of 2 pictures cannot be read: expected at most 10%, .*; replace or remove them: a.b.png: no readable picture \(\w+\)"
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_half_a_picture_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path, {"a/a.png": Image.fromarray(np.repeat(IMAGES[0], 40, 0).repeat(40, 1))})
    content = (tmp_path / "a" / "a.png").read_bytes()
    (tmp_path / "a" / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.png: no readable picture \(OSError\)"):
        read(tmp_path)


def test_a_picture_of_16_bits_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path, {"a/a.png": Image.fromarray(np.full((5, 4), 60000, np.uint16))})
    with pytest.raises(InputError, match=r"whole and of 8 bits a pixel; .*a.png: more than 8 bits a pixel \(I;16\)"):
        read(tmp_path)


def test_an_immense_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.ppm").write_bytes(b"P6 8193 8192 255\n")
    with pytest.raises(InputError, match=r"a.ppm: 8193x8192 pixels, more than 67,108,864"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [((16, 8, 8, 3), "has no splits/trainlist01.txt: expected UCF-101"), ((8, 8, 4), "the model takes 4 channels")],
)
def test_pictures_cannot_be_the_input_of_this_model(tmp_path: Path, image_shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(save_pictures(tmp_path, {"a/a.png": colour(1, 2, 3)}), image_shape=image_shape)
