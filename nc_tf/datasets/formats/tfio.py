"""The only imports of tensorflow-io, an optional extra.

Its last release, 0.37.1, is compiled against TensorFlow 2.16 and loads under no other. It therefore needs an environment of its own, made
by `pip install 'nc_tf[tfio]'`.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.errors import InputError


def load() -> Any:
    """Return the package, with its compiled operations loaded.

    Raises:
        InputError: it is not installed, or does not load under this TensorFlow.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says more than its warnings
            import tensorflow_io
            from tensorflow_io.python.ops import core_ops

            _ = core_ops.io_hdf5_readable_info  # loads the library here rather than at its first use
    except (ImportError, NotImplementedError) as error:
        raise InputError(
            f"tensorflow-io cannot be loaded ({_first_line(error)}): expected 0.37.1 beside TensorFlow 2.16; "
            "pip install 'nc_tf[tfio]' in an environment of its own, with Python 3.11 or 3.12"
        ) from error
    return tensorflow_io


def load_ffmpeg() -> Any:
    """Return the video decoder of tensorflow-io, which ships no FFmpeg.

    Raises:
        InputError: as `load`; or the machine has none of the FFmpeg releases that it was compiled against.
    """
    load()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tensorflow_io.python.ops import ffmpeg_ops
    except (ImportError, NotImplementedError) as error:
        raise InputError(
            f"tensorflow-io finds no FFmpeg ({_first_line(error)}): expected the shared libraries of FFmpeg 4 (libavformat.so.58), 3.4 "
            "or 2.8; install them, or let PyAV decode, which ships its own"
        ) from error
    return ffmpeg_ops


def decode_video(path: Path) -> np.ndarray:
    """Return all frames of a video, (N, H, W, 3) uint8 RGB.

    They are in memory together, and no bound is checked before.

    Raises:
        InputError: as `load_ffmpeg`; or the file cannot be read or decoded.
    """
    import tensorflow as tf

    ffmpeg = load_ffmpeg()
    try:
        return np.asarray(ffmpeg.io_ffmpeg_decode_video(path.read_bytes(), 0))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"{path} cannot be decoded ({_first_line(error)}): expected a whole AVI video; replace it") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
