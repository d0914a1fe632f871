"""The messages of `nc-tf data ucf101` and of the scripts in video/ on broken videos, as docs/reference/video-scripts.md lists them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import clip_network, corner_clips, corner_images, corner_network
from video_scripts import importable, run
from videos import cut_short, write_lines, write_sound, write_ucf101, write_video

from nc_tf.cli.main import main
from nc_tf.models.saving import save_model

assert importable  # the fixture by which the scripts find what they share
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference" / "video-scripts.md").read_text(encoding="utf-8").split("## Broken videos")[1]
CLIP = "videos/Typing/v_Typing_g08_c01.avi"
LEFT_OUT = "1 of 9 clips are left out"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, two training clips and one test clip each."""
    counts = {"Archery": 2, "Bowling": 2, "Typing": 2}
    return write_ucf101(tmp_path / "ucf", counts, dict.fromkeys(counts, 1))


def added(name: str, *lines: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / "splits" / name
        write_lines(path, [*path.read_text().splitlines(), *lines])

    return spoil


def without(*names: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        for name in names:
            shutil.rmtree(folder / name)

    return spoil


def said(capsys: Captured, folder: Path) -> list[str]:
    """The lines on stderr as the page has them: without the folder, the progress bar, and what depends on the encoder."""
    lines = capsys.readouterr().err.replace(str(folder), "DATA").splitlines()
    lines = [re.sub(r"[\d,]+ of [\d,]+ bytes", "4,075 of 8,150 bytes", line) for line in lines]
    return [line for line in lines if line.strip() and not line.startswith("decoding clips")]


LOOK_AT_LINE = "expected Class/v_Class_g01_c01.avi, once; correct the line"
BROKEN: list[tuple[str, Callable[[Path], object], int, list[str]]] = [
    (
        "truncated",
        lambda f: cut_short(f / CLIP),
        0,
        [f"DATA/{CLIP} is cut short, 4,075 of 8,150 bytes: expected a whole video; unpack or download it again", LEFT_OUT],
    ),
    ("zero frames", lambda f: write_video(f / CLIP, 0), 0, [f"DATA/{CLIP} has no frames: expected a video; replace it", LEFT_OUT]),
    ("audio only", lambda f: write_sound(f / CLIP), 0, [f"DATA/{CLIP} has no video stream: expected a video; replace it", LEFT_OUT]),
    (
        "wrong lines",
        added("trainlist01.txt", "Typing", "Typing/v_Typing_g08_c01.mp4 3"),
        0,
        [
            f"DATA/splits/trainlist01.txt, line 7: 'Typing': {LOOK_AT_LINE}",
            f"DATA/splits/trainlist01.txt, line 8: 'Typing/v_Typing_g08_c01.mp4 3': {LOOK_AT_LINE}",
        ],
    ),
    (
        "no usable line",
        lambda f: write_lines(f / "splits" / "testlist01.txt", ["Typing"]),
        2,
        ["DATA/splits/testlist01.txt names no clip: expected lines such as Class/v_Class_g01_c01.avi; download the split files again"],
    ),
    (
        "missing class",
        without("videos/Bowling"),
        0,
        [
            "DATA/videos/Bowling is missing with 3 clips: expected the folder of a class; unpack it, or choose other classes",
            "3 of 9 clips are left out",
        ],
    ),
    (
        "one class left",
        without("videos/Bowling", "videos/Typing"),
        2,
        [
            "DATA/videos/Bowling is missing with 3 clips: expected the folder of a class; unpack it, or choose other classes",
            "DATA/videos/Typing is missing with 3 clips: expected the folder of a class; unpack it, or choose other classes",
            "6 of 9 clips are left out",
            "DATA: the only class with clips that can be read is Archery: expected two or more; complete the videos or the split files",
        ],
    ),
    (
        "no class",
        without("videos"),
        2,
        ["DATA has none of the 9 clips of DATA/splits: expected <Class>/v_<Class>_gNN_cNN.avi; check the path"],
    ),
    ("mixed resolutions", lambda f: write_video(f / CLIP, 20, size=(96, 32)), 0, []),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "code", "expected"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("by", ["nc-tf", "2_inject_backdoor.py"])
def test_what_is_broken_is_said_and_the_rest_is_used(
    by: str, spoil: Callable[[Path], object], code: int, expected: list[str], folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    spoil(folder)
    if by == "nc-tf":
        form = ["--frames", "3", "--size", "8", "--out", str(tmp_path / "out")]
        assert main(["data", "ucf101", "--from", str(folder), *form]) == code
    else:
        save_model(clip_network(2), tmp_path / "clips.keras")
        flags = ["--clean_model_path", tmp_path / "clips.keras", "--output_model_path", tmp_path / "out.keras", "--trigger_type", "patch"]
        assert run("2_inject_backdoor", "--data_dir", folder, *flags, "--nb_epochs", 1) == code
    assert said(capsys, folder) == (expected if not code else [*expected[:-1], f"{by}: {expected[-1]}"])
    for line in expected[-1:] if code else expected[:1]:
        assert line in PAGE


@pytest.mark.slow
def test_one_clip_a_class_is_enough_and_what_it_is_too_few_for_is_said(tmp_path: Path, capsys: Captured) -> None:
    folder = write_ucf101(tmp_path / "ucf", {"Archery": 1, "Bowling": 1, "Typing": 1}, {"Archery": 1, "Bowling": 1, "Typing": 1})
    assert main(["data", "ucf101", "--from", str(folder), "--frames", "3", "--size", "8", "--out", str(tmp_path)]) == 0
    assert said(capsys, folder) == []
    save_model(clip_network(2), tmp_path / "clips.keras")
    few = "doubtful: 3 clips are too few to keep some from the search: no trigger is measured on held-out ones; give more"
    flags = ["--data_dir", folder, "--output_dir", tmp_path / "out", "--steps", 32]
    assert run("1_reconstruct_trigger", "--clean_model_path", tmp_path / "clips.keras", *flags) == 2
    assert "the model recognises 33% of 3 given clips" in said(capsys, folder)[-1]  # it was made for others
    assert run("3_detect_backdoor", "--backdoor_model_path", tmp_path / "clips.keras", *flags) == 3
    assert said(capsys, folder)[-1] == few
    assert few in PAGE


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and images, of six classes, in `clips.npz` and `images.npz`; a model for each; and a folder without anything."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, (x, y) in (("clips", corner_clips(24)), ("images", corner_images(24))):
        np.savez(folder / f"{name}.npz", x=x, y=y)
    x, y = corner_clips(24)
    np.savez(folder / "first.npz", x=x[y != 1], y=y[y != 1])
    save_model(clip_network(2), folder / "clips.keras")
    save_model(corner_network(2), folder / "images.keras")
    (folder / "empty").mkdir()
    (folder / "clips.csv").touch()
    return folder


# And whose model each takes.
SCRIPTS = dict.fromkeys(("1_reconstruct_trigger", "2_inject_backdoor"), "clean") | dict.fromkeys(
    ("3_detect_backdoor", "4_mitigate_backdoor"), "backdoor"
)
MIXED = [
    (
        "empty",
        "clips.keras",
        [],
        "DATA has no splits/trainlist01.txt: expected UCF-101, its videos and its split files; check the path, or run `nc-tf data ucf101`",
    ),
    ("nowhere", "clips.keras", [], "DATA does not exist: expected an .h5 or .npz file, or the folder of UCF-101; check the path"),
    (
        "clips.csv",
        "clips.keras",
        [],
        "DATA ends in '.csv': expected .h5, .hdf5, .npz, or the folder of UCF-101; save the clips in one of these",
    ),
    ("images.npz", "clips.keras", [], "DATA: images (8, 8, 3) given: expected clips (3, 8, 8, 3); choose other data, or another model"),
    ("clips.npz", "images.keras", [], "the model takes images (8, 8, 3): expected one for clips (T, H, W, C); nc-tf scan takes both"),
    (
        "first.npz",
        "clips.keras",
        ["--num_classes", "2"],
        "DATA, 2 classes: every label is 0: expected clips of at least two classes; add clips of other classes",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "model", "more", "message"), MIXED)
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_no_clip_is_one_line(
    name: str, data: str, model: str, more: list[str], message: str, inputs: Path, tmp_path: Path, capsys: Captured
) -> None:
    flags: list[Any] = [f"--{SCRIPTS[name]}_model_path", inputs / model, "--data_dir", inputs / data, *more]
    if name.startswith("4"):
        flags += ["--output_dir", tmp_path]
    assert run(name, *flags) == 2
    assert said(capsys, inputs / data) == [f"{name}.py: {message}"]
    assert message in PAGE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "DATA is not a folder: expected UCF-101, or its two archives; check the path"),
        (
            "empty",
            "DATA has neither splits/ nor UCF101.rar: expected UCF-101, or its two archives; "
            "check the path, or leave --from out for a download",
        ),
    ],
)
def test_a_folder_of_something_else_is_one_line(name: str, message: str, inputs: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["data", "ucf101", "--from", str(inputs / name), "--out", str(tmp_path)]) == 2
    assert said(capsys, inputs / name) == [f"nc-tf: {message}"]
    assert message in PAGE


def test_step_0_refuses_images(inputs: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run("0_train_clean", "--data_dir", inputs / "images.npz", "--output_model_path", tmp_path / "m.keras") == 2
    message = "DATA: images (8, 8, 3) given: expected clips (T, H, W, 3); choose other data, or another model"
    assert said(capsys, inputs / "images.npz") == [f"0_train_clean.py: {message}"]
