"""A classifier as the search sees it: raw pixels in, float32 logits out, weights frozen, in the precision asked for."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.preprocessing import Preprocessing


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU since Ampere, or a CPU with AVX-512 BF16 or AMX."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return bool(capability >= (8, 0))
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text(errors="replace") for flag in ("avx512_bf16", "amx_bf16"))


def resolve_precision(precision: str) -> str:
    """What a precision comes to on this machine, "float32" or "bfloat16": "auto" is the second where the hardware has it.

    Raises:
        InputError: a precision of another name.
    """
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision {precision!r}: expected auto, float32 or bfloat16; choose one")
    return precision


def are_probabilities(answers: np.ndarray) -> bool:
    """Whether answers (N, K) are non-negative and sum to one: the mark of a softmax, whatever computed it."""
    return bool((answers >= 0).all() and np.allclose(answers.sum(-1), 1.0, atol=1e-3))


def check_finite(answers: np.ndarray) -> np.ndarray:
    """Answers of a model, which must be finite: the largest of NaNs is the first, as if the model had said class 0.

    Raises:
        InputError: they are not.
    """
    if not np.isfinite(answers).all():
        raise InputError("the model answers NaN or infinity: expected finite outputs; check its weights and --intensity-range")
    return answers


class _NoSoftmax(keras.layers.Softmax):
    """Stands where a closing Softmax layer stood; takes its arguments, `mask` among them, and changes nothing."""

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        del mask
        return inputs


class _FramesAtOnce(keras.layers.TimeDistributed):
    """One call on all N * T frames, where Keras slices out each.

    The gradient of a slice is as large as the clip it was cut from and zero but for one frame, so that the search would spend as long on
    them as on the convolutions; and a graph with one network in it instead of T is traced sooner.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is not None:
            return super().call(inputs, training=training, mask=mask)
        frames = self.layer(tf.reshape(inputs, tf.concat([[-1], tf.shape(inputs)[2:]], 0)))
        return tf.reshape(frames, tf.concat([tf.shape(inputs)[:2], tf.shape(frames)[1:]], 0))


class FrozenNetwork:
    """A copy of a Keras classifier, `network(raw images (N, ..., C) float32) -> logits (N, K) float32`.

    A closing softmax or sigmoid is cut off, because the loss is steadier on logits. Where the model cannot be copied (a subclass with its
    own `call`), it is used as it is, in float32, and what it puts out is found by looking at what it answers.

    Attributes:
        output: "softmax", "sigmoid", "logits" or "probabilities" (the last: found by looking): what the model puts out.
        precision: "float32" or "bfloat16".
        num_classes: K.
    """

    def __init__(self, model: keras.Model, preprocess: Preprocessing, precision: str, probe: np.ndarray) -> None:
        """`probe`: a few raw images (N, ..., C), N >= 1, to look at the answers of."""
        self.preprocess, self.precision = preprocess, resolve_precision(precision)
        answers = check_finite(np.asarray(model(preprocess(probe.astype(np.float32)), training=False), np.float32))
        self.num_classes = answers.shape[-1]
        try:
            self.model, self.output = _copy_up_to_logits(model, "mixed_bfloat16" if self.precision == "bfloat16" else "float32")
        except (NotImplementedError, TypeError, ValueError):
            if precision == "bfloat16":
                raise InputError(
                    "precision bfloat16: expected a Sequential or functional model, which can be rebuilt in it; "
                    "leave the precision at float32"
                ) from None
            self.model, self.output, self.precision = model, "logits", "float32"
        if self.output == "logits" and are_probabilities(answers):
            self.output = "probabilities"

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        answers = tf.cast(self.model(self.preprocess(images), training=False), tf.float32)
        return tf.math.log(tf.maximum(answers, 1e-7)) if self.output == "probabilities" else answers


def _copy_up_to_logits(model: keras.Model, policy: str) -> tuple[keras.Model, str]:
    """The same network under another dtype policy and without its closing softmax or sigmoid; and the name of what was cut."""
    # A subclass has no `outputs`, and `clone_model` refuses it below.
    last = model.layers[-1] if isinstance(model, keras.Sequential) else getattr(getattr(model, "output", None), "_keras_history", None)
    last = getattr(last, "operation", last)
    cut = "logits"
    if isinstance(last, keras.layers.Softmax):
        cut = "softmax"
    else:
        for name in ("softmax", "sigmoid"):
            if getattr(last, "activation", None) is keras.activations.get(name):
                cut = name

    def rebuild(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer is last and isinstance(layer, keras.layers.Softmax):
            return _NoSoftmax(name=layer.name, dtype=policy)
        config = layer.get_config()
        if layer is last and cut != "logits":
            config["activation"] = "linear"
        if "dtype" in config:
            config["dtype"] = policy
        if isinstance(layer, keras.layers.Wrapper):  # TimeDistributed: what it holds has a policy of its own
            del config["layer"]
            kind = _FramesAtOnce if type(layer) is keras.layers.TimeDistributed else layer.__class__
            return kind(clone(layer.layer), **config)
        return layer.__class__.from_config(config)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return keras.models.clone_model(layer, clone_function=rebuild, recursive=True) if isinstance(layer, keras.Model) else rebuild(layer)

    copy = clone(model)
    copy.set_weights(model.get_weights())
    copy.trainable = False
    for layer in copy._flatten_layers():  # those inside Bidirectional, too, which makes its own
        if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
            layer.use_cudnn = False  # on a GPU the search is compiled by XLA, which cannot compile cuDNN's loop
    return copy, cut
