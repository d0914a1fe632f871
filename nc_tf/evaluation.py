"""Measuring a model on clean and on triggered images."""

from collections.abc import Mapping

import keras
import numpy as np

from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Measurement, Trigger

BATCH_SIZE = 256


def predict_classes(
    model: keras.Model, images: np.ndarray, preprocess: Preprocessing | None = None, trigger: Trigger | None = None
) -> np.ndarray:
    """Classes (N,) int64 that the model answers for raw images (N, ..., C) in [0, 255], stamped with `trigger` first if there is one."""
    preprocess = preprocess or Preprocessing()
    answers = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE].astype(np.float32)
        if trigger is not None:
            batch = trigger(batch)
        answers.append(np.argmax(model.predict_on_batch(preprocess(batch).astype(np.float32)), axis=-1))
    return np.concatenate(answers) if answers else np.zeros(0, np.int64)


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing | None = None) -> float:
    """Share of raw images (N, ..., C) whose class the model names, [0, 1]; NaN where there are no images."""
    return share(predict_classes(model, images, preprocess) == labels)


def attack_success_rate(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, trigger: Trigger, preprocess: Preprocessing | None = None
) -> float:
    """Share of raw images of other classes that the trigger sends to its label, [0, 1]; NaN where there is no such image."""
    others = images[labels != trigger.label]
    return share(predict_classes(model, others, preprocess, trigger) == trigger.label)


def measure(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, triggers: Mapping[str, Trigger], preprocess: Preprocessing | None = None
) -> Measurement:
    """Clean accuracy, and the attack success rate of every named trigger."""
    return Measurement(
        clean_accuracy=accuracy(model, images, labels, preprocess),
        attack_success_rate={name: attack_success_rate(model, images, labels, trigger, preprocess) for name, trigger in triggers.items()},
    )


def share(hits: np.ndarray) -> float:
    """Mean of booleans; NaN where there are none."""
    return float(np.mean(hits)) if hits.size else float("nan")
