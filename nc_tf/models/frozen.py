"""A classifier as the search sees it: raw pixels in, float32 logits out, weights frozen, in the precision asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.models.folding import copy_up_to
from nc_tf.models.keras_internals import flat_layers
from nc_tf.models.loading.load import keras_reason
from nc_tf.models.output_head import UNKNOWN, Head, output_head
from nc_tf.models.scale import logit_scale
from nc_tf.preprocessing import Preprocessing

MOST_LOOKED_AT = 64  # clean images on which the size of the logits is measured
MOST_COMPARED = 8  # of these, images on which copy and model are compared
MOST_DIFFERENTIATED, LABELS_TRIED = 4, 3  # of these, images whose gradients are tried, each towards this number of labels
MOST_AT_ONCE = 4  # images in the network: fewer than a search has, so that measuring what one takes is not misled
# Answers of a copy may differ by this share of the largest: TensorFloat-32 rounds to a thousandth.
AGREEING = 0.02
# Answers in bfloat16 may differ by this share of the spread between classes; a hundredth is usual, a tenth with MobileNet.
NEAR = 0.25
# A score in float32 is rounded by this share of itself, more or less.
ROUNDED = 3e-6
# Rounding may turn a close call, so that this share of the images compared is enough.
LEAST_ALIKE = 0.75
# A search needs a way to go for at least this share of images and labels; where a logit changes by less than the slope a grey level, the
# epsilon of Adam, 1e-7, outweighs all that a search can make of it.
LEAST_REACHED, LEAST_SLOPE = 0.5, 1e-9
# The logarithm of a smaller probability would have no gradient: processors take it for zero.
SMALLEST = float(np.finfo(np.float32).tiny)


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU since Ampere, or a CPU with AVX-512 BF16 or AMX."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return bool(capability >= (8, 0))
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text(errors="replace") for flag in ("avx512_bf16", "amx_bf16"))


def resolve_precision(precision: str) -> str:
    """Return the precision on this machine, "float32" or "bfloat16"; "auto" is the second where the hardware has it.

    Raises:
        InputError: a precision of another name.
    """
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision {precision!r}: expected auto, float32 or bfloat16; choose one")
    return precision


def puts_out_probabilities(model: keras.Model, answers: np.ndarray) -> bool:
    """Whether answers (N, K) of a model are probabilities; where a plain layer closes it they are logits, whatever they sum to."""
    return output_head(model).name != "logits" and are_probabilities(answers)


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


def as_input(model: keras.Model, images: Any) -> Any:
    """Preprocessed images (N, ..., C) float32, array or tensor, as the model reads them: rounded where it reads whole numbers."""
    inputs = getattr(model, "inputs", None)
    dtype = tf.as_dtype(inputs[0].dtype) if inputs else tf.float32
    return tf.cast(tf.round(images), dtype) if dtype.is_integer else images


def evenly_spaced(images: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` images of (N, ..., C), N >= 1, evenly from first to last: sets are often sorted by class."""
    return images[np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))]


@contextmanager
def answering(images: np.ndarray) -> Iterator[None]:
    """Context in which a stranger's network answers these images (N, ..., C).

    Raises:
        InputError: the network breaks down, such as one with a number of images built in.
    """
    try:
        yield
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise InputError(
            f"the model cannot answer {len(images)} inputs of shape {images.shape[1:]} at once ({keras_reason(error)}): expected a network "
            "for any number of them; rebuild it without a fixed one"
        ) from error


def in_parts(network: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray) -> np.ndarray:
    """Answers (N, K) float32 to images (N, ..., C), a few at a time; N >= 1."""
    parts = [images[start : start + MOST_AT_ONCE] for start in range(0, len(images), MOST_AT_ONCE)]
    return np.concatenate([np.asarray(network(tf.constant(part)), np.float32) for part in parts])


class _Copy(NamedTuple):
    model: keras.Model
    output: str
    precision: str
    warnings: tuple[str, ...] = ()


class FrozenNetwork:
    """A copy of a Keras classifier, `network(raw images (N, ..., C) float32) -> logits (N, K) float32`.

    An operation that squashes the scores at the end, such as a softmax, is left out, because a search needs their gradient. Logits of
    an unusual size are brought to a usual one. The copy is compared with the model on the images given; where it answers otherwise, or
    cannot be made, the model is used as it is, in float32.

    Attributes:
        output: what the model puts out: "softmax", "sigmoid" or another activation that was left out, "logits", or "probabilities": such
            as could not be left out, so that their logarithm is taken.
        precision: "float32" or "bfloat16".
        num_classes: K.
        logit_scale: what the logits are multiplied by; 1 unless they are of an unusual size.
        warnings: a sentence for everything about the network that makes a search weaker.
        no_gradient: a sentence that says why no search can see anything, or None: no gradient reaches the images, or the answer to an
            image changes from call to call.
    """

    def __init__(self, model: keras.Model, preprocess: Preprocessing, precision: str, images: np.ndarray) -> None:
        """`images`: clean raw ones (N, ..., C), N >= 1, to look at the answers of; of many a sample is looked at.

        Raises:
            InputError: the model answers NaN or infinity, or cannot be rebuilt in bfloat16, which was asked for.
        """
        self.preprocess = preprocess
        looked_at = evenly_spaced(images, MOST_LOOKED_AT).astype(np.float32)
        answers = check_finite(self._answers(model, looked_at))
        self.num_classes = answers.shape[-1]
        self.model, self.output, self.precision, self.warnings = self._copied(model, precision, evenly_spaced(looked_at, MOST_COMPARED))
        if self.output == UNKNOWN.name:
            self.output = "probabilities" if are_probabilities(answers) else "logits"
        self.look_at(looked_at)

    def look_at(self, images: np.ndarray) -> None:
        """Set `logit_scale` and `no_gradient` by clean raw images (N, ..., C), N >= 1, of which a sample is looked at.

        Raises:
            InputError: the answers to them are NaN or infinity.
        """
        looked_at = evenly_spaced(images, MOST_LOOKED_AT).astype(np.float32)
        few = evenly_spaced(looked_at, MOST_COMPARED)
        self.logit_scale = logit_scale(check_finite(in_parts(self.scores, looked_at)))
        self.no_gradient = self._why_unsteady(few) or self._why_no_gradient(few)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return the logits (N, K) float32 of raw images, brought to a usual size."""
        scores = self.scores(images)
        return scores if self.logit_scale == 1.0 else scores * self.logit_scale

    def scores(self, images: tf.Tensor) -> tf.Tensor:
        """Logits (N, K) float32 of the size that the model gives them."""
        answers = tf.cast(self.model(as_input(self.model, self.preprocess(images)), training=False), tf.float32)
        return tf.math.log(tf.maximum(answers, SMALLEST)) if self.output == "probabilities" else answers

    def _answers(self, model: keras.Model, images: np.ndarray) -> np.ndarray:
        with answering(images):
            return in_parts(lambda part: model(as_input(model, self.preprocess(part)), training=False), images)

    def _copied(self, model: keras.Model, precision: str, images: np.ndarray) -> _Copy:
        """The copy with the most left out that answers as the model does; in bfloat16 where that is asked for and makes no odds."""
        resolved, expected = resolve_precision(precision), self._answers(model, images)
        share = NEAR if any(layer.compute_dtype in ("bfloat16", "float16") for layer in flat_layers(model)) else AGREEING
        found, reason = output_head(model), ""
        kept = {"softmax": "probabilities", "sigmoid": "probabilities", "logits": "logits"}.get(found.name, UNKNOWN.name)
        for head, output in {found: found.name, UNKNOWN: kept}.items():
            try:
                copy = copy_up_to(head, model, "float32")
                scores = self._answers(copy, images)
                same = _agree(head, scores, expected, share)
                if same and resolved == "bfloat16":
                    coarse = copy_up_to(head, model, "mixed_bfloat16")
                    if _near(self._answers(coarse, images), scores, NEAR):
                        return _Copy(coarse, output, resolved)
                    return _Copy(copy, output, "float32", ("in bfloat16 the network answers otherwise, so the search runs in float32",))
            except Exception as error:  # whatever keeps a stranger's network from being rebuilt: it is there, and can be used as it is
                same, reason = False, reason or f"Keras cannot rebuild it ({keras_reason(error)})"
            if same:
                return _Copy(copy, output, resolved)
            reason = reason or "a copy answers otherwise"
        if precision == "bfloat16":
            raise InputError(
                "precision bfloat16: expected a Sequential or functional model, which can be rebuilt in it; leave the precision at float32"
            )
        return _Copy(model, kept, "float32", (f"the network is searched as it is, with all that closes it, in float32: {reason}",))

    def _why_unsteady(self, images: np.ndarray) -> str | None:
        half = len(images) // 2
        there, alone = self.scores(tf.constant(images))[half:].numpy(), self.scores(tf.constant(images[half:])).numpy()
        if _near(alone, there, AGREEING if self.precision == "float32" else NEAR):
            return None
        return "the model's answer to an image changes from call to call, or with the images beside it, so that no search can rely on it"

    def _why_no_gradient(self, images: np.ndarray) -> str | None:
        """Whether a search would see, from clean images, which way to go to most of a few other labels each."""
        raw = tf.constant(images[:MOST_DIFFERENTIATED])
        answers = np.argmax(self(raw), -1)
        others = max(1, self.num_classes - 1)
        reached = []
        for number in range(LABELS_TRIED):
            # Each image another label than its own, all of them from all over the classes.
            step = 1 + (np.arange(len(answers)) + number * len(answers)) * max(1, others // 7) % others
            try:
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(raw)
                    logits = self(raw)
                    wanted = tf.gather(logits, (answers + step) % self.num_classes, axis=1, batch_dims=1)
                    ahead = wanted - tf.gather(logits, answers, axis=1, batch_dims=1)
                slope = tape.gradient(ahead, raw, unconnected_gradients=tf.UnconnectedGradients.ZERO).numpy()
            except (LookupError, TypeError, ValueError, tf.errors.OpError):  # an operation without a gradient
                slope = np.zeros(raw.shape)
            slope = slope.reshape(len(slope), -1)
            reached.append(np.isfinite(slope).all(-1) & (np.abs(slope).max(-1) > LEAST_SLOPE))
        if np.mean(reached) >= LEAST_REACHED:
            return None
        return (
            f"no gradient of the model's answers reaches its input, for {np.size(reached) - np.sum(reached)} of {np.size(reached)} "
            "pairs of an image and a label that were tried, so that no search can see which way to go"
        )


def _agree(head: Head, scores: np.ndarray, expected: np.ndarray, share: float) -> bool:
    """Whether scores (N, K) of a copy, closed again, are the model's answers but for this share, and the largest of them is the model's."""
    answers = np.asarray(head.close(tf.constant(scores)))
    if answers.shape != expected.shape:
        return False
    # Large logits are rounded more coarsely, which turns a softmax of nearly equal ones.
    slack = share * np.abs(expected).max() + ROUNDED * np.abs(scores).max()
    alike = (np.abs(answers - expected) <= slack).all(-1)
    alike &= np.take_along_axis(expected, scores.argmax(-1)[:, None], -1)[:, 0] >= expected.max(-1) - slack
    return bool(alike.mean() >= LEAST_ALIKE)


def _near(scores: np.ndarray, others: np.ndarray, share: float) -> bool:
    """Whether scores (N, K) differ by no more than this share of what lies between the classes, but for rounding."""
    slack = share * float(np.ptp(others, axis=-1).max()) + ROUNDED * float(np.abs(others).max())
    return bool((np.abs(scores - others).max(-1) <= slack).mean() >= LEAST_ALIKE)
