"""Measuring a model on clean and on triggered images."""

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

NO_CLASS = -1  # no label is this one, so an image of it neither obeys a trigger nor is recognised
BATCH_SIZE = 256  # images, or frames of clips, in the network at once, where so many fit into the memory of an evaluation
HIDDEN_BATCH = 32  # images, or clips, where not all is known of what the network takes


def evaluation_batch(model: keras.Model, image_shape: Sequence[int]) -> int:
    """Images (H, W, C), or clips (T, H, W, C), to ask the model about at once: as many as an eighth of the memory holds, at least one.

    Raises:
        InputError: not even one fits into the memory.
    """
    with answering(np.empty((1, *image_shape), np.uint8)):
        found = forward_footprint(model, image_shape)
    most = BATCH_SIZE if len(image_shape) < 4 else max(1, BATCH_SIZE // image_shape[0])
    most = min(most, HIDDEN_BATCH) if found.hidden else most
    needed = BASE + weight_bytes(model) + found.of(1)
    if needed > allowed():
        raise InputError(
            f"to ask the model about {Unit.of(image_shape).one} takes {words(needed)} of memory: expected {words(allowed())} at most; "
            "give more with --memory, or a smaller network"
        )
    return max(1, min(most, most_at_once(Footprint(0, found.per_image), EVALUATION * allowed())))


def evaluation_bytes(model: keras.Model, image_shape: Sequence[int]) -> int:
    """What asking the model takes beside its weights and the images."""
    return forward_footprint(model, image_shape).of(evaluation_batch(model, image_shape))


def batches(
    model: keras.Model, images: np.ndarray, trigger: Backdoor | None = None, rows: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Raw images (N, ..., C), or those at `rows`, in their order, float32, stamped with `trigger` if there is one.

    They come in batches that the model can answer at once, see `evaluation_batch`.
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
    """Classes (N,) int64 that the model answers for raw images (N, ..., C) in [0, 255], stamped with `trigger` first if there is one.

    A stamped image that it answers with NaN or infinity has the class `NO_CLASS`: the largest of NaNs would be the first. With `rows`
    (M,) only the images at these are asked about, and the classes are (M,).

    Raises:
        InputError: it answers clean images so, cannot answer many at once, or is nothing that `nc_tf.adapt` takes without a choice.
    """
    model, preprocess = adapt_to(model, images.shape[1:]), preprocess or Preprocessing()
    classes = []
    for batch in batches(model, images, trigger, rows):
        with answering(batch):
            answers = model.predict_on_batch(as_input(model, preprocess(batch).astype(np.float32)))
        if trigger is None:
            check_finite(answers)
        classes.append(np.where(np.isfinite(answers).all(-1), np.argmax(answers, axis=-1), NO_CLASS))
    return np.concatenate(classes) if classes else np.zeros(0, np.int64)


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing | None = None) -> float:
    """Share of raw images (N, ..., C) whose class the model names, [0, 1]; NaN where there are no images."""
    return share(predict_classes(model, images, preprocess) == labels)


def attack_success_rate(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None = None
) -> float:
    """Share of raw images of other classes that the trigger sends where the attacker wants them, [0, 1]; NaN without such an image."""
    return attacked(model, images, labels, backdoor, preprocess).success


def measure(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoors: Mapping[str, Backdoor], preprocess: Preprocessing | None = None
) -> Measurement:
    """Clean accuracy; and of every named backdoor, on images of other classes, how many obey it and how many are still recognised."""
    rates = {name: attacked(model, images, labels, backdoor, preprocess) for name, backdoor in backdoors.items()}
    return Measurement(
        clean_accuracy=accuracy(model, images, labels, preprocess),
        attack_success_rate={name: rate.success for name, rate in rates.items()},
        robust_accuracy={name: rate.robust for name, rate in rates.items()},
    )


class Attacked(NamedTuple):
    """What a backdoor does to raw images that the attacker wants taken for another class.

    Attributes:
        success: share of them that it sends there, [0, 1]; NaN without such an image.
        robust: share that is still recognised, likewise.
        finite: whether the model answers all of them with finite numbers; an image of which it does not counts in neither share.
    """

    success: float
    robust: float
    finite: bool


def attacked(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None = None
) -> Attacked:
    """Stamp a backdoor on those of the raw images (N, ..., C) with classes (N,) that it is meant for, and measure the answers."""
    wanted = backdoor.wanted(labels)
    victims = np.flatnonzero(wanted != labels)
    answers = predict_classes(model, images, preprocess, backdoor, victims)
    return Attacked(share(answers == wanted[victims]), share(answers == labels[victims]), bool((answers != NO_CLASS).all()))


def share(hits: np.ndarray) -> float:
    """Mean of booleans, or of other values; NaN where there are none."""
    return float(np.mean(hits)) if hits.size else float("nan")
