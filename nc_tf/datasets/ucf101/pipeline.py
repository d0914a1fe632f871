"""A `tf.data` pipeline that decodes many videos on all cores, and encodes their frames as JPEGs."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from nc_tf.datasets.ucf101.decoding import ClipFormat, decode
from nc_tf.errors import InputError

JPEG_QUALITY = 95  # with the colours at full resolution; a cache of another quality is out of date

CORES = os.cpu_count() or 1
# Clips in progress and threads, for each core. The order is kept, so that with one clip in progress a long video blocks the core that has
# finished the next one. With one thread, as in TensorFlow's own pool, a core is idle while its thread passes a clip on.
CLIPS_BEGUN, THREADS = 4, 2


def clip_dataset(files: Sequence[Path], form: ClipFormat) -> tf.data.Dataset:
    """Return a data set of decoded clips.

    Clips are decoded on all cores, each clip on one, and none before it is requested.

    Args:
        files: `.avi` files.
        form: the format of a clip.

    Returns:
        In the order of `files`: (clip (T, H, W, 3) uint8 in [0, 255], length of the video in frames () int64, problem () string). The
        problem of a file that cannot be read is its message; its clip is black and its length 0. For other files it is empty.
    """

    def decoded(path: bytes) -> tuple[np.ndarray, np.int64, bytes]:
        try:
            clip, total = decode(Path(os.fsdecode(path)), form)
        except InputError as error:
            return np.zeros(form.shape, np.uint8), np.int64(0), str(error).encode()
        return clip, np.int64(total), b""

    def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        clip, total, problem = tf.numpy_function(decoded, [path], (tf.uint8, tf.int64, tf.string))
        return tf.ensure_shape(clip, form.shape), tf.ensure_shape(total, ()), tf.ensure_shape(problem, ())

    options = tf.data.Options()
    options.threading.private_threadpool_size = THREADS * CORES
    paths = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in files])
    return paths.map(load, num_parallel_calls=CLIPS_BEGUN * CORES, deterministic=True).with_options(options)


def jpeg_dataset(clips: tf.data.Dataset) -> tf.data.Dataset:
    """Return the data set with each clip as T JPEGs, (T,) strings."""

    def encode(clip: tf.Tensor, total: tf.Tensor, problem: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def jpeg(frame: tf.Tensor) -> tf.Tensor:
            return tf.io.encode_jpeg(frame, quality=JPEG_QUALITY, chroma_downsampling=False)

        return tf.map_fn(jpeg, clip, fn_output_signature=tf.string), total, problem

    return clips.map(encode, num_parallel_calls=CLIPS_BEGUN * CORES, deterministic=True)
