"""Measurements of a model on clean and on triggered images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from nc_tf.errors import InputError
from nc_tf.models.adapting import adapt_to
from nc_tf.models.footprint import forward_footprint, weight_bytes
from nc_tf.models.frozen import answering, as_input, check_finite
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Measurement, Unit
from nc_tf.runtime.memory import BASE, EVALUATION, Footprint, allowed, most_at_once, words

NO_CLASS = -1  # differs from every label, so that such an image counts neither as attacked nor as recognised
BATCH_SIZE = 256  # images, or frames of clips, in the network at once; fewer if they exceed the memory of an evaluation
HIDDEN_BATCH = 32  # images, or clips, if a part of the network's memory is not known


def evaluation_batch(model: keras.Model, image_shape: Sequence[int]) -> int:
    """Return the number of images, or clips, for one prediction.

    It is the number that fits into an eighth of the memory, at least one.

    Args:
        model: the classifier.
        image_shape: (H, W, C), of clips (T, H, W, C).

    Raises:
        InputError: a single one does not fit into the memory.
    """
    with answering(np.empty((1, *image_shape), np.uint8)):
        found = forward_footprint(model, image_shape)
    most = BATCH_SIZE if len(image_shape) < 4 else max(1, BATCH_SIZE // image_shape[0])
    most = min(most, HIDDEN_BATCH) if found.hidden else most
    needed = BASE + weight_bytes(model) + found.of(1)
    if needed > allowed():
        raise InputError(
            f"prediction for {Unit.of(image_shape).one} takes {words(needed)} of memory: expected {words(allowed())} at most; "
            "give more with --memory, or a smaller network"
        )
    return max(1, min(most, most_at_once(Footprint(0, found.per_image), EVALUATION * allowed())))


def evaluation_bytes(model: keras.Model, image_shape: Sequence[int]) -> int:
    """Return the bytes of a prediction, without weights and images."""
    return forward_footprint(model, image_shape).of(evaluation_batch(model, image_shape))


def batches(
    model: keras.Model, images: np.ndarray, trigger: Backdoor | None = None, rows: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield raw images in batches of `evaluation_batch`, float32.

    Args:
        model: the classifier.
        images: (N, ..., C) raw images.
        trigger: backdoor that is stamped on them, if any.
        rows: (M,) the images to yield, in this order; all by default.
    """
    rows = np.arange(len(images)) if rows is None else rows
    size = evaluation_batch(model, images.shape[1:]) if len(rows) else 1
    for start in range(0, len(rows), size):
        batch = images[rows[start : start + size]].astype(np.float32)
        yield batch if trigger is None else trigger(batch)


def predict_classes(
    model: keras.Model,
    images: np.ndarray,
    preprocess: Preprocessing | None = None,
    trigger: Backdoor | None = None,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return the classes (N,) int64 that the model predicts.

    A stamped image with an output of NaN or infinity has the class `NO_CLASS`: the largest of NaNs would be the first.

    Args:
        model: the classifier.
        images: (N, ..., C) raw images in [0, 255].
        preprocess: the preprocessing of the model; none by default.
        trigger: backdoor that is stamped on the images first, if any.
        rows: (M,) the images to predict; the classes are (M,) then.

    Raises:
        InputError: an output for clean images is NaN or infinity, a batch fails, or `nc_tf.adapt` does not take the model without a choice.
    """
    model, preprocess = adapt_to(model, images.shape[1:]), preprocess or Preprocessing()
    classes = []
    for batch in batches(model, images, trigger, rows):
        with answering(batch):
            outputs = model.predict_on_batch(as_input(model, preprocess(batch).astype(np.float32)))
        if trigger is None:
            check_finite(outputs)
        classes.append(np.where(np.isfinite(outputs).all(-1), np.argmax(outputs, axis=-1), NO_CLASS))
    return np.concatenate(classes) if classes else np.zeros(0, np.int64)


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing | None = None) -> float:
    """Return the accuracy on raw images (N, ..., C), [0, 1]; NaN without images."""
    return share(predict_classes(model, images, preprocess) == labels)


def attack_success_rate(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None = None
) -> float:
    """Return the attack success rate on raw images, [0, 1].

    It is taken over the images whose true class is not the target; NaN without such an image.
    """
    return attacked(model, images, labels, backdoor, preprocess).success


def measure(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoors: Mapping[str, Backdoor], preprocess: Preprocessing | None = None
) -> Measurement:
    """Return the clean accuracy, and the rates of every named backdoor.

    The rates are taken over images of other classes: the attack success rate, and the share that is still recognised.
    """
    rates = {name: attacked(model, images, labels, backdoor, preprocess) for name, backdoor in backdoors.items()}
    return Measurement(
        clean_accuracy=accuracy(model, images, labels, preprocess),
        attack_success_rate={name: rate.success for name, rate in rates.items()},
        robust_accuracy={name: rate.robust for name, rate in rates.items()},
    )


class Attacked(NamedTuple):
    """The effect of a backdoor on raw images whose class is not the target.

    Attributes:
        success: share that is predicted as the target, [0, 1]; NaN without such an image.
        robust: share that is still recognised, [0, 1]; NaN without such an image.
        finite: whether all outputs are finite; an image with another output counts in neither share.
    """

    success: float
    robust: float
    finite: bool


def attacked(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None = None
) -> Attacked:
    """Return the effect of a backdoor on images of other classes.

    Args:
        model: the classifier.
        images: (N, ..., C) raw images.
        labels: (N,) their classes.
        backdoor: the backdoor.
        preprocess: the preprocessing of the model; none by default.
    """
    targets = backdoor.wanted(labels)
    victims = np.flatnonzero(targets != labels)
    classes = predict_classes(model, images, preprocess, backdoor, victims)
    return Attacked(share(classes == targets[victims]), share(classes == labels[victims]), bool((classes != NO_CLASS).all()))


def share(hits: np.ndarray) -> float:
    """Return the mean of values or booleans; NaN without any."""
    return float(np.mean(hits)) if hits.size else float("nan")
