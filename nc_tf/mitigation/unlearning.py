"""Unlearning (paper section VI-C): fine-tuning on clean images, some of which carry the reversed trigger and keep their own label."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation.layers import set_back, trainable_flags
from nc_tf.mitigation.repair import Repair
from nc_tf.models.adapting import to_train
from nc_tf.models.footprint import weight_bytes
from nc_tf.models.keras_internals import flat_layers
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation, Trigger
from nc_tf.training.stamping import stamped_batches
from nc_tf.training.updates import images_an_update


@random_state_kept()
def unlearn(
    model: keras.Model,
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None,
    triggers: Sequence[FoundTrigger],
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    fraction: float = 0.1,
    ratio: float = 0.2,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 1.5e-3,
    frozen_layers: Sequence[str] = (),
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> Mitigation:
    """Return a copy of `model`, fine-tuned with `model.fit` to ignore the triggers.

    The defaults are the paper's. Adam's rate falls from `learning_rate` to zero along a cosine. The paper names no rate: on the GTSRB
    network a constant one either left the backdoor in or cost accuracy with some seeds (docs/results/gtsrb-paper.md has the figures).

    Args:
        model: any that `nc_tf.adapt` takes, with softmax, sigmoid or logits. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255]; or a `tf.data.Dataset` of batches of such (image, integer label) pairs. A
            dataset is used whole and in its own order, whatever `fraction` says.
        labels: (N,) true classes, integers or one-hot; None with a dataset.
        triggers: the triggers to unlearn, usually `ScanResult.triggers`. Without any this is plain fine-tuning, the control.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        fraction: share of the images used, a random sample, (0, 1].
        ratio: probability that an image is stamped, [0, 1].
        epochs: passes over the images used.
        batch_size: images an update; fewer if the memory holds fewer.
        learning_rate: of Adam, at the start.
        frozen_layers: layers that are frozen, by name or kind, such as BatchNormalization.
        intensity_range: range of the model's input; "auto" tries all on the test images.
        seed: of every choice.
        callbacks: further Keras callbacks.
        verbose: as in `keras.Model.fit`.

    Returns:
        The repaired model, with both measurements. The given triggers are measured as "reversed", "reversed 2" and so on. Its
        `settings["batch_size"]` is the one used: see `nc_tf.runtime.memory.allow`.

    Raises:
        InputError: bad images, labels or shares, no layer of a name, or a model that cannot be copied.
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"ratio {ratio}: expected the share of images that are stamped, 0 to 1; the paper's is .2")
    if epochs < 1 or batch_size < 1 or not 0 < learning_rate < float("inf"):
        raise InputError(
            f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}: expected 1 or more, and a rate above 0; "
            "the defaults are 1, 32 and .0015"
        )
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    clean = _clean_images(repair, images, labels, fraction)
    keras.utils.set_random_seed(seed)  # before the copy: a Dropout draws its own seed when it is made
    repaired = repair.copy()
    flags = trainable_flags(repaired)
    _freeze(repaired, frozen_layers)
    others, kept = weight_bytes(model), repair.test[0].nbytes + clean.nbytes
    batch_size = images_an_update(repaired, repair.image_shape, batch_size, slots=2, other_weights=others, kept=kept)
    ratio = ratio if triggers else 0.0
    batches = _stamped(repair, clean, ratio, batch_size)
    learner = to_train(repaired)
    learner.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches))),
        loss=repair.cross_entropy() if learner is repaired else keras.losses.BinaryCrossentropy(),
        metrics=["accuracy"],
    )
    learner.fit(batches, epochs=epochs, callbacks=list(callbacks), verbose=verbose, shuffle=False)
    set_back(flags)
    return repair.done(
        repaired,
        "unlearning" if triggers else "fine-tuning",
        images=clean.num_images,
        ratio=ratio,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        frozen_layers=list(frozen_layers),
    )


class _Clean(NamedTuple):
    """Clean images to train on.

    Attributes:
        images: (N, ...) raw, or a dataset of batches.
        labels: (N,) integers; None with a dataset.
        rows: of the images to use; None with a dataset.
        num_images: number of images used.
        nbytes: of the images in memory.
    """

    images: np.ndarray | tf.data.Dataset
    labels: np.ndarray | None
    rows: np.ndarray | None
    num_images: int
    nbytes: int


def _clean_images(repair: Repair, images: np.ndarray | tf.data.Dataset, labels: np.ndarray | None, fraction: float) -> _Clean:
    """Return the images to train on, checked.

    Raises:
        InputError: bad images, labels or fraction.
    """
    if isinstance(images, tf.data.Dataset):
        count, first = _count(images), next(images.as_numpy_iterator())
        check_images(*first, image_shape=repair.image_shape, num_classes=repair.num_classes, name="the first batch", one_class=True)
        return _Clean(images, labels, None, count, 0)
    if labels is None:
        raise InputError("no labels: expected one a clean image, because unlearning teaches the true classes; give the labels")
    images, labels, rows = repair.sample_rows(images, labels, fraction)
    return _Clean(images, labels, rows, len(rows), images.nbytes)


def _stamped(repair: Repair, clean: _Clean, ratio: float, batch_size: int) -> tf.data.Dataset:
    """Return the batches of an epoch, their number known.

    Keras takes an unknown number for data that ran out, and warns.
    """
    # Without a trigger the rate is zero, and any trigger will do to fill the place.
    nothing = Trigger(0, np.zeros(repair.image_shape[:-1], np.float32), np.zeros(repair.image_shape, np.float32))
    batches = stamped_batches(
        clean.images,
        clean.labels,
        repair.triggers or [nothing],
        rate=ratio,
        relabel=False,
        batch_size=batch_size,
        seed=repair.seed,
        preprocess=repair.preprocess,
        rows=clean.rows,
    )
    return batches.apply(tf.data.experimental.assert_cardinality(-(-clean.num_images // batch_size)))


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    """Freeze the layers of these names and kinds, also inside nested models.

    Raises:
        InputError: no such layer, or nothing is left to train.
    """
    layers = list(flat_layers(model, include_self=False))
    for name in names:
        chosen = [layer for layer in layers if name in (layer.name, type(layer).__name__)]
        if not chosen:
            known = ", ".join(layer.name for layer in model.layers)
            raise InputError(
                f"layer {name!r}: expected layers of the model, some of {known}, or a kind of them such as BatchNormalization; "
                "choose from these"
            )
        for layer in chosen:
            layer.trainable = False
    if names and not model.trainable_weights:
        raise InputError(f"frozen layers {', '.join(names)}: expected one with weights to be left; name fewer")


def _count(batches: tf.data.Dataset) -> int:
    """Return the number of images in a dataset of (image, label) batches.

    Raises:
        InputError: the dataset is of another form, or endless.
    """
    spec = batches.element_spec
    ranks = tuple(getattr(part, "shape", tf.TensorShape(None)).rank for part in spec) if isinstance(spec, tuple) else ()
    if ranks not in ((4, 1), (5, 1)):
        raise InputError(f"a dataset of {spec}: expected batches of (images (B, H, W, C), integer labels (B,)); map and batch it so")
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("an endless dataset: expected one that ends after an epoch; leave out repeat(), or add take()")
    return int(batches.reduce(np.int64(0), lambda count, batch: count + tf.shape(batch[1], tf.int64)[0]))
