"""Usual folders and files: which are sets, which are classes, and the account of the rest."""

import gzip
import os
import pickle
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nc_tf.datasets.read import LabelledImages, read, read_both
from nc_tf.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 5, 3), np.uint8)
LABELS = np.arange(12) % 3


def folder(root: Path, *files: str) -> Path:
    """Pictures whose red is their place in the list; what has another suffix holds text; what ends in / is a folder."""
    for number, name in enumerate(files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        elif path.suffix in (".csv", ".txt", ".db") or path.name.startswith("."):
            path.write_text("text")
        else:
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return root


def seen(data: LabelledImages) -> dict[int, int]:
    """Label by red."""
    return dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))


def table(path: Path, rows: Iterable[tuple[str, int]], *, head: str = "Width,ClassId,Path", line: str = "4,{1},{0}") -> None:
    path.write_text("\n".join([head, *(line.format(*row) for row in rows)]) + "\n", encoding="utf-8-sig")


# Sets and classes.


def kaggle(root: Path) -> Path:
    folder(root, "Train/0/a.png", "Train/10/a.png", "Train/2/a.png", "Test/00000.png", "Test/00001.png", "Meta/0.png", "Meta/1.png")
    table(root / "Test.csv", [("Test/00001.png", 10), ("Test/00000.png", 2)])
    return root


def test_the_kaggle_copy_of_gtsrb_is_read(tmp_path: Path) -> None:
    data = read(kaggle(tmp_path))
    assert (seen(data), data.subset, data.class_names) == ({4: 10, 3: 2}, "test", None)
    assert data.account() == "read 2 images of 2 classes; left out: 1 folder beside the sets (Meta)"
    train = read(tmp_path, subset="train")
    assert (seen(train), train.subset) == ({0: 0, 2: 2, 1: 10}, "train")
    assert train.left_out == ("1 file of another kind (.csv)", "1 folder beside the sets (Meta)")


def test_a_table_may_name_too_many_and_too_few(tmp_path: Path) -> None:
    kaggle(tmp_path)
    table(tmp_path / "Test.csv", [("Test/00001.png", 10), ("../../etc/passwd", 1), ("Test/9.png", 0)])
    folder(tmp_path, "Test/z.png")
    data = read(tmp_path, one_class=True)
    assert data.labels.tolist() == [10]
    assert data.left_out[:2] == (
        "2 pictures of Test.csv that are missing (../../etc/passwd, Test/9.png)",
        "2 pictures that Test.csv does not name (00000.png, z.png)",
    )


def test_the_official_tree_of_gtsrb_is_read(tmp_path: Path) -> None:
    train = [f"Final_Training/Images/{label:05d}/0.ppm" for label in range(3)]
    folder(tmp_path, *train, "Final_Training/Images/00000/GT-00000.csv", "Final_Test/Images/00000.ppm", "Final_Test/Images/00001.ppm")
    rows = [("00000.ppm", 1), ("00001.ppm", 2)]
    table(tmp_path / "Final_Test/Images/GT-final_test.csv", rows, head="Filename;Width;ClassId", line="{0};4;{1}")
    assert list(seen(read(tmp_path)).values()) == [1, 2]
    assert list(seen(read(tmp_path / "Final_Test/Images")).values()) == [1, 2]
    assert seen(read(tmp_path, subset="train")) == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2", r"Test.csv begins with 'a,b': expected a table with the columns Path or Filename, and ClassId; correct"),
        ("Path,ClassId\nTest/00000.png,x", r"Test.csv, line 2: class 'x': expected a whole number from 0; correct the line"),
        (b"\xff\xfe\xff", r"Test.csv cannot be read \(.*\): expected a table"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    (kaggle(tmp_path) / "Test.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_table_of_numbers_beside_named_classes_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, "Train/stop/a.png", "Train/yield/a.png", "Test/0.png")
    table(tmp_path / "Test.csv", [("Test/0.png", 0)])
    with pytest.raises(InputError, match=r"Test.csv numbers the classes, the folders beside it name them: expected numbers; rename"):
        read(tmp_path)


def test_an_immense_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nc_tf.datasets.formats.tables.LARGEST_TABLE", 20)
    with pytest.raises(InputError, match=r"Test.csv has \d+ bytes: expected a table with the columns .*; check the file"):
        read(kaggle(tmp_path))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("training", "VAL"),
        ("TRAINING", "testing"),
        ("train", "valid"),
        ("seg_train", "seg_test"),
        ("training_set", "Validation set"),
    ],
)
def test_sets_are_known_in_any_letter_case(tmp_path: Path, train: str, test: str) -> None:
    folder(tmp_path, f"{train}/a/0.png", f"{train}/b/0.png", f"{test}/a/0.png", f"{test}/b/0.png")
    assert (seen(read(tmp_path)), read(tmp_path).subset) == ({2: 0, 3: 1}, "test")
    assert seen(read(tmp_path, subset="train")) == {0: 0, 1: 1}


def test_a_validation_set_yields_to_a_test_set(tmp_path: Path) -> None:
    folder(tmp_path, *(f"{name}/{label}/0.png" for name in ("train", "val", "test") for label in "ab"))
    assert seen(read(tmp_path)) == {4: 0, 5: 1}


def test_a_class_that_one_set_lacks_keeps_its_number(tmp_path: Path) -> None:
    folder(tmp_path, "train/cat/0.png", "train/dog/0.png", "train/eel/0.png", "test/cat/0.png", "test/eel/0.png")
    data = read(tmp_path)
    assert (seen(data), data.class_names) == ({3: 0, 4: 2}, ("cat", "dog", "eel"))
    folder(tmp_path, "test/ant/0.png")
    assert read(tmp_path, subset="train").class_names == ("ant", "cat", "dog", "eel")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "bus/0.png", "car/0.png", "train/0.png", "train/more/1.png"))
    assert (seen(data), data.class_names) == ({0: 0, 1: 1, 2: 2, 3: 2}, ("bus", "car", "train"))
    data = read(folder(tmp_path / "more", "freight train/0.png", "toy train/0.png", "test_tube/0.png", "bus/x/0.png"))
    assert data.class_names == ("bus", "freight train", "test_tube", "toy train")


def test_numbers_are_labels_with_zeros_before_them_and_from_one(tmp_path: Path) -> None:
    assert seen(read(folder(tmp_path / "zeros", "00002/a.png", "00010/a.png", "0/a.png"))) == {2: 0, 0: 2, 1: 10}
    data = read(folder(tmp_path / "one", *(f"{label}/a.png" for label in range(1, 44))))
    assert (data.labels.tolist(), data.class_names) == (list(range(1, 44)), None)


def test_pictures_may_lie_deeper_and_the_classes_in_a_folder_of_their_own(tmp_path: Path) -> None:
    assert seen(read(folder(tmp_path / "deep", "a/x/0.png", "a/x/z/1.png", "b/2.png"))) == {0: 0, 1: 0, 2: 1}
    assert seen(read(folder(tmp_path / "wrapped", "set/inner/a/0.png", "set/inner/b/1.png", "__MACOSX/set/._0.png"))) == {0: 0, 1: 1}
    files = [f"seg/{name}/{name}/{label}/0.png" for name in ("train", "test") for label in "ab"]
    sets = folder(tmp_path / "sets", *files, "__MACOSX/seg/._0.png", "seg/pred/0.png")
    assert (seen(read(sets)), read(sets).subset) == ({2: 0, 3: 1}, "test")
    assert read(sets).left_out == ("1 hidden file or folder (__MACOSX)", "1 folder beside the sets (pred)")
    alone = folder(tmp_path / "alone", "train/a/0.png", "train/b/0.png")
    assert (seen(read(alone)), read(alone).subset) == ({0: 0, 1: 1}, "train")
    assert set(seen(read(folder(tmp_path / "poisoned", "0/x/0.png", "0/y/1.png"), one_class=True)).values()) == {0}


def test_what_systems_leave_behind_is_no_class_and_counted(tmp_path: Path) -> None:
    clutter = ("__MACOSX/1/._a.png", ".ipynb_checkpoints/a.png", "1/.DS_Store", "1/Thumbs.db", "1/._a.png")
    data = read(folder(tmp_path, "1/a.png", "10/a.png", "2/a.png", *clutter))
    assert seen(data) == {0: 1, 2: 2, 1: 10}
    assert data.left_out == ("5 hidden files and folders (.ipynb_checkpoints, __MACOSX, .DS_Store, ._a.png, Thumbs.db)",)


def test_a_folder_that_is_no_number_does_not_shift_numbers(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "1/a.png", "10/a.png", "2/a.png", "notes/"))
    assert (seen(data), data.class_names) == ({0: 1, 2: 2, 1: 10}, None)
    assert data.left_out == ("1 folder that is no number (notes)",)
    folder(tmp_path, "extra/a.png")
    with pytest.raises(InputError, match=r"has 3 folders named by numbers, and extra: expected numbers or names; move away what is"):
        read(tmp_path)


def test_a_few_numbers_among_names_are_names(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "10/a.png", "2/a.png", "jack/a.png", "king/a.png", "queen/a.png"))
    assert data.class_names == ("10", "2", "jack", "king", "queen")


def test_a_class_without_pictures_keeps_its_number_and_is_named(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "a/0.png", "b/", "c/0.png", "c/more.txt", "c/list.csv", "stray.png"))
    assert (data.labels.tolist(), data.class_names) == ([0, 2], ("a", "b", "c"))
    assert data.account() == (
        "read 2 images of 2 classes; left out: 1 class without pictures, which keeps its number (b), "
        "1 picture beside the class folders, 2 files of other kinds (.csv, .txt)"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("1/a.png", "01/a.png"), r"has the folders 01 and 1: expected one for each number; put them together"),
        (("train/a/0.png", "Train/a/0.png"), r"holds Train and train: expected one set of each kind; give one of them as DATA"),
        (("train/0.png", "test/0.png"), r"test has no sub-folders: expected a sub-folder for each class"),
        (("bus/0.png", "train/a/0.png", "train/b/0.png"), r"holds train with folders of pictures, and beside it bus: expected sets or"),
        (("Images/0/a.png", "Images/1/a.png", "drawings/a.png"), r"Images holds 2 folders of pictures, drawings pictures: .*; give"),
        (("/".join("abcdefghij") + "/0.png", "b/0.png"), r"lies more than 8 folders deep: expected a sub-folder for each class"),
        (("0.png", "1.png"), r"has no sub-folders: expected a sub-folder for each class, with its pictures; sort the pictures"),
        (("a/0.txt", "b/0.txt"), r"without pictures; .*2 files of other kinds \(.txt\): expected .png .* files in them"),
    ],
)
def test_folders_that_can_be_seen_in_two_ways_are_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(folder(tmp_path, *files))


def test_a_set_without_classes_is_named_and_another_stands_in(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "train/a/0.png", "train/b/0.png", "test/0.png"))
    assert (seen(data), data.subset, data.left_out) == ({0: 0, 1: 1}, "train", ("1 set without classes (test)",))


def test_a_folder_without_classes_points_to_what_may_be_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Test has no sub-folders: .*, or give .* as DATA, where Test.csv says their classes"):
        read(kaggle(tmp_path) / "Test")
    np.savez(tmp_path / "Meta" / "signs.npz", x=IMAGES, y=LABELS)
    with pytest.raises(InputError, match=r"Meta has no sub-folders: .*, or give .*signs.npz as DATA$"):
        read(tmp_path / "Meta")


# Kinds of pictures.


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".tiff", ".gif", ".jfif", ".pgm", ".PNG"])
def test_every_kind_of_picture_is_read(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4), 200).convert("L" if suffix == ".pgm" else "RGB").save(tmp_path / name / f"0{suffix}")
    data = read(tmp_path, image_shape=(4, 4, 3))
    assert data.labels.tolist() == [0, 1]
    np.testing.assert_allclose(data.images, 200, atol=2)


def test_of_moving_pictures_the_first_frame_is_read(tmp_path: Path) -> None:
    folder(tmp_path, "a/0.png", "b/0.png")
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (90, 180)]
    frames[0].save(tmp_path / "b" / "m.gif", save_all=True, append_images=frames[1:])
    assert seen(read(tmp_path))[90] == 1


def test_a_few_broken_pictures_are_counted_and_named(tmp_path: Path) -> None:
    folder(tmp_path, *(f"{name}/{number:02d}.png" for name in "ab" for number in range(20)))
    for number in (3, 11):
        (tmp_path / "a" / f"{number:02d}.png").write_bytes(b"GIF89a")
    data = read(tmp_path)
    assert (len(data.images), data.labels.sum(), data.available) == (38, 20, 40)
    account = "read 38 of 40 images of 2 classes; left out: 2 pictures that cannot be read (a/03.png: no readable picture"
    assert (data.account() or "").startswith(account)
    np.testing.assert_array_equal(read(tmp_path, image_shape=(4, 4, 3)).images, data.images)
    train, test = read_both(tmp_path, seed=0)
    assert (len(train.images) + len(test.images), train.left_out, test.left_out) == (38, data.left_out, ())
    assert (train.available or len(train.images), test.available or len(test.images)) == (32, 8)


def test_many_broken_pictures_are_refused_together(tmp_path: Path) -> None:
    folder(tmp_path, *(f"{name}/{number:02d}.png" for name in "ab" for number in range(20)))
    for number in range(7):
        (tmp_path / "a" / f"{number:02d}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"7 of 40 pictures cannot be read: expected at most 10%, .*: a.00.png: .*; a.04.png: .*; \.{3}$"):
        read(tmp_path, image_shape=(4, 4, 3))


# Files.


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_idx_files_are_read(tmp_path: Path, packed: bool, dot: str) -> None:
    for name, step in (("train", 1), ("t10k", -1)):
        for part, array in (("images", IMAGES[::step, ..., 0]), ("labels", LABELS[::step])):
            content = gzip.compress(idx(array)) if packed else idx(array)
            (tmp_path / f"{name}-{part}{dot}idx{array.ndim}-ubyte{'.gz' if packed else ''}").write_bytes(content)
    data = read(tmp_path)
    np.testing.assert_array_equal(data.images, IMAGES[::-1, ..., :1])
    assert (data.labels.tolist(), data.subset) == (LABELS[::-1].tolist(), "test")
    file = next(tmp_path.glob("train-images*"))
    assert (read(file).subset, read(file, count=5, seed=1).labels.tolist()) == ("train", read(file).sample(5, 1).labels.tolist())


def test_idx_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    images.write_bytes(idx(IMAGES[..., 0]))
    with pytest.raises(InputError, match=r"images-idx3-ubyte holds images: expected their labels beside them, in train-labels-idx1-ubyte"):
        read(images)
    for content, message in (
        (idx(LABELS[:5]), r"12 images and 5 labels: expected one label an image"),
        (idx(IMAGES[..., 0]), r"labels-idx1-ubyte has shape \(12, 5, 5\): expected \(N,\)"),
        (b"\x01" * 20, r"labels-idx1-ubyte begins with no idx header"),
        (struct.pack(">HBBI", 0, 13, 1, 12), r"labels-idx1-ubyte holds numbers of type 0xd: expected bytes \(0x8\); save it as .npz"),
        (idx(LABELS)[:-1], r"cannot be read \(the file ends within row 11\): expected a whole file"),
        (b"", r"cannot be read \(.*\): expected a whole file"),
    ):
        labels.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(images)
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte holds labels: expected images; give the file of the images"):
        read(labels)
    labels.write_bytes(idx(LABELS))
    (tmp_path / "letters-train-images-idx3-ubyte").write_bytes(idx(IMAGES[..., 0]))
    with pytest.raises(InputError, match=r"holds letters-train-images-idx3-ubyte and train-images-idx3-ubyte: expected one data set"):
        read(tmp_path)


def records(number: int, before: int) -> tuple[np.ndarray, bytes]:
    """Pictures (number, 32, 32, 3), and the same as a batch of CIFAR whose labels are their numbers, modulo 10."""
    images = RNG.integers(0, 256, (number, 32, 32, 3), np.uint8)
    rows = [bytes([7] * (before - 1) + [place % 10]) + image.transpose(2, 0, 1).tobytes() for place, image in enumerate(images)]
    return images, b"".join(rows)


def test_binary_batches_of_cifar_are_read(tmp_path: Path) -> None:
    parts = {name: records(4, 1) for name in ("data_batch_1", "data_batch_2", "test_batch")}
    for name, (_, content) in parts.items():
        (tmp_path / f"{name}.bin").write_bytes(content)
    (tmp_path / "batches.meta.txt").write_text("\n".join(f"class{number}" for number in range(10)) + "\n\n")
    train = read(tmp_path, subset="train")
    np.testing.assert_array_equal(train.images, np.concatenate([parts["data_batch_1"][0], parts["data_batch_2"][0]]))
    assert (train.labels.tolist(), (train.class_names or ())[9]) == ([0, 1, 2, 3] * 2, "class9")
    np.testing.assert_array_equal(read(tmp_path, subset="train", count=5, seed=3).images, train.sample(5, 3).images)
    np.testing.assert_array_equal(read(tmp_path / "test_batch.bin").images, parts["test_batch"][0])


def test_binary_batches_of_cifar_100_are_read(tmp_path: Path) -> None:
    images, content = records(3, 2)
    (tmp_path / "train.bin").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path).images, images)
    assert read(tmp_path).labels.tolist() == [0, 1, 2]
    (tmp_path / "train.bin").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"train.bin has 9,221 bytes: expected records of 3074, those of CIFAR-100; download it again"):
        read(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(records(1, 1)[1])
    with pytest.raises(InputError, match=r"holds batches of CIFAR-10 and of CIFAR-100: expected one of them"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        "test_images test_labels", "X_test y_test", "test_x test_y", "test_set_x test_set_y", "images_test labels_test",
        "TEST_DATA test_labels", "X y",
        "images labels", "X Y", "image label", "data labels", "features labels", "arr_0 arr_1", "val_images val_labels",
    ],
)  # fmt: skip
def test_pairs_of_arrays_are_known_by_many_names(tmp_path: Path, names: str) -> None:
    images, labels = names.split()
    arrays: dict[str, Any] = {images: IMAGES, labels: LABELS}
    np.savez(tmp_path / "data.npz", **arrays)
    np.testing.assert_array_equal(read(tmp_path / "data.npz").images, IMAGES)


def test_medmnist_has_three_sets(tmp_path: Path) -> None:
    sets = {"train": 0, "val": 4, "test": 8}
    arrays: dict[str, Any] = {f"{name}_{part}": array[start : start + 4] for name, start in sets.items() for part, array in
              (("images", IMAGES), ("labels", LABELS[:, None]))}  # fmt: skip
    np.savez(tmp_path / "data.npz", **arrays)
    train, test = read_both(tmp_path / "data.npz", seed=0)
    np.testing.assert_array_equal(train.images, IMAGES[:4])
    np.testing.assert_array_equal(test.images, IMAGES[8:])
    assert test.labels.tolist() == LABELS[8:].tolist()


def test_four_arrays_without_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", IMAGES, LABELS, IMAGES, LABELS)
    with pytest.raises(InputError, match=r"holds arr_0, arr_1, arr_2, arr_3: expected X_test and Y_test, .*; rename the arrays"):
        read(tmp_path / "data.npz")


def converted(error: InputError, cwd: Path) -> None:
    """Run the line that a message ends with."""
    line = shlex.split(str(error).partition("if you trust who made it: ")[2])
    subprocess.run([sys.executable, *line[1:]], cwd=cwd, check=True)


def test_pickles_are_refused_with_a_line_that_converts_them(tmp_path: Path) -> None:
    file = tmp_path / "it's; a $(touch x).p"
    file.write_bytes(pickle.dumps({"features": IMAGES, "labels": LABELS}))
    for given in (file, tmp_path):
        with pytest.raises(InputError, match=r"is a pickle, which can run code while it is read: expected .*; if you trust") as caught:
            read(given)
    converted(caught.value, tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "it's; a $(touch x).npz").images, IMAGES)


@pytest.mark.parametrize(("train", "test", "labels"), [("data_batch_1", "test_batch", b"labels"), ("train", "test", b"fine_labels")])
def test_python_batches_of_cifar_are_refused_with_a_line_that_converts_them(tmp_path: Path, train: str, test: str, labels: bytes) -> None:
    batches = tmp_path / "cifar-batches-py"
    batches.mkdir()
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    for name, step in ((train, 1), (test, -1)):
        flat = images[::step].transpose(0, 3, 1, 2).reshape(3, -1)
        (batches / name).write_bytes(pickle.dumps({b"data": flat, labels: [0, 1, 2][::step]}))
    for given in (batches, batches / train):
        with pytest.raises(InputError, match=r"cifar-batches-py is a pickle, which can run code") as caught:
            read(given)
    converted(caught.value, tmp_path)
    data = read(next(tmp_path.glob("cifar10*.npz")))
    np.testing.assert_array_equal(data.images, images[::-1])
    assert data.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.npy", r"np\.savez\('data\.npz', x=np\.load\('images\.npy'\), y=np\.load\('labels\.npy'\)\) puts images and labels into"),
        ("Test.csv", r"give the folder that holds the table and its pictures, as with Test\.csv of GTSRB"),
        ("pictures.zip", r"unpack it, and give the unpacked folder"),
        ("notes.txt", r"save the images in one of these"),
    ],
)
def test_other_files_are_refused_with_what_helps(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_bytes(b"12345678")
    with pytest.raises(InputError, match=rf"ends in '\.\w+': expected \.h5, \.hdf5, \.npz, or a folder .* a class; {advice}"):
        read(tmp_path / name)


# Links, pipes, and names.


def test_links_and_pipes_are_left_out_with_a_count(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", "a/0.png", "b/0.png", "c/0.png")
    folder(tmp_path / "other", "5.png", "6.png", "7.png")
    (root / "a" / "link.png").symlink_to(tmp_path / "other" / "5.png")
    (root / "bb").symlink_to(tmp_path / "other")
    os.mkfifo(root / "c" / "pipe.png")
    data = read(root)
    assert data.labels.tolist() == [0, 1, 3]
    kept = "1 class without pictures, which keeps its number (bb)"
    assert data.left_out == (kept, "2 links (bb, link.png)", "1 pipe or device (pipe.png)")
    (tmp_path / "link").symlink_to(root)
    assert seen(read(tmp_path / "link")) == seen(data)


@pytest.mark.parametrize("name", ["d.npz", "d.h5", "train-images-idx3-ubyte", "test_batch.bin", "d.p", "d"])
def test_pipes_are_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} is a pipe or a device: expected a plain file; copy the content into one"):
        read(tmp_path / name)


def test_pipes_within_a_folder_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES[..., 0]))
    os.mkfifo(tmp_path / "train-labels-idx1-ubyte")
    with pytest.raises(InputError, match=r"labels-idx1-ubyte is a pipe or a device"):
        read(tmp_path)
    os.mkfifo(tmp_path / "d.pkl")
    os.mkfifo(tmp_path / "data_batch_1")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="has no sub-folders"):
        read(tmp_path)


def test_names_of_files_cannot_write_more_than_a_name(tmp_path: Path) -> None:
    escape = "\x1b[2J\nno outlier"
    folder(tmp_path, f"a{escape}/0.png", *(f"b/{number}.png" for number in range(12)))
    (tmp_path / "b" / f"{escape}.png").write_bytes(b"")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_bytes(b"")
    data = read(tmp_path)
    assert data.class_names == (r"a\x1b[2J\nno outlier", "b")
    assert (data.account() or "").isprintable()
    assert r"b/\x1b[2J\nno outlier.png: no readable picture" in (data.account() or "")
    with pytest.raises(InputError) as caught:
        read(tmp_path / f"{escape}.npz")
    assert str(caught.value).isprintable()
