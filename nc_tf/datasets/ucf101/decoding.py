"""Decoding of a video file to a clip: its frames, their size, and the reasons to refuse a file."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from nc_tf.datasets.checks import LARGEST_PICTURE
from nc_tf.datasets.formats import tfio
from nc_tf.datasets.formats.pictures import RESIZE_FILTER
from nc_tf.errors import InputError
from nc_tf.storage.bounds import check_plain

Sampling = Literal["even", "central", "random"]
Decoder = Literal["pyav", "tfio"]


@dataclass(frozen=True)
class ClipFormat:
    """The format of a clip.

    Attributes:
        frames: number of frames, T. A shorter video repeats its last frame.
        height: height of a frame in pixels, H; the frame is squeezed, not cropped.
        width: width of a frame in pixels, W.
        sampling: "even" spreads the frames over the whole video, first and last included; "central" takes consecutive ones from its
            middle; "random" takes consecutive ones from a start that depends on `seed` and the name of the file alone.
        seed: seed of "random".
        decoder: "pyav", which ships its FFmpeg; or "tfio", tensorflow-io, which needs the FFmpeg of the machine.

    Raises:
        InputError: a number below 1, a negative seed, a clip that does not fit into memory, or another word.
    """

    frames: int = 16
    height: int = 64
    width: int = 64
    sampling: Sampling = "even"
    seed: int = 0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width) < 1 or self.frames * self.height * self.width > LARGEST_PICTURE:
            raise InputError(
                f"clips of {self.frames} frames of {self.height}x{self.width}: "
                f"expected numbers from 1, and at most {LARGEST_PICTURE:,} pixels in all; choose others"
            )
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected a whole number from 0; choose another one")
        for word, words in ((self.sampling, Sampling), (self.decoder, Decoder)):
            if word not in get_args(words):
                raise InputError(f"{word!r}: expected {' or '.join(get_args(words))}; choose one of them")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a clip, (T, H, W, 3)."""
        return self.frames, self.height, self.width, 3


def frame_numbers(total: int, form: ClipFormat, name: str) -> np.ndarray:
    """Return the numbers of the frames that make the clip.

    Args:
        total: the length of the video in frames, at least 1.
        form: the format of the clip.
        name: name of the file, without its folder; "random" depends on it.

    Returns:
        (T,) int64, ascending, from 0 to total - 1.
    """
    spare = total - form.frames
    if form.sampling == "even" and spare > 0:
        return np.linspace(0, total - 1, form.frames).round().astype(np.int64)
    start = 0
    if form.sampling == "central" and spare > 0:
        start = spare // 2
    elif form.sampling == "random" and spare > 0:
        start = int.from_bytes(hashlib.sha256(f"{form.seed}/{name}".encode()).digest()) % (spare + 1)
    return np.minimum(start + np.arange(form.frames), total - 1)


def decode(path: Path, form: ClipFormat) -> tuple[np.ndarray, int]:
    """Return a clip of an `.avi` file, and the video length.

    Args:
        path: the file. No other file is opened: a playlist or a link in the place of a video is refused.
        form: the format of the clip.

    Returns:
        (T, H, W, 3) uint8 RGB in [0, 255], and the length of the video in frames.

    Raises:
        InputError: the file is not there, a link, no AVI, cut short, without video, without frames, damaged or immense; or the decoder
            of `form` is not installed.
    """
    _check_whole(path)
    return {"pyav": _with_pyav, "tfio": _with_tfio}[form.decoder](path, form)


def check_decoder(form: ClipFormat) -> None:
    """Refuse a decoder that is not installed, once for all files.

    Raises:
        InputError: the decoder of `form` is not installed or does not work.
    """
    {"pyav": load_pyav, "tfio": tfio.load_ffmpeg}[form.decoder]()


def _check_whole(path: Path) -> None:
    """Refuse a file that is no AVI, or is cut short.

    FFmpeg would make a clip of the part that is there.
    """
    if path.is_symlink():
        raise InputError(f"{path} is a link to another file: expected the video itself; copy it there")
    try:
        check_plain(path)
        with open(path, "rb") as file:
            head = file.read(12)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): expected an AVI video; check the path") from error
    if head[:4] != b"RIFF" or head[8:] != b"AVI ":
        raise InputError(f"{path} is no AVI video: expected one as in the official archive; replace it")
    declared = int.from_bytes(head[4:8], "little") + 8
    if size < declared:
        raise InputError(f"{path} is cut short, {size:,} of {declared:,} bytes: expected a whole video; unpack or download it again")


def _with_pyav(path: Path, form: ClipFormat) -> tuple[np.ndarray, int]:
    av = load_pyav()
    clip = np.empty(form.shape, np.uint8)
    try:
        with _opened(av, path) as (container, stream):
            # The number of frames, or a little more, as some packets hold none; headers are often wrong.
            total = sum(packet.size > 0 for packet in container.demux(stream))
        while total:
            numbers = frame_numbers(total, form, path.name)
            with _opened(av, path) as (container, stream):
                decoded = _fill_clip(clip, container.decode(stream), numbers)
            if decoded > numbers[-1]:
                return clip, total
            total = decoded
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be decoded ({reason}): expected a whole AVI video; replace it") from error
    raise _no_frames(path)


def load_pyav() -> Any:
    """Return PyAV, which is an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need PyAV, which is not installed: expected the extra `video`; pip install 'nc_tf[video]'") from error
    return av


@contextmanager
def _opened(av: Any, path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file, and yield it with its first video stream."""
    # An absolute path holds no `protocol:`. The format is named, because other formats of FFmpeg open further files, or the network.
    with av.open(str(path.absolute()), format="avi", options={"protocol_whitelist": "file"}) as container:
        if not container.streams.video:
            raise InputError(f"{path} has no video stream: expected a video; replace it")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{path} is compressed by a codec that FFmpeg does not support: expected MPEG-4 or another; convert it")
        if stream.width * stream.height > LARGEST_PICTURE:
            raise InputError(f"{path} has frames of {stream.width}x{stream.height}: expected at most {LARGEST_PICTURE:,} pixels; shrink it")
        stream.codec_context.options = {"max_pixels": str(LARGEST_PICTURE)}  # a later frame may be larger
        stream.thread_count = 1  # many files at once keep the cores busy better than many threads on one
        yield container, stream


def _fill_clip(clip: np.ndarray, frames: Iterable[Any], numbers: np.ndarray) -> int:
    """Fill a clip with frames; return the number decoded."""
    number = -1
    for number, frame in enumerate(frames):
        places = np.flatnonzero(numbers == number)
        if len(places):
            clip[places] = _resized(frame.to_image(), clip.shape)
        if number == numbers[-1]:
            break
    return number + 1


def _with_tfio(path: Path, form: ClipFormat) -> tuple[np.ndarray, int]:
    frames = tfio.decode_video(path)
    if not len(frames):
        raise _no_frames(path)
    chosen = frames[frame_numbers(len(frames), form, path.name)]
    return np.stack([_resized(Image.fromarray(frame), form.shape) for frame in chosen]), len(frames)


def _no_frames(path: Path) -> InputError:
    return InputError(f"{path} has no frames: expected a video; replace it")


def _resized(frame: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(frame.resize((shape[2], shape[1]), RESIZE_FILTER))
