"""Small videos whose frames tell their own numbers, and folders of them in the layout of UCF-101.

PyAV writes them. Where it is missing, a test that asks for one is skipped, and no other.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

STEP = 8  # grey values from one frame to the next: more than compression blurs


def grey(*numbers: int) -> np.ndarray:
    """The brightness of frames by their numbers."""
    return STEP * np.array(numbers) % 240 + 8


def write_video(path: Path, frames: int = 20, size: tuple[int, int] = (64, 48), padding: int = 0) -> Path:
    """An `.avi` of mpeg4, frame n as grey as `grey(n)`; size: (width, height); `padding` packets without a picture follow."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        container.start_encoding()
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), grey(number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        for number in range(frames, frames + padding):
            packet = av.Packet(b"\x00\x00\x01\xb6\x50\xcf")  # a picture of MPEG-4 that is "not coded": nothing is to be shown
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)
    return path


def write_sound(path: Path) -> Path:
    """An `.avi` that one can only listen to."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def cut_short(path: Path) -> Path:
    """Take the second half of a file away."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def write_ucf101(folder: Path, train: Mapping[str, int], test: Mapping[str, int], *, videos: str = "videos", lists: str = "splits") -> Path:
    """So many clips of each class: of 20 frames for training, groups from 8, and of 30 for testing, groups from 1."""
    for name, counts, first, frames in (("trainlist01.txt", train, 8, 20), ("testlist01.txt", test, 1, 30)):
        named = [f"{c}/v_{c}_g{first + number:02}_c01.avi" for c, count in counts.items() for number in range(count)]
        for file in named:
            write_video(folder / videos / file, frames)
        numbers = [f" {1 + sorted({*train, *test}).index(file.split('/')[0])}" if name.startswith("train") else "" for file in named]
        write_lines(folder / lists / name, (file + number for file, number in zip(named, numbers, strict=True)))
    return folder


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\r\n" for line in lines), encoding="utf-8", newline="")
    return path
