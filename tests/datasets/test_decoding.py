"""Decoding of videos to clips: their frames, their size, and the messages on unreadable files."""

import builtins
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from videos import cut_short, grey, write_sound, write_video

from nc_tf.datasets.ucf101 import decoding
from nc_tf.datasets.ucf101.decoding import ClipFormat, Sampling, check_decoder, decode, frame_numbers
from nc_tf.datasets.ucf101.pipeline import JPEG_QUALITY, clip_dataset, jpeg_dataset
from nc_tf.errors import InputError

SMALL = ClipFormat(4, 12, 16)
SAMPLINGS: tuple[Sampling, ...] = ("even", "central", "random")


def brightness(clip: np.ndarray) -> np.ndarray:
    """Of each frame, (T,)."""
    return clip.mean(axis=(1, 2, 3))


# Which frames.


def test_even_frames_span_the_video() -> None:
    np.testing.assert_array_equal(frame_numbers(20, SMALL, "a"), [0, 6, 13, 19])
    np.testing.assert_array_equal(frame_numbers(20, ClipFormat(1), "a"), [0])


def test_central_frames_are_consecutive() -> None:
    np.testing.assert_array_equal(frame_numbers(20, replace(SMALL, sampling="central"), "a"), [8, 9, 10, 11])


def test_random_frames_depend_on_the_seed_and_the_name_alone() -> None:
    form = replace(SMALL, sampling="random")
    starts = [frame_numbers(1000, form, f"v{number}.avi")[0] for number in range(50)]
    assert starts == [frame_numbers(1000, form, f"v{number}.avi")[0] for number in range(50)]
    assert len(set(starts)) > 40
    assert starts != [frame_numbers(1000, replace(form, seed=1), f"v{number}.avi")[0] for number in range(50)]
    assert starts[:2] == [92, 605], "clips that were made with this seed before are made differently now"


@given(total=st.integers(1, 500), frames=st.integers(1, 40), sampling=st.sampled_from(SAMPLINGS), seed=st.integers(0, 9))
def test_every_sampling_keeps_to_the_video_and_to_its_order(total: int, frames: int, sampling: Sampling, seed: int) -> None:
    numbers = frame_numbers(total, ClipFormat(frames, sampling=sampling, seed=seed), "v.avi")
    assert numbers.shape == (frames,)
    assert 0 <= numbers[0] <= numbers[-1] < total
    assert set(np.diff(numbers)) <= ({0, 1} if sampling != "even" or total <= frames else set(range(1, total)))
    if total <= frames:
        np.testing.assert_array_equal(numbers, np.minimum(np.arange(frames), total - 1))


# From the file.


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_frames_asked_for_are_those_decoded(tmp_path: Path, sampling: Sampling) -> None:
    form = replace(SMALL, sampling=sampling)
    clip, total = decode(write_video(tmp_path / "v.avi", 20), form)
    assert total == 20
    assert (clip.shape, clip.dtype) == ((4, 12, 16, 3), np.uint8)
    np.testing.assert_allclose(brightness(clip), grey(*frame_numbers(20, form, "v.avi")), atol=4)


def test_a_short_video_repeats_its_last_frame(tmp_path: Path) -> None:
    clip, total = decode(write_video(tmp_path / "v.avi", 3), ClipFormat(6, 12, 16))
    assert total == 3
    np.testing.assert_allclose(brightness(clip), grey(0, 1, 2, 2, 2, 2), atol=4)


def test_frames_are_resized_as_pictures_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", 1, size=(64, 48))
    whole, _ = decode(path, ClipFormat(1, 48, 64))
    small, _ = decode(path, ClipFormat(1, 10, 30))
    np.testing.assert_array_equal(small[0], np.asarray(Image.fromarray(whole[0]).resize((30, 10), decoding.RESIZE_FILTER)))


# Grey values: the decoder may show the last frame once more for the first packet without one, and the others move by that.
STRAY = 8


def test_packets_that_are_no_frame_are_not_counted(tmp_path: Path) -> None:
    clip, total = decode(write_video(tmp_path / "v.avi", 20, padding=6), SMALL)
    assert total < 26
    np.testing.assert_allclose(brightness(clip), grey(0, 6, 13, 19), atol=STRAY)


def test_the_pipeline_keeps_the_order_and_goes_on_past_bad_files(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{number}.avi", 5 + number) for number in range(6)]
    cut_short(paths[2])
    found = list(clip_dataset(paths, SMALL).as_numpy_iterator())
    assert [total for _, total, _ in found] == [5, 6, 0, 8, 9, 10]
    assert [bool(problem) for *_, problem in found] == [False, False, True, False, False, False]
    assert b"2.avi is cut short" in found[2][2]
    for path, (clip, total, _) in zip(paths, found, strict=True):
        np.testing.assert_array_equal(clip, decode(path, SMALL)[0] if total else 0)


def test_the_jpegs_show_the_clips(tmp_path: Path) -> None:
    import io

    clips = clip_dataset([write_video(tmp_path / "v.avi")], SMALL)
    ((frames, total, problem),) = jpeg_dataset(clips).as_numpy_iterator()
    shown = np.stack([np.asarray(Image.open(io.BytesIO(frame), formats=["JPEG"])) for frame in frames])
    np.testing.assert_allclose(shown, decode(tmp_path / "v.avi", SMALL)[0], atol=3)
    assert (total, problem, JPEG_QUALITY) == (20, b"", 95)


# What gives no clip.


def header_alone(path: Path) -> None:
    pytest.importorskip("av")  # the first to look further
    path.write_bytes(b"RIFF\0\0\0\0AVI ")


def unknown_codec(path: Path) -> None:
    path.write_bytes(write_video(path).read_bytes().replace(b"FMP4", b"QQQQ"))


def damaged(path: Path) -> None:
    first, *others = write_video(path).read_bytes().split(b"\0\0\1\xb6")  # what every picture begins with
    path.write_bytes(b"\xff\xff\xff\xff".join([first + b"\0\0\1\xb6" + others[0], *others[1:]]))


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda path: None, r"v.avi cannot be read \(No such file or directory\): expected an AVI video; check the path"),
    ("empty", lambda path: path.write_bytes(b""), r"v.avi is no AVI video: expected one as in the official archive; replace it"),
    ("text", lambda path: path.write_text("a video, honestly"), r"v.avi is no AVI video"),
    ("playlist", lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nother.avi\n"), r"v.avi is no AVI video"),
    ("another kind", lambda path: write_video(path.with_suffix(".mp4")).rename(path), r"v.avi is no AVI video"),
    ("pipe", lambda path: os.mkfifo(path), r"v.avi is a pipe or a device: expected a plain file; copy the content into one"),
    ("link", lambda path: path.symlink_to(write_video(path.with_name("w.avi"))), r"v.avi is a link to another file: expected the video"),
    ("truncated", lambda path: cut_short(write_video(path)), r"v.avi is cut short, [\d,]+ of [\d,]+ bytes: expected a whole video; unpack"),
    ("header alone", header_alone, r"v.avi cannot be decoded \(Invalid data .*\): expected a whole"),
    ("zero frames", lambda path: write_video(path, 0), r"v.avi has no frames: expected a video; replace it"),
    ("audio only", lambda path: write_sound(path), r"v.avi has no video stream: expected a video; replace it"),
    ("unknown codec", unknown_codec, r"v.avi is compressed by a codec that FFmpeg does not support: expected MPEG-4 or another"),
    ("damaged", damaged, r"v.avi cannot be decoded \(Invalid data .*\): expected a whole AVI video; replace it"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_file_that_gives_no_clip_is_named(spoil: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    spoil(tmp_path / "v.avi")
    with pytest.raises(InputError, match=message) as caught:
        decode(tmp_path / "v.avi", SMALL)
    assert "\n" not in str(caught.value)


def test_immense_frames_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGEST_PICTURE", 64 * 48 - 1)
    path = write_video(tmp_path / "v.avi")
    with pytest.raises(InputError, match=r"v.avi has frames of 64x48: expected at most 3,071 pixels; shrink it"):
        decode(path, SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, r"clips of 0 frames of 64x64: expected numbers from 1, and at most 67,108,864 pixels in all; choose others"),
        ({"height": 2**13, "width": 2**13}, r"clips of 16 frames of 8192x8192: expected numbers from 1, and at most"),
        ({"seed": -1}, r"seed -1: expected a whole number from 0"),
        ({"sampling": "odd"}, r"'odd': expected even or central or random; choose one of them"),
        ({"decoder": "opencv"}, r"'opencv': expected pyav or tfio; choose one of them"),
    ],
)
def test_a_clip_that_cannot_be_made_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClipFormat(**wrong)


def test_without_pyav_a_test_that_needs_a_video_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for write in (write_video, write_sound):
        with pytest.raises(pytest.skip.Exception, match="could not import 'av'"):
            write(tmp_path / "v.avi")


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"videos need PyAV, which is not installed: expected the extra `video`; pip"):
        check_decoder(ClipFormat())
