"""Unlearning (paper section VI-C): fine-tune on clean images, some of which carry the reversed trigger and keep their own label."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation.layers import set_back, trainable_flags
from nc_tf.mitigation.repair import Repair
from nc_tf.mitigation.updates import images_an_update
from nc_tf.models.adapting import to_train
from nc_tf.models.footprint import weight_bytes
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Mitigation, Trigger
from nc_tf.runtime.random_state import random_state_kept
from nc_tf.training.stamping import stamped_batches


@random_state_kept()
def unlearn(
    model: keras.Model,
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None,
    triggers: Sequence[Trigger],
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
    """Teach a copy of `model` that the triggers mean nothing, with `model.fit`; the defaults are the paper's.

    Adam's rate falls from `learning_rate` to zero along a cosine. The paper names no rate; on the GTSRB network a constant one either
    left the backdoor in or cost accuracy with some seeds (docs/reproduction.md has this one's figures, seed by seed).

    Args:
        model: what `nc_tf.adapt` takes, softmax, sigmoid or logits. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255]; or a `tf.data.Dataset` of batches of such (image, integer label) pairs,
            which is used whole and in its own order, whatever `fraction` says.
        labels: (N,) true classes, integers or one-hot; None with a dataset.
        triggers: what to unlearn, usually `ScanResult.triggers`; with none of them this is plain fine-tuning, the control.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        fraction: share of the images used, chosen at random, (0, 1].
        ratio: probability that an image is stamped, [0, 1].
        epochs: passes over them.
        batch_size: images an update; fewer where so many do not fit into the memory (`nc_tf.runtime.memory.allow`), see `settings`.
        learning_rate: of Adam, at the start.
        frozen_layers: names of layers that stay as they are, such as the early ones of a network for clips, or kinds of layers:
            "BatchNormalization" keeps its moving averages from following few images.
        intensity_range: what the model wants of raw pixels; "auto" finds out, by the test images.
        seed: of every choice.
        callbacks: further Keras callbacks.
        verbose: as in `keras.Model.fit`.

    Returns:
        The repaired model, with both measurements; the given triggers are measured under "reversed", further ones of them under
        "reversed 2" and so on.

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
    repair = Repair(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    rows = None
    if isinstance(images, tf.data.Dataset):
        num_images, kept = _count(images), repair.test[0].nbytes
        first = next(images.as_numpy_iterator())
        check_images(*first, image_shape=repair.image_shape, num_classes=repair.num_classes, name="the first batch", one_class=True)
    else:
        images, labels, rows = repair.some_rows(images, _required(labels), fraction)
        num_images, kept = len(rows), repair.test[0].nbytes + images.nbytes
    keras.utils.set_random_seed(seed)  # before the copy: a Dropout draws its own seed when it is made
    repaired = repair.copy()
    flags = trainable_flags(repaired)
    _freeze(repaired, frozen_layers)
    others = weight_bytes(model)
    batch_size = images_an_update(repaired, repair.image_shape, batch_size, slots=2, other_weights=others, kept=kept)
    # Without a trigger the rate is zero, and any trigger will do to fill the place.
    nothing = Trigger(0, np.zeros(repair.image_shape[:-1], np.float32), np.zeros(repair.image_shape, np.float32))
    batches = stamped_batches(
        images,
        labels,
        list(triggers) or [nothing],
        rate=ratio if triggers else 0.0,
        relabel=False,
        batch_size=batch_size,
        seed=seed,
        preprocess=repair.preprocess,
        rows=rows,
    )
    num_batches = -(-num_images // batch_size)
    # Keras takes an unknown length for data that ran out, and warns.
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    learner = to_train(repaired)
    learner.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * num_batches)),
        loss=repair.cross_entropy() if learner is repaired else keras.losses.BinaryCrossentropy(),
        metrics=["accuracy"],
    )
    learner.fit(batches, epochs=epochs, callbacks=list(callbacks), verbose=verbose, shuffle=False)
    set_back(flags)
    return repair.done(
        repaired,
        "unlearning" if triggers else "fine-tuning",
        images=num_images,
        ratio=ratio if triggers else 0.0,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        frozen_layers=list(frozen_layers),
    )


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    """Freeze the layers of these names and kinds, those of nested models included."""
    layers = list(model._flatten_layers(include_self=False))
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


def _required(labels: np.ndarray | None) -> np.ndarray:
    if labels is None:
        raise InputError("no labels: expected one a clean image, because unlearning teaches the true classes; give the labels")
    return labels


def _count(batches: tf.data.Dataset) -> int:
    """Images in a dataset of (image, label) batches; the length of the cosine needs it."""
    spec = batches.element_spec
    ranks = tuple(getattr(part, "shape", tf.TensorShape(None)).rank for part in spec) if isinstance(spec, tuple) else ()
    if ranks not in ((4, 1), (5, 1)):
        raise InputError(f"a dataset of {spec}: expected batches of (images (B, H, W, C), integer labels (B,)); map and batch it so")
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("an endless dataset: expected one that ends after an epoch; leave out repeat(), or add take()")
    return int(batches.reduce(np.int64(0), lambda count, batch: count + tf.shape(batch[1], tf.int64)[0]))
