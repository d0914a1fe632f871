"""The lower bound of a label-round's time on this machine: its arithmetic, and the machine's rates for that arithmetic."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.harness.work import BATCH, MINIBATCHES

PRECISIONS = ("float32", "bfloat16")
MATMUL_SIDE = 2048
# Images of a convolution measured alone: eight arms of a minibatch each.
CONV_IMAGES = 8 * BATCH


def flops(model: keras.Model) -> float:
    """Return the operations of a label-round.

    A multiply-add counts as two. Counted are every convolution and dense layer, forward, and the same number backward to the input;
    weights have no gradients.
    """
    forward = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            # Every value of the kernel (h, w, in, out) is used once a place; a dense layer has one place.
            places = int(np.prod(layer.output.shape[1:-1]))
            forward += 2 * int(np.prod(layer.kernel.shape)) * places
    return 2.0 * forward * MINIBATCHES * BATCH


def measure(model: keras.Model, repetitions: int) -> dict[str, Any]:
    """Return the FLOPs of a label-round, and the machine's rates.

    Rates are those of a large matrix product and of each convolution of the network alone, the best of `repetitions`.

    `conv_seconds` is what the convolutions of a label-round take at the rates measured: nothing that computes them with this library
    can be faster.
    """
    total = flops(model)
    found: dict[str, Any] = {"flops": total, "matmul_side": MATMUL_SIDE, "conv_images": CONV_IMAGES}
    for precision in PRECISIONS:
        square = tf.cast(tf.random.stateless_uniform([MATMUL_SIDE, MATMUL_SIDE], [0, 1]), precision)
        matmul = 2 * MATMUL_SIDE**3 / _best(partial(tf.linalg.matmul, square, square), repetitions)
        layers = [row for layer in model.layers if isinstance(layer, keras.layers.Conv2D) for row in _conv(layer, precision, repetitions)]
        found[precision] = {
            "matmul_gflops": matmul / 1e9,
            "best_conv_gflops": max(row["gflops"] for row in layers),
            "seconds_at_matmul_rate": total / matmul,
            "conv_seconds": sum(row["seconds"] for row in layers) * MINIBATCHES * BATCH / CONV_IMAGES,
            "convolutions": layers,
        }
    return found


def _conv(layer: keras.layers.Conv2D, precision: str, repetitions: int) -> list[dict[str, Any]]:
    """Return one convolution alone, forward and backward to its input."""
    kernel = tf.cast(tf.convert_to_tensor(layer.kernel), precision)
    shape, out = (CONV_IMAGES, *layer.input.shape[1:]), (CONV_IMAGES, *layer.output.shape[1:])
    images = tf.cast(tf.random.stateless_uniform(shape, [0, 2]), precision)
    gradient = tf.cast(tf.random.stateless_uniform(out, [0, 3]), precision)
    padding = layer.padding.upper()
    operations = 2.0 * CONV_IMAGES * int(np.prod(kernel.shape)) * int(np.prod(out[1:-1]))
    directions: dict[str, Callable[[], tf.Tensor]] = {
        "forward": lambda: tf.nn.conv2d(images, kernel, 1, padding),
        "backward": lambda: tf.nn.conv2d_transpose(gradient, kernel, shape, 1, padding),
    }
    rows = []
    for direction, call in directions.items():
        seconds = _best(call, repetitions)
        rows.append({"layer": layer.name, "direction": direction, "seconds": seconds, "gflops": operations / seconds / 1e9})
    return rows


def _best(call: Callable[[], tf.Tensor], repetitions: int) -> float:
    """Return the shortest time of several calls.

    A first call is not counted. One value is read, so that a GPU has finished.
    """
    seconds = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        tf.reshape(call(), [-1])[0].numpy()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
