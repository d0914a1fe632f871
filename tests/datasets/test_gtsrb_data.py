"""GTSRB from a small archive of the official layout, with pictures of known pixels."""

import hashlib
import io
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from nc_tf.datasets import gtsrb
from nc_tf.datasets.gtsrb import CLASS_NAMES, Archive, load_data, prepare
from nc_tf.errors import InputError

HEADER = ";".join(gtsrb.COLUMNS) + "\r\n"
PER_CLASS = 2
TRAINING, TEST = "GTSRB/Final_Training/Images", "GTSRB/Final_Test/Images"

Tree = dict[str, bytes]


def picture(label: int, side: int = 32) -> bytes:
    """A PPM of one colour that tells its class, with a white sign from (5, 6) to (24, 25), both inside."""
    pixels = np.full((side, side, 3), (label, 100, 200), np.uint8)
    pixels[6:26, 5:25] = 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PPM")
    return content.getvalue()


def row(name: str, label: int) -> str:
    return f"{name};32;32;5;6;24;25;{label}\r\n"


def small_tree(training: str = TRAINING) -> Tree:
    tree: Tree = {}
    for label in range(43):
        names = [f"00000_{number:05d}.ppm" for number in range(PER_CLASS)]
        tree |= {f"{training}/{label:05d}/{name}": picture(label) for name in names}
        tree[f"{training}/{label:05d}/GT-{label:05d}.csv"] = (HEADER + "".join(row(name, label) for name in names)).encode()
    # The test pictures come in another order than that of the classes.
    labels = [7, 42, 0]
    tree |= {f"{TEST}/{number:05d}.ppm": picture(label) for number, label in enumerate(labels)}
    tree["GT-final_test.csv"] = (HEADER + "".join(row(f"{number:05d}.ppm", label) for number, label in enumerate(labels))).encode()
    # As in the official zip file: a table without classes that must not be taken.
    tree[f"{TEST}/GT-final_test.test.csv"] = b"Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2\r\n"
    return tree


def unpack(tree: Tree, folder: Path) -> Path:
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(tree: Tree, folder: Path, training: str = gtsrb.ARCHIVES[0].name) -> Path:
    folder.mkdir(exist_ok=True)
    parts = {
        training: lambda name: "Training" in name,
        gtsrb.ARCHIVES[1].name: lambda name: name.startswith(TEST),
        gtsrb.ARCHIVES[2].name: lambda name: name == "GT-final_test.csv",
    }
    for file, belongs in parts.items():
        with zipfile.ZipFile(folder / file, "w") as archive:
            for name in filter(belongs, tree):
                archive.writestr(name, tree[name])
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(small_tree(), tmp_path_factory.mktemp("archives"))


def check(whole: Path, training_count: int = 43 * PER_CLASS) -> None:
    (x_train, y_train), (x_test, y_test) = load_data(whole)
    assert x_train.shape == (training_count, 32, 32, 3)
    assert (x_train.dtype, y_train.dtype) == (np.uint8, np.int64)
    assert y_train.tolist() == [label for label in range(43) for _ in range(PER_CLASS)]
    assert y_test.tolist() == [7, 42, 0]
    # A frame of 32x32 needs no scaling, so its pixels arrive unchanged, and each picture under its own label.
    np.testing.assert_array_equal(x_train[:, 0, 0], [(label, 100, 200) for label in y_train])
    np.testing.assert_array_equal(x_test[:, 0, 0], [(label, 100, 200) for label in y_test])
    assert (x_test[:, 6:26, 5:25] == 255).all()


def test_zip_files_become_the_originals_two_files(archives: Path, tmp_path: Path) -> None:
    whole, small = prepare(tmp_path, source=archives)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gtsrb_dataset.h5", "gtsrb_dataset_int.h5"]
    check(whole)
    with h5py.File(whole) as file, h5py.File(small) as short:
        assert sorted(file) == ["X_test", "X_train", "Y_test", "Y_train"]
        assert sorted(short) == ["X_test", "Y_test"]
        assert file["Y_train"].shape == (43 * PER_CLASS, 43)
        assert file["Y_train"].dtype == np.uint8
        assert file["X_train"].compression == "gzip"
        np.testing.assert_array_equal(file["X_test"][()], short["X_test"][()])
        np.testing.assert_array_equal(file["Y_test"][()], short["Y_test"][()])


def test_chunks_hold_256_images(tmp_path: Path) -> None:
    gtsrb._write(tmp_path / "a.h5", {"X_train": np.zeros((300, 32, 32, 3), np.uint8)})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["X_train"].chunks == (256, 32, 32, 3)


@pytest.mark.parametrize("inside", ["", "GTSRB"])
def test_the_unpacked_tree_is_read_too(tmp_path: Path, inside: str) -> None:
    tree = small_tree()
    tree["GTSRB/GT-final_test.csv"] = tree.pop("GT-final_test.csv")
    unpack(tree, tmp_path / "source")
    check(prepare(tmp_path / "out", source=tmp_path / "source" / inside)[0])


def test_the_competitions_training_set_is_read_where_it_is_the_only_one(tmp_path: Path) -> None:
    pack(small_tree("GTSRB/Training"), tmp_path / "source", training=gtsrb.COMPETITION_ARCHIVE)
    check(prepare(tmp_path / "out", source=tmp_path / "source")[0])


def test_of_two_training_sets_the_final_one_is_taken(tmp_path: Path) -> None:
    smaller = {name: b"" if name.endswith(".csv") else content for name, content in small_tree("GTSRB/Training").items()}
    unpack(smaller | small_tree(), tmp_path / "source")
    check(prepare(tmp_path / "out", source=tmp_path / "source")[0])


def test_cropping_leaves_the_sign_alone(archives: Path, tmp_path: Path) -> None:
    # White to the last pixel: one row or column more would show the colour of the frame, and so would one less at an end if it were taken.
    (x_train, _), (x_test, _) = load_data(prepare(tmp_path, source=archives, crop=True)[0])
    assert (x_train == 255).all()
    assert (x_test == 255).all()


def test_cropping_includes_both_ends() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:42, 3:35] = 10
    pixels[39, :] = pixels[:, 34] = 200  # the last row and column of the sign
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PPM")
    cropped = gtsrb._picture(content.getvalue(), gtsrb._Row("p", (3, 8, 34, 39), 0), crop=True)
    np.testing.assert_array_equal(cropped, pixels[8:40, 3:35])


def test_other_sizes_are_scaled_without_overshoot(tmp_path: Path) -> None:
    scaled = gtsrb._picture(picture(9, side=100), gtsrb._Row("p", (0, 0, 0, 0), 9), crop=False)
    assert scaled.shape == (32, 32, 3)
    assert (scaled >= (9, 100, 200)).all()
    assert scaled[-1, -1].tolist() == [9, 100, 200]


def test_the_same_archives_give_the_same_bytes(archives: Path, tmp_path: Path) -> None:
    first, second = (prepare(tmp_path / name, source=archives)[0].read_bytes() for name in "ab")
    assert first == second


def test_downloaded_archives_are_checked_and_kept(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    listed = []
    for archive in gtsrb.ARCHIVES:
        content = (archives / archive.name).read_bytes()
        listed.append(Archive(archive.name, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content)))
    monkeypatch.setattr(gtsrb, "ARCHIVES", tuple(listed))
    with served(archives) as (url, log):
        check(prepare(tmp_path, base_url=url)[0])
        assert log == [f"/{archive.name}" for archive in listed]
        check(prepare(tmp_path, base_url=url)[0])
        assert len(log) == 3, "archives that are there were downloaded again"


class served:
    """A folder on a server of this machine, and the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.log: list[str] = []
        log = self.log

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                log.append(self.path)
                super().do_GET()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> tuple[str, list[str]]:
        self.thread.start()
        return f"http://127.0.0.1:{self.http.server_port}", self.log

    def __exit__(self, *exception: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


CSV_7, PPM_7 = f"{TRAINING}/00007/GT-00007.csv", f"{TRAINING}/00007/00000_00001.ppm"
TEST_TABLE = "GT-final_test.csv"

# What is done to a good tree, and what the message must then say.
DAMAGE: list[tuple[str, Callable[[Tree], object], str]] = [
    ("no training table", lambda t: t.pop(CSV_7), r"lacks 1 of 43 training tables, 00007/GT-00007.csv first"),
    ("no training set", lambda t: [t.pop(n) for n in list(t) if TRAINING in n], r"lacks 43 of 43 training tables.*Final_Training"),
    ("no test table", lambda t: t.pop(TEST_TABLE), r"lacks GT-final_test.csv: expected GTSRB_Final_Test_GT.zip"),
    ("no test pictures", lambda t: [t.pop(n) for n in list(t) if n.startswith(TEST)], r"lacks Final_Test/Images/\*.ppm"),
    ("no picture", lambda t: t.pop(PPM_7), r"00007/00000_00001.ppm is missing"),
    ("half a picture", lambda t: t.update({PPM_7: t[PPM_7][:500]}), r"00000_00001.ppm is not a whole PPM picture"),
    ("no picture at all", lambda t: t.update({PPM_7: b"P6 but not really"}), r"00000_00001.ppm is not a whole PPM picture"),
    ("a PNG", lambda t: t.update({PPM_7: b"\x89PNG\r\n\x1a\n"}), r"00000_00001.ppm is not a whole PPM picture"),
    ("a huge picture", lambda t: t.update({PPM_7: bytes(2**24 + 1)}), r"has 16,777,217 bytes: expected at most 16,777,216"),
    ("class 43", lambda t: t.update({CSV_7: (HEADER + row("00000_00000.ppm", 43)).encode()}), r"line 2: class 43: expected 0 to 42"),
    ("class -1", lambda t: t.update({TEST_TABLE: (HEADER + row("00000.ppm", -1)).encode()}), r"line 2: class -1: expected 0 to 42"),
    ("a folder 43", lambda t: t.update({f"{TRAINING}/00043/a.ppm": b""}), r"has a class 43: expected 43 classes from 0"),
    ("another class", lambda t: t.update({CSV_7: (HEADER + row("00000_00000.ppm", 8)).encode()}), r"class 8 in the folder of class 7"),
    ("no number", lambda t: t.update({CSV_7: (HEADER + "a.ppm;1;1;a;0;0;0;7").encode()}), r"line 2: no whole numbers: expected them"),
    ("a short line", lambda t: t.update({CSV_7: (HEADER + "a.ppm;1").encode()}), r"line 2: no whole numbers: expected them"),
    ("another separator", lambda t: t.update({CSV_7: HEADER.replace(";", ",").encode()}), r"lacks the columns Filename, Width"),
    ("no text", lambda t: t.update({CSV_7: b"\xff\xfe\x00"}), r"GT-00007.csv is not a table"),
    ("an empty test table", lambda t: t.update({TEST_TABLE: HEADER.encode()}), r"has no GTSRB test pictures"),
    ("a path", lambda t: t.update({CSV_7: (HEADER + row("../00008/00000_00000.ppm", 7)).encode()}), r"00007/../00008/.* is missing"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
@pytest.mark.parametrize("form", ["zip", "tree"])
def test_damaged_archives_are_named(spoil: Callable[[Tree], object], message: str, form: str, tmp_path: Path) -> None:
    tree = small_tree()
    spoil(tree)
    source = (pack if form == "zip" else unpack)(tree, tmp_path / "source")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists(), "half a data set was left behind"


def test_a_roi_outside_the_picture_is_named(tmp_path: Path) -> None:
    tree = small_tree()
    tree[CSV_7] = (HEADER + "00000_00000.ppm;32;32;5;6;32;25;7").encode()
    source = unpack(tree, tmp_path / "source")
    with pytest.raises(InputError, match=r"Roi \(5, 6, 32, 25\): expected one inside of its 32x32 pixels"):
        prepare(tmp_path / "out", source=source, crop=True)


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to(path.with_name("00000_00000.ppm"))], ids=["pipe", "link"])
def test_pipes_and_links_in_a_tree_are_no_pictures(tmp_path: Path, put: Callable[[Path], object]) -> None:
    tree = small_tree()
    del tree[PPM_7]
    source = unpack(tree, tmp_path / "source")
    put(source / PPM_7)
    with pytest.raises(InputError, match=r"00007/00000_00001.ppm is missing"):
        prepare(tmp_path / "out", source=source)


def test_a_damaged_zip_file_is_named(archives: Path, tmp_path: Path) -> None:
    shutil.copytree(archives, tmp_path / "source")
    broken = tmp_path / "source" / gtsrb.ARCHIVES[1].name
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=r"GTSRB_Final_Test_Images.zip is not a readable zip file"):
        prepare(tmp_path / "out", source=tmp_path / "source")


def test_a_flipped_bit_in_a_zip_file_is_named(archives: Path, tmp_path: Path) -> None:
    shutil.copytree(archives, tmp_path / "source")
    broken = tmp_path / "source" / gtsrb.ARCHIVES[1].name
    content = bytearray(broken.read_bytes())
    content[200] ^= 1  # within the pixels of the first picture
    broken.write_bytes(content)
    with pytest.raises(InputError, match=r"00000.ppm in .* cannot be read \(Bad CRC-32"):
        prepare(tmp_path / "out", source=tmp_path / "source")


def test_a_source_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a folder: expected one with the GTSRB zip files"):
        prepare(tmp_path, source=tmp_path / "nowhere")


def test_a_missing_data_set_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist: .*`nc-tf data gtsrb`.*`make demo`"):
        load_data(tmp_path / "gtsrb_dataset.h5")


def test_the_small_file_is_not_the_data_set(archives: Path, tmp_path: Path) -> None:
    _, small = prepare(tmp_path, source=archives)
    with pytest.raises(InputError, match=r"lacks X_train and Y_train with 43 classes"):
        load_data(small)


def test_there_are_43_different_names() -> None:
    assert len(set(CLASS_NAMES)) == 43
    assert (CLASS_NAMES[14], CLASS_NAMES[33], CLASS_NAMES[42]) == ("stop", "turn right ahead", "end of no passing for trucks")


@pytest.fixture(scope="module")
def real(realdata: Path) -> gtsrb.Labelled:
    return load_data(realdata / "gtsrb_dataset.h5")


def test_the_real_data_set_has_the_published_counts(real: gtsrb.Labelled, realdata: Path) -> None:
    (x_train, y_train), (x_test, y_test) = real
    assert x_train.shape == (39209, 32, 32, 3)
    assert x_test.shape == (12630, 32, 32, 3)
    assert (x_train.dtype, y_train.dtype) == (np.uint8, np.int64)
    assert (np.diff(y_train) >= 0).all(), "the training images were sorted by class"
    # Figures of the benchmark's own tables: 20, 30 and 50 km/h.
    assert np.bincount(y_train, minlength=43)[:3].tolist() == [210, 2220, 2250]
    assert np.bincount(y_test, minlength=43)[:3].tolist() == [60, 720, 750]
