"""Unlearning (paper section VI-C): fine-tune on clean images, some of which carry the reversed trigger and keep their own label."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.datasets.stamping import stamped_batches
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.models.network import are_probabilities
from nc_tf.preprocessing import Preprocessing, preprocessing
from nc_tf.results import Mitigation, Trigger


def unlearn(
    model: keras.Model,
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None,
    triggers: Sequence[Trigger],
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Trigger] | None = None,
    fraction: float = 0.1,
    ratio: float = 0.2,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 1.5e-3,
    intensity_range: str | Preprocessing = "raw",
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> Mitigation:
    """Teach a copy of `model` that the triggers mean nothing, with `model.fit`; the defaults are the paper's.

    Adam's rate falls from `learning_rate` to zero along a cosine. The paper names no rate; on the GTSRB network a constant one either
    left the backdoor in or cost accuracy with some seeds (docs/reproduction.md has this one's figures, seed by seed).

    Args:
        model: Sequential or functional, one input, one output (N, K), softmax or logits. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255]; or a `tf.data.Dataset` of batches of such (image, integer label) pairs,
            which is used whole and in its own order, whatever `fraction` says.
        labels: (N,) true classes, integers or one-hot; None with a dataset.
        triggers: what to unlearn, usually `ScanResult.triggers`; with none of them this is plain fine-tuning, the control.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        fraction: share of the images used, chosen at random, (0, 1].
        ratio: probability that an image is stamped, [0, 1].
        epochs: passes over them.
        batch_size: images an update.
        learning_rate: of Adam, at the start.
        intensity_range: what the model wants of raw pixels.
        seed: of every choice.
        callbacks: further Keras callbacks.
        verbose: as in `keras.Model.fit`.

    Returns:
        The repaired model, with both measurements; the given triggers are measured under "reversed", further ones of them under
        "reversed 2" and so on.

    Raises:
        InputError: bad images, labels or shares, or a model that cannot be copied.
    """
    if not 0 < fraction <= 1 or not 0 <= ratio <= 1:
        raise InputError(f"fraction {fraction}, ratio {ratio}: expected shares, the first above 0; the paper's are .1 and .2")
    if epochs < 1 or batch_size < 1 or learning_rate <= 0:
        raise InputError(
            f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}: expected 1 or more, and a rate above 0; "
            "the defaults are 1, 32 and .0015"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed}: expected 0 to 4294967295; choose one")
    num_classes = model.output_shape[-1]
    preprocess = preprocessing(intensity_range)
    preprocess.check_channels(model.input_shape[-1])
    test_images, test_labels = check_images(*test, image_shape=model.input_shape[1:], num_classes=num_classes, name="test images")
    shape = test_images.shape[1:]  # a network may take images of any size
    if isinstance(images, tf.data.Dataset):
        num_images = _count(images)
        check_images(*next(images.as_numpy_iterator()), image_shape=shape, num_classes=num_classes, name="the first batch")
    else:
        images, labels = check_images(images, _required(labels), image_shape=shape, num_classes=num_classes)
        chosen = np.random.default_rng(seed).permutation(len(images))[: max(1, round(fraction * len(images)))]
        images, labels, num_images = images[chosen], labels[chosen], len(chosen)
    measured = named_triggers(triggers, known_triggers)
    for name, trigger in measured.items():
        if trigger.pattern.shape != shape or not 0 <= trigger.label < num_classes:
            raise InputError(
                f"{name} trigger of shape {trigger.pattern.shape} for label {trigger.label}: expected {shape} and 0 to {num_classes - 1}, "
                "what the model has; choose a scan of this model"
            )
    keras.utils.set_random_seed(seed)  # before the copy: a Dropout draws its own seed when it is made
    repaired = _copy(model)
    # Without a trigger the rate is zero, and any trigger will do to fill the place.
    nothing = Trigger(0, np.zeros(shape[:2], np.float32), np.zeros(shape, np.float32))
    batches = stamped_batches(
        images,
        labels,
        list(triggers) or [nothing],
        rate=ratio if triggers else 0.0,
        relabel=False,
        batch_size=batch_size,
        seed=seed,
        preprocess=preprocess,
    )
    num_batches = -(-num_images // batch_size)
    # Keras takes an unknown length for data that ran out, and warns.
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    probabilities = are_probabilities(np.asarray(model(preprocess(test_images[:4].astype(np.float32)), training=False)))
    repaired.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * num_batches)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
        metrics=["accuracy"],
    )
    repaired.fit(batches, epochs=epochs, callbacks=list(callbacks), verbose=verbose, shuffle=False)
    return Mitigation(
        model=repaired,
        before=measure(model, test_images, test_labels, measured, preprocess),
        after=measure(repaired, test_images, test_labels, measured, preprocess),
        triggers=measured,
        settings={
            "method": "unlearning" if triggers else "fine-tuning",
            "images": num_images,
            "ratio": ratio if triggers else 0.0,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "intensity_range": preprocess.name,
            "seed": seed,
        },
    )


def named_triggers(triggers: Sequence[Trigger], known: Mapping[str, Trigger] | None = None) -> dict[str, Trigger]:
    """The triggers as tables name them: "reversed", "reversed 2" ..., then the known ones; one that is both goes by its known name."""
    known = dict(known or {})
    found = [trigger for trigger in triggers if not any(trigger is other for other in known.values())]
    return {"reversed" if number == 1 else f"reversed {number}": trigger for number, trigger in enumerate(found, start=1)} | known


def _required(labels: np.ndarray | None) -> np.ndarray:
    if labels is None:
        raise InputError("no labels: expected one a clean image, because unlearning teaches the true classes; give the labels")
    return labels


def _count(batches: tf.data.Dataset) -> int:
    """Images in a dataset of (image, label) batches; the length of the cosine needs it."""
    spec = batches.element_spec
    ranks = tuple(getattr(part, "shape", tf.TensorShape(None)).rank for part in spec) if isinstance(spec, tuple) else ()
    if ranks != (4, 1):
        raise InputError(f"a dataset of {spec}: expected batches of (images (B, H, W, C), integer labels (B,)); map and batch it so")
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("an endless dataset: expected one that ends after an epoch; leave out repeat(), or add take()")
    return int(batches.reduce(np.int64(0), lambda count, batch: count + tf.shape(batch[1], tf.int64)[0]))


def _copy(model: keras.Model) -> keras.Model:
    try:
        copy = keras.models.clone_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"the model cannot be copied ({reason}): expected a Sequential or functional one; use keras.Model") from error
    copy.set_weights(model.get_weights())
    return copy
