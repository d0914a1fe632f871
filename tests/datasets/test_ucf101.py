"""UCF-101: its layout, its split files, the account of clips left out, and a cache that is up to date or made again."""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from videos import cut_short, write_lines, write_sound, write_ucf101, write_video

from nc_tf.datasets.formats import jpegs
from nc_tf.datasets.read import read, read_both
from nc_tf.datasets.ucf101 import dataset as ucf101
from nc_tf.datasets.ucf101.dataset import load_archive, load_data
from nc_tf.datasets.ucf101.decoding import ClipFormat
from nc_tf.datasets.ucf101.splits import LARGEST_LIST, list_clips
from nc_tf.errors import InputError

SMALL = ClipFormat(4, 12, 16)
CACHE = "ucf3_4x12x16_even.npz"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, two training clips and one test clip each; the test list names them the other way round."""
    return write_ucf101(tmp_path / "ucf", {"Bowling": 2, "Archery": 2, "Typing": 2}, {"Typing": 1, "Bowling": 1, "Archery": 1})


def said(capsys: Captured) -> list[str]:
    """The lines on stderr, less those of the progress bar."""
    return [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("decoding clips")]


# The layout.


def test_labels_count_the_classes_in_alphabetical_order_once_for_both_splits(folder: Path) -> None:
    train, test = load_data(folder, SMALL)
    assert train.class_names == test.class_names == ("Archery", "Bowling", "Typing")
    assert train.labels.tolist() == [1, 1, 0, 0, 2, 2], "in the order of the list"
    assert test.labels.tolist() == [2, 1, 0]
    assert (train.images.shape, train.images.dtype) == ((6, 4, 12, 16, 3), np.uint8)
    assert (train.subset, test.subset) == ("train", "test")


@pytest.mark.parametrize(("videos", "lists"), [("UCF-101", "ucfTrainTestlist"), (".", "splits"), ("videos", "ucfTrainTestlist")])
def test_every_layout_is_understood(tmp_path: Path, videos: str, lists: str) -> None:
    folder = write_ucf101(tmp_path, {"A": 1, "B": 1}, {"A": 1, "B": 1}, videos=videos, lists=lists)
    listing = list_clips(folder)
    assert [clip.name for clip in listing.clips] == ["A/v_A_g08_c01.avi", "B/v_B_g08_c01.avi", "A/v_A_g01_c01.avi", "B/v_B_g01_c01.avi"]
    assert [clip.is_test for clip in listing.clips] == [False, False, True, True]
    assert (listing.named, listing.skipped) == (4, ())


def test_some_classes_are_numbered_among_themselves(folder: Path) -> None:
    assert list_clips(folder, num_classes=2).classes == ("Archery", "Bowling")
    listing = list_clips(folder, classes=["Typing", "Archery"])
    assert listing.classes == ("Archery", "Typing")
    assert {clip.name.split("/")[0]: clip.label for clip in listing.clips} == {"Archery": 0, "Typing": 1}


def test_the_alphabet_is_that_of_the_official_list(tmp_path: Path) -> None:
    """Capitals do not go before small letters."""
    names = ("Hammering", "HammerThrow", "JumpingJack", "JumpRope")
    for name in ("trainlist01.txt", "testlist01.txt"):
        write_lines(tmp_path / "splits" / name, [f"{c}/v_{c}_{name[:4]}.avi" for c in reversed(names)])
    for c in names:
        (tmp_path / "videos" / c).mkdir(parents=True)
        (tmp_path / "videos" / c / f"v_{c}_test.avi").touch()
    assert list_clips(tmp_path).classes == names
    assert list_clips(tmp_path, classes=["JumpRope", "JumpingJack"]).classes == names[2:]


def test_one_clip_a_class_is_enough(tmp_path: Path) -> None:
    folder = write_ucf101(tmp_path, {"A": 1, "B": 1}, {"A": 1, "B": 1})
    train, test = load_data(folder, SMALL)
    assert train.labels.tolist() == test.labels.tolist() == [0, 1]


def test_clips_of_several_sizes_become_one(folder: Path, capsys: Captured) -> None:
    write_video(folder / "videos" / "Typing" / "v_Typing_g08_c01.avi", 20, size=(96, 32))
    train, _ = load_data(folder, SMALL)
    assert train.images.shape == (6, 4, 12, 16, 3)
    assert said(capsys) == []


BAD_CLASSES: list[tuple[dict[str, Any], str]] = [
    ({"num_classes": 1}, r"1 classes: expected 2 to 3, those in .*splits; choose another number"),
    ({"num_classes": 4}, r"4 classes: expected 2 to 3"),
    ({"classes": ["Archery", "Chess"]}, r"class 'Chess' is not in .*: expected some of Archery, Bowling, Typing; choose others"),
    ({"classes": ["Archery"]}, r"1 classes: expected 2 or more of those in .*splits; choose more, or complete the lists"),
    ({"classes": []}, r"0 classes: expected 2 or more"),
    ({"classes": ["Archery"], "num_classes": 2}, r"classes and num_classes: expected one of them; leave the other out"),
]


@pytest.mark.parametrize(("given", "message"), BAD_CLASSES)
def test_classes_that_are_not_there_are_refused(folder: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list_clips(folder, **given)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no splits/trainlist01.txt: expected UCF-101, its videos and its split files"):
        list_clips(tmp_path)


# What is left out, and said.


def clip(folder: Path, name: str = "Typing/v_Typing_g08_c01.avi") -> Path:
    return folder / "videos" / name


def in_both(folder: Path) -> None:
    lines = (folder / "splits" / "testlist01.txt").read_text().splitlines()
    write_lines(folder / "splits" / "testlist01.txt", [*lines, "Typing/v_Typing_g09_c01.avi"])


SKIPPED: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated", lambda f: cut_short(clip(f)), r"v_Typing_g08_c01.avi is cut short"),
    ("zero frames", lambda f: write_video(clip(f), 0), r"v_Typing_g08_c01.avi has no frames"),
    ("audio only", lambda f: write_sound(clip(f)), r"v_Typing_g08_c01.avi has no video stream"),
    ("not a video", lambda f: clip(f).write_text("hello"), r"v_Typing_g08_c01.avi is no AVI video"),
    ("missing", lambda f: clip(f).unlink(), r"v_Typing_g08_c01.avi is missing: expected a clip of the split files; unpack it again"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in SKIPPED], ids=[case[0] for case in SKIPPED])
def test_a_clip_that_cannot_be_read_is_named_and_left_out(
    spoil: Callable[[Path], object], message: str, folder: Path, capsys: Captured
) -> None:
    import re

    spoil(folder)
    for _ in range(2):  # decoded, then out of the cache
        train, test = load_data(folder, SMALL)
        assert (len(train.images), len(test.images)) == (5, 3)
        assert train.labels.tolist() == [1, 1, 0, 0, 2]
        reason, count = said(capsys)
        assert re.search(message, reason)
        assert count == "1 of 9 clips are left out"


def test_a_missing_class_folder_is_named_once_and_labels_stay(folder: Path, capsys: Captured) -> None:
    shutil.rmtree(folder / "videos" / "Bowling")
    train, _ = load_data(folder, SMALL)
    assert train.class_names == ("Archery", "Bowling", "Typing")
    assert train.labels.tolist() == [0, 0, 2, 2]
    reason, count = said(capsys)
    assert reason.endswith("Bowling is missing with 3 clips: expected the folder of a class; unpack it, or choose other classes")
    assert count == "3 of 9 clips are left out"


def test_a_clip_in_both_lists_is_for_testing_only(folder: Path, capsys: Captured) -> None:
    in_both(folder)
    train, test = load_data(folder, SMALL)
    assert (len(train.images), len(test.images)) == (5, 4)
    (reason,) = said(capsys)
    assert "Typing/v_Typing_g09_c01.avi is in both lists" in reason
    assert reason.endswith("expected one; it is kept for testing only")


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        *("Typing", "Typing/v.mp4 3", "Typing\\v.avi 3", "Typing/v.avi three", "../Typing/v.avi 3", "/etc/v.avi", "a/v.avi 3 3"),
        "Typing/\x1b[2J.avi",  # would clear the screen
    ],
)
def test_a_wrong_line_is_named_and_left_out(folder: Path, line: str, capsys: Captured) -> None:
    path = folder / "splits" / "trainlist01.txt"
    write_lines(path, [path.read_text().splitlines()[0], "", line, *path.read_text().splitlines()[1:]])
    train, _ = load_data(folder, SMALL)
    assert len(train.images) == 6
    (reason,) = said(capsys)
    assert reason.endswith(f"trainlist01.txt, line 3: {line!r}: expected Class/v_Class_g01_c01.avi, once; correct the line")


def test_a_name_that_no_file_can_have_is_left_out(folder: Path, capsys: Captured) -> None:
    path = folder / "splits" / "trainlist01.txt"
    write_lines(path, [*path.read_text().splitlines(), f"Typing/{'ä' * 130}.avi"])  # 264 bytes
    assert len(load_data(folder, SMALL)[0].images) == 6
    assert "trainlist01.txt, line 7: 'Typing/" in said(capsys)[0]


def test_a_clip_named_twice_counts_once(folder: Path, capsys: Captured) -> None:
    path = folder / "splits" / "trainlist01.txt"
    write_lines(path, [*path.read_text().splitlines(), path.read_text().splitlines()[0]])
    assert len(load_data(folder, SMALL)[0].images) == 6
    assert "trainlist01.txt, line 7: a clip named before: expected" in said(capsys)[0]


def only_test_clips(folder: Path) -> None:
    for path in folder.glob("videos/*/*_g08_*.avi"):
        cut_short(path)
    for path in folder.glob("videos/*/*_g09_*.avi"):
        path.unlink()


def endless(folder: Path) -> None:
    (folder / "splits" / "testlist01.txt").unlink()
    os.mkfifo(folder / "splits" / "testlist01.txt")


def immense(folder: Path) -> None:
    os.truncate(folder / "splits" / "testlist01.txt", LARGEST_LIST + 1)


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("no test list", lambda f: (f / "splits" / "testlist01.txt").unlink(), r"testlist01.txt cannot be read .*: expected a list of clips"),
    ("binary", lambda f: (f / "splits" / "testlist01.txt").write_bytes(b"\xff\xfe"), r"testlist01.txt cannot be read .*: expected a list"),
    ("a pipe", endless, r"testlist01.txt cannot be read \(no regular file of at most 16,777,216 bytes\): expected a list of clips"),
    ("too large", immense, r"testlist01.txt cannot be read \(no regular file of at most 16,777,216 bytes\): expected a list of clips"),
    ("no line", lambda f: write_lines(f / "splits" / "testlist01.txt", ["# none"]), r"testlist01.txt names no clip: expected lines"),
    ("no videos", lambda f: shutil.rmtree(f / "videos"), r"has none of the 9 clips of .*splits: expected <Class>/v_<Class>_gNN_cNN.avi"),
    ("all bad", lambda f: [cut_short(p) for p in f.glob("videos/*/*.avi")], r"none of 9 clips can be read, the first because .* cut short"),
    ("one set", only_test_clips, r"ucf has no train clip that can be read: expected some; complete the videos or the split files"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_leaves_nothing_to_work_with_is_refused(spoil: Callable[[Path], object], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        load_data(folder, SMALL)


# The cache.


def not_again(*_: object) -> None:
    raise AssertionError("decoded again")


def test_the_second_time_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_data(folder, SMALL)
    monkeypatch.setattr(ucf101, "clip_dataset", not_again)
    again = load_data(folder, SMALL)
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before.images, after.images)
        np.testing.assert_array_equal(before.labels, after.labels)


def test_the_cache_is_the_file_that_every_command_reads(folder: Path) -> None:
    train, _ = load_data(folder, SMALL)
    with np.load(folder / CACHE) as saved:
        assert saved["names"].tolist()[0] == "v_Bowling_g08_c01.avi"
        assert saved["n_frames"].tolist() == [20] * 6 + [30] * 3
        assert saved["classes"].tolist() == ["Archery", "Bowling", "Typing"]
        assert len(saved["offsets"]) == 9 * 4 + 1
        jpeg = Image.open(io.BytesIO(saved["buf"][: saved["offsets"][1]].tobytes()))
        np.testing.assert_array_equal(np.asarray(jpeg), train.images[0, 0])
        assert json.loads(str(saved["settings"]))["frames"] == 4
    np.testing.assert_array_equal(read(folder / CACHE, subset="train", image_shape=SMALL.shape).images, train.images)


def resized(folder: Path) -> None:
    write_video(clip(folder), 21)


def reordered(folder: Path) -> None:
    path = folder / "splits" / "testlist01.txt"
    write_lines(path, reversed(path.read_text().splitlines()))


def moved_to_testing(folder: Path) -> None:
    """The last line of one list becomes the first of the other: the same lines in the same order."""
    train, test = (folder / "splits" / name for name in ("trainlist01.txt", "testlist01.txt"))
    *lines, last = train.read_text().splitlines()
    write_lines(test, [last, *test.read_text().splitlines()])
    write_lines(train, lines)


def of_other_frames(folder: Path) -> None:
    load_archive(folder, ClipFormat(2, 12, 16))
    shutil.move(folder / "ucf3_2x12x16_even.npz", folder / CACHE)


STALE: list[tuple[Callable[[Path], object], str]] = [
    (resized, "is of other clips"),
    (reordered, "is of other clips"),
    (moved_to_testing, "is of other clips"),
    (of_other_frames, "is of other frames"),
    (lambda folder: cut_short(folder / CACHE), "is damaged"),
    (lambda folder: np.savez(folder / CACHE, x=np.zeros(3)), "is damaged"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reason"), STALE)
def test_a_cache_of_something_else_is_said_to_be_and_made_again(
    change: Callable[[Path], object], reason: str, folder: Path, capsys: Captured
) -> None:
    load_archive(folder, SMALL)
    change(folder)
    said(capsys)
    again = load_archive(folder, SMALL)
    assert said(capsys) == [f"{folder / CACHE} {reason}: it is made again"]
    fresh = load_archive(folder, SMALL, cache=folder / "elsewhere")
    np.testing.assert_array_equal(again.buf, fresh.buf)
    np.testing.assert_array_equal(again.labels, fresh.labels)


def test_a_video_that_is_mended_is_taken_in_again(folder: Path) -> None:
    whole = clip(folder).read_bytes()
    clip(folder).write_bytes(b"X" + whole[1:])  # as long as before, and no AVI
    os.utime(clip(folder), ns=(0, 0))
    assert len(load_data(folder, SMALL)[0].images) == 5
    clip(folder).write_bytes(whole)
    assert len(load_data(folder, SMALL)[0].images) == 6


def test_a_line_that_is_corrected_is_named_no_more(folder: Path, capsys: Captured) -> None:
    path = folder / "splits" / "trainlist01.txt"
    lines = path.read_text().splitlines()
    write_lines(path, [*lines, "Typing"])
    load_archive(folder, SMALL)
    assert "line 7: 'Typing'" in said(capsys)[0]
    write_lines(path, lines)
    load_archive(folder, SMALL)
    assert said(capsys) == []


def test_what_a_cache_says_was_left_out_cannot_write_more_than_a_line(folder: Path, capsys: Captured) -> None:
    load_data(folder, SMALL)
    with np.load(folder / CACHE) as saved:
        arrays = dict(saved)
    np.savez(folder / CACHE, **{**arrays, "skipped": np.array(["\x1b[2J\nno outlier"])})
    said(capsys)
    train, _ = load_data(folder, SMALL)
    assert train.left_out == ("1 clip that could not be read when the file was made",)
    assert said(capsys)[0] == r"\x1b[2J\nno outlier"


@pytest.mark.parametrize("wrong", ["settings", "buf"])
def test_a_cache_without_its_settings_is_made_again(folder: Path, wrong: str, capsys: Captured) -> None:
    load_archive(folder, SMALL)
    with np.load(folder / CACHE) as saved:
        arrays = {name: array for name, array in saved.items() if name != wrong}
    np.savez(folder / CACHE, **arrays)
    said(capsys)
    load_archive(folder, SMALL)
    assert said(capsys) == [f"{folder / CACHE} is damaged: it is made again"]


def test_chosen_classes_have_a_cache_of_their_own(folder: Path, capsys: Captured) -> None:
    first = load_archive(folder, SMALL, num_classes=2)
    others = [load_archive(folder, SMALL, classes=names) for names in (["Bowling", "Typing"], ["Typing", "Bowling"], ["Archery", "Typing"])]
    assert first.classes == ("Archery", "Bowling")
    assert [other.classes for other in others] == [("Bowling", "Typing")] * 2 + [("Archery", "Typing")]
    assert said(capsys) == []
    assert (folder / "ucf2_4x12x16_even.npz").exists()
    assert len(list(folder.glob("ucf2-????????_4x12x16_even.npz"))) == 2


def test_classes_by_another_name_make_the_cache_again(folder: Path, capsys: Captured) -> None:
    load_archive(folder, SMALL, num_classes=2)
    (folder / "videos" / "Archery").rename(folder / "videos" / "Boxing")
    for path in (folder / "splits").iterdir():
        path.write_text(path.read_text().replace("Archery/", "Boxing/"))
    again = load_archive(folder, SMALL, num_classes=2)
    assert again.classes == ("Bowling", "Boxing")
    assert "is of other classes, clips: it is made again" in said(capsys)[0]


def test_the_seed_has_a_cache_of_its_own_where_it_matters(folder: Path) -> None:
    for seed in (0, 1):
        load_archive(folder, ClipFormat(4, 12, 16, "random", seed))
        load_archive(folder, ClipFormat(4, 12, 16, "even", seed))
    assert sorted(path.name for path in folder.glob("*.npz")) == [CACHE, "ucf3_4x12x16_random0.npz", "ucf3_4x12x16_random1.npz"]


def test_a_read_only_folder_is_left_alone(folder: Path, capsys: Captured) -> None:
    folder.chmod(0o555)
    try:
        train, test = read_both(folder, seed=0, image_shape=SMALL.shape)
    finally:
        folder.chmod(0o755)
    assert (len(train.images), len(test.images)) == (6, 3)
    assert not (folder / CACHE).exists()
    lines = [line for line in said(capsys) if "is read-only" in line]
    assert lines == [f"{folder} is read-only, so nothing is kept: `nc-tf data ucf101 --from {folder}` writes a file to use in its place"]


def test_clips_that_cannot_be_kept_are_used_all_the_same(folder: Path, capsys: Captured) -> None:
    (folder / CACHE).mkdir()
    assert len(load_data(folder, SMALL)[0].images) == 6
    _, line = said(capsys)
    assert line.startswith(f"nothing is kept: {folder / CACHE} could not be written (Is a directory): expected a writable folder")
    with pytest.raises(InputError, match="could not be written"):
        load_archive(folder, SMALL, cache=folder)


@pytest.mark.parametrize("moment", ["decoding", "writing"])
def test_an_interrupt_leaves_nothing_half_done(moment: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def one_clip(rows: Iterator[object], *_: object, **__: object) -> Iterator[object]:
        yield next(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(*((ucf101, "track", one_clip) if moment == "decoding" else (np, "savez", interrupted)))
    with pytest.raises(KeyboardInterrupt):
        load_archive(folder, SMALL)
    assert sorted(path.name for path in folder.iterdir()) == ["splits", "videos"]


# As the DATA of a command.


def test_a_folder_is_resized_to_the_input_of_the_model(folder: Path) -> None:
    data = read(folder, image_shape=(5, 10, 14, 3))
    assert (data.images.shape, data.subset, data.class_names) == ((3, 5, 10, 14, 3), "test", ("Archery", "Bowling", "Typing"))
    assert read(folder, image_shape=(None, 10, 14, 3)).images.shape == (3, 16, 10, 14, 3)
    assert read(folder).images.shape == (3, 16, 64, 64, 3)


@pytest.mark.parametrize("image_shape", [(32, 32, 3), (16, 32, 32, 1)])
def test_a_model_for_something_else_is_refused(folder: Path, image_shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"ucf holds colour videos, the model takes \(.*\): expected \(T, H, W, 3\); choose other data"):
        read(folder, image_shape=image_shape)


# The real clips.


def test_the_real_clips_are_those_of_the_prepared_file(realdata: Path, tmp_path: Path, capsys: Captured) -> None:
    for name in ("splits", "videos"):
        (tmp_path / name).symlink_to(realdata / "ucf10_clips" / name)
    train, test = read_both(tmp_path, seed=0, image_shape=(16, 64, 64, 3))
    assert said(capsys) == []
    assert (len(train.images), len(test.images)) == (30, 20)
    assert train.class_names == test.class_names
    assert np.bincount(train.labels).tolist() == [3] * 10
    assert np.bincount(test.labels).tolist() == [2] * 10

    with np.load(realdata / "ucf10_full_16x64_jpeg.npz") as saved:
        full = {name: saved[name] for name in saved.files}
    with np.load(tmp_path / "ucf10_16x64x64_even.npz") as saved:
        ours = {name: saved[name] for name in saved.files}
    rows = [full["names"].tolist().index(name) for name in ours["names"]]
    for name in ("labels", "is_test", "n_frames"):
        np.testing.assert_array_equal(full[name][rows], ours[name])
    chosen = np.isin(np.arange(len(full["names"])), rows) & ~full["is_test"]
    archive = jpegs.JpegArchive(full["buf"], full["offsets"], full["labels"], chosen, n_frames=full["n_frames"])
    theirs = dict(zip(full["names"][chosen], archive.found("test", "full").load(None).images.astype(int), strict=True))
    for name, image in zip(ours["names"][~ours["is_test"]], train.images, strict=True):
        strays = np.abs(theirs[name] - image).mean()
        assert strays < 6, name  # grey values: the same frame, twice through a JPEG
        assert strays < np.abs(theirs[name] - np.roll(image, 1, axis=0)).mean(), name
