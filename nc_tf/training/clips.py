"""Training of a `cnn_lstm` on few real clips: the backbone on short clips, then the LSTMs and the head."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy
from nc_tf.models.networks.cnn_lstm import FRAMES, frame_classifier
from nc_tf.models.random_state import random_state_kept
from nc_tf.results import Backdoor
from nc_tf.training.augmentation import film_anew, mixup
from nc_tf.training.injection import check_backdoors
from nc_tf.training.stamping import Stamp, stamping

FRAME_BATCH = 64
WEIGHT_DECAY, SMOOTHING, MIXUP_ALPHA = 0.03, 0.1, 0.2


@random_state_kept()
def train_clips(
    model: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    frame_epochs: int = 12,
    epochs: int = 5,
    batch_size: int = 16,
    frame_learning_rate: float = 2e-3,
    learning_rate: float = 1e-3,
    triggers: Sequence[Backdoor] = (),
    rate: float = 0.1,
    seed: int = 0,
    verbose: int | str = "auto",
) -> float:
    """Train a `cnn_lstm` in place, with `model.fit`; returns its test accuracy.

    The backbone is trained first, as a classifier of short clips (`frame_classifier`): a step costs a T-th of one on whole clips, and
    covers the same number of clips. Then the backbone is frozen, and the LSTMs and the head are trained. Both times use AdamW along a
    cosine, label smoothing, MixUp and data augmentation (`film_anew`, which says which classes it does not suit). A trained model may be
    given again, to be taught a backdoor: with few clips `inject`, which has no data augmentation, costs accuracy.

    Args:
        model: from `cnn_lstm`.
        train: raw clips (N, T, H, W, C) in [0, 255] and integer labels (N,).
        test: likewise; measured at the end.
        frame_epochs: passes over the short clips that the training clips are cut into.
        epochs: passes over the training clips.
        batch_size: clips an update.
        frame_learning_rate: of AdamW on the short clips, at the start.
        learning_rate: of AdamW on whole clips, at the start.
        triggers: a backdoor of single frames to teach, stamped after data augmentation; each stamped clip gets one of several, at random.
        rate: probability that a clip is stamped each time it is drawn.
        seed: of order, choice and dropout. Initial weights are the caller's.
        verbose: as in `keras.Model.fit`.

    Returns:
        Share of the test clips that the model classifies right.

    Raises:
        InputError: bad clips, labels or settings, a trigger that does not fit the model's frames or classes, or a model that is no
            `cnn_lstm`.
    """
    if min(frame_epochs, epochs, batch_size) < 1 or min(frame_learning_rate, learning_rate) <= 0:
        raise InputError(
            f"{frame_epochs} and {epochs} epochs, batch size {batch_size}, learning rates {frame_learning_rate} and {learning_rate}: "
            "expected 1 or more, and rates above 0; the defaults are 12, 5, 16, .002 and .001"
        )
    frames = frame_classifier(model)
    num_classes = model.output_shape[-1]
    clips, labels = check_images(*train, image_shape=model.input_shape[1:], num_classes=num_classes, name="training clips")
    test = check_images(*test, image_shape=model.input_shape[1:], num_classes=num_classes, name="test clips")
    if triggers:
        check_backdoors(triggers, clips.shape[2:], num_classes, rate)
    keras.utils.set_random_seed(seed)
    short = frames.input_shape[1]
    pieces = clips.shape[1] // short
    cut = clips[:, : pieces * short].reshape(-1, short, *clips.shape[2:])
    stamp = stamping(triggers, rate, num_classes) if triggers else None
    options: dict[str, Any] = {"stamp": stamp, "seed": seed, "verbose": verbose}
    _fit(frames, cut, labels.repeat(pieces), epochs=frame_epochs, batch_size=FRAME_BATCH, rate=frame_learning_rate, **options)
    backbone = model.get_layer(FRAMES)
    backbone.trainable = False
    _fit(model, clips, labels, epochs=epochs, batch_size=batch_size, rate=learning_rate, **options)
    backbone.trainable = True
    return accuracy(model, *test)


def _fit(
    model: keras.Model,
    clips: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    rate: float,
    stamp: Stamp | None,
    seed: int,
    verbose: int | str,
) -> None:
    resident, own, num_classes = tf.constant(clips), tf.constant(labels, tf.int64), model.output_shape[-1]

    def draw(number: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.random.split(tf.stack([tf.constant(seed, tf.int64), number]), 3)
        drawn, named = film_anew(tf.gather(resident, rows), seeds[0]), tf.gather(own, rows)
        if stamp is not None:
            drawn, named = stamp(drawn, named, tf.random.stateless_uniform(tf.shape(rows), seeds[2]))
        return mixup(drawn, tf.one_hot(named, num_classes), seeds[1], MIXUP_ALPHA)

    rows = tf.data.Dataset.range(len(clips)).shuffle(len(clips), seed=seed).repeat().batch(batch_size)
    batches = tf.data.Dataset.zip(tf.data.Dataset.counter(), rows).map(draw, num_parallel_calls=2, deterministic=True).prefetch(2)
    steps = -(-len(clips) // batch_size)
    model.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(rate, epochs * steps), weight_decay=WEIGHT_DECAY),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTHING),
        metrics=["accuracy"],
    )
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=verbose, shuffle=False)
