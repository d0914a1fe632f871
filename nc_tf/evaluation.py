"""Measuring a model on clean and on triggered images."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from nc_tf.models.adapting import adapt_to
from nc_tf.models.network import check_finite
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Measurement

BATCH_SIZE = 256  # images, or frames of clips, in the network at once


def batches(images: np.ndarray, trigger: Backdoor | None = None) -> Iterator[np.ndarray]:
    """Raw images (N, ..., C) in their order, float32, few enough at a time for any network, stamped with `trigger` if there is one."""
    size = BATCH_SIZE if images.ndim < 5 else max(1, BATCH_SIZE // images.shape[1])
    for start in range(0, len(images), size):
        batch = images[start : start + size].astype(np.float32)
        yield batch if trigger is None else trigger(batch)


def predict_classes(
    model: keras.Model, images: np.ndarray, preprocess: Preprocessing | None = None, trigger: Backdoor | None = None
) -> np.ndarray:
    """Classes (N,) int64 that the model answers for raw images (N, ..., C) in [0, 255], stamped with `trigger` first if there is one.

    Raises:
        InputError: it answers NaN or infinity, or is nothing that `nc_tf.adapt` takes without a choice.
    """
    model, preprocess = adapt_to(model, images.shape[1:]), preprocess or Preprocessing()
    answers = []
    for batch in batches(images, trigger):
        answers.append(np.argmax(check_finite(model.predict_on_batch(preprocess(batch).astype(np.float32))), axis=-1))
    return np.concatenate(answers) if answers else np.zeros(0, np.int64)


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing | None = None) -> float:
    """Share of raw images (N, ..., C) whose class the model names, [0, 1]; NaN where there are no images."""
    return share(predict_classes(model, images, preprocess) == labels)


def attack_success_rate(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None = None
) -> float:
    """Share of raw images of other classes that the trigger sends where the attacker wants them, [0, 1]; NaN without such an image."""
    return _attacked(model, images, labels, backdoor, preprocess)[0]


def measure(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoors: Mapping[str, Backdoor], preprocess: Preprocessing | None = None
) -> Measurement:
    """Clean accuracy; and of every named backdoor, on images of other classes, how many obey it and how many are still recognised."""
    rates = {name: _attacked(model, images, labels, backdoor, preprocess) for name, backdoor in backdoors.items()}
    return Measurement(
        clean_accuracy=accuracy(model, images, labels, preprocess),
        attack_success_rate={name: success for name, (success, _) in rates.items()},
        robust_accuracy={name: robust for name, (_, robust) in rates.items()},
    )


def _attacked(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor, preprocess: Preprocessing | None
) -> tuple[float, float]:
    """Attack success rate and robust accuracy, both over the images that the attacker wants taken for another class."""
    wanted = backdoor.wanted(labels)
    victims = wanted != labels
    answers = predict_classes(model, images[victims], preprocess, backdoor)
    return share(answers == wanted[victims]), share(answers == labels[victims])


def share(hits: np.ndarray) -> float:
    """Mean of booleans, or of other values; NaN where there are none."""
    return float(np.mean(hits)) if hits.size else float("nan")
