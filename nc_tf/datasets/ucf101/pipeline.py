"""Many videos at once: a `tf.data` pipeline that decodes on all cores, and the JPEGs that are kept of what it gives."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from nc_tf.datasets.ucf101.decoding import ClipFormat, decode
from nc_tf.errors import InputError

JPEG_QUALITY = 95  # with the colours at full resolution; part of what tells one cache from another

CORES = os.cpu_count() or 1
# For each core. The order is kept, so with one clip begun for each a long video holds up the core that is done with the next one; and with
# one thread for each, as in TensorFlow's own pool, a core stands idle while its thread hands a clip over.
CLIPS_BEGUN, THREADS = 4, 2


def clip_dataset(files: Sequence[Path], form: ClipFormat) -> tf.data.Dataset:
    """Decode clips on all cores, each clip on one; nothing is decoded before it is asked for.

    Args:
        files: `.avi` files.
        form: what to make of them.

    Returns:
        In the order of `files`: (clip (T, H, W, 3) uint8 in [0, 255], length of the video in frames () int64, what is wrong with the file
        () string). Of a file that gives no clip the first is black and the second 0; with others the third is empty.
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
    """The same as `clip_dataset` gives, each clip as (T,) strings, its frames as JPEGs."""

    def encode(clip: tf.Tensor, total: tf.Tensor, problem: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def jpeg(frame: tf.Tensor) -> tf.Tensor:
            return tf.io.encode_jpeg(frame, quality=JPEG_QUALITY, chroma_downsampling=False)

        return tf.map_fn(jpeg, clip, fn_output_signature=tf.string), total, problem

    return clips.map(encode, num_parallel_calls=CLIPS_BEGUN * CORES, deterministic=True)
