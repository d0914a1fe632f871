"""Training of a network with a backdoor (BadNets): clean images, some stamped and relabelled as they are drawn.

The recipe is the original's GTSRB injection: every drawn image is stamped with probability `rate` and then given the target label, so
that over the epochs all images carry the trigger. A fixed poisoned copy of a tenth of the images gives a weaker backdoor.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Measurement
from nc_tf.training.checks import check_backdoor
from nc_tf.training.stamping import stamped_batches

PAPER_RATE = 0.0909  # one poisoned image for ten clean ones: .1 / 1.1


class MeasureEveryEpoch(keras.callbacks.Callback):
    """Clean accuracy and attack success rate on test images, in the logs of every epoch.

    Other callbacks and the history read them there.

    Attributes:
        measurements: one an epoch.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, triggers: Mapping[str, Backdoor], preprocess: Preprocessing) -> None:
        """Take what is measured.

        Args:
            images: (N, H, W, C) raw.
            labels: (N,) integers.
            triggers: by name.
            preprocess: from raw pixels to the network's input.
        """
        super().__init__()
        self.images, self.labels, self.triggers, self.preprocess = images, labels, triggers, preprocess
        self.measurements: list[Measurement] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure, and add both rates to the logs."""
        measured = measure(self.model, self.images, self.labels, self.triggers, self.preprocess)
        self.measurements.append(measured)
        if logs is not None:
            logs["clean_accuracy"] = measured.clean_accuracy
            logs["attack_success_rate"] = float(np.mean(list(measured.attack_success_rate.values())))


@random_state_kept()
def inject(
    model: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    triggers: Backdoor | Sequence[Backdoor],
    *,
    rate: float = PAPER_RATE,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    preprocess: Preprocessing | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> list[Measurement]:
    """Train `model` in place, with `model.fit`, on its task and a backdoor.

    A rate of 0 trains a clean network. Adam starts at the paper's 1e-3 and decays to zero along a cosine: with a constant rate the clean
    accuracies of neighbouring epochs differ by a point.

    Args:
        model: a classifier ending in softmax, (N, num_classes).
        train: raw images (N, H, W, C) in [0, 255] and integer labels (N,).
        test: likewise; measured after every epoch.
        triggers: the backdoor; each stamped image gets one of several, chosen at random. Triggers that leave every image its class
            (`Cover`) are taught, and not measured.
        rate: probability that a drawn image is stamped.
        epochs: passes over the training images.
        batch_size: images an update.
        learning_rate: of Adam, at the start.
        seed: of order, choice and dropout. Initial weights are the caller's.
        preprocess: from raw pixels to the network's input.
        callbacks: further Keras callbacks; the epoch's logs carry `clean_accuracy` and `attack_success_rate`, the mean over the triggers.
        verbose: as in `keras.Model.fit`.

    Returns:
        One `Measurement` an epoch, on the test images. A single trigger is named "true", several are "true 1", "true 2" and so on.

    Raises:
        InputError: rate outside [0, 1], fewer than one epoch, no trigger, or one that does not fit the model.
    """
    num_classes = model.output_shape[-1]
    if min(epochs, batch_size) < 1 or learning_rate <= 0:
        raise InputError(
            f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}: expected 1 or more, and a rate above 0; "
            "the paper's are 10, 32 and .001"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed}: expected 0 to 4294967295; choose one")
    triggers = list(triggers) if isinstance(triggers, Sequence) else [triggers]
    if not triggers:
        raise InputError("no trigger to inject: expected one or more; for a clean network give one and a rate of 0")
    train = check_images(*train, image_shape=model.input_shape[1:], num_classes=num_classes, name="training images")
    test = check_images(*test, image_shape=model.input_shape[1:], num_classes=num_classes, name="test images")
    measured_ones = check_backdoors(triggers, train[0].shape[1:], num_classes, rate)
    preprocess = preprocess or Preprocessing()
    preprocess.check_channels(model.input_shape[-1])
    keras.utils.set_random_seed(seed)
    batches = stamped_batches(*train, triggers, rate=rate, relabel=True, batch_size=batch_size, seed=seed, preprocess=preprocess)
    names = ["true"] if len(measured_ones) == 1 else [f"true {number}" for number in range(1, len(measured_ones) + 1)]
    measured = MeasureEveryEpoch(*test, dict(zip(names, measured_ones, strict=True)), preprocess)
    steps = epochs * -(-len(train[0]) // batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(batches, epochs=epochs, callbacks=[measured, *callbacks], verbose=verbose, shuffle=False)
    return measured.measurements


def check_backdoors(triggers: Sequence[Backdoor], image_shape: tuple[int, ...], num_classes: int, rate: float) -> list[Backdoor]:
    """Return the triggers that send some class to another.

    Args:
        triggers: to teach.
        image_shape: of images (H, W, C) or clips (T, H, W, C).
        num_classes: of the model.
        rate: probability that a drawn image is stamped.

    Raises:
        InputError: no trigger is such a one, one does not fit the model, or the rate is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise InputError(f"poison rate {rate}: expected a share between 0 and 1; the paper's is {PAPER_RATE}")
    classes = np.arange(num_classes)
    wanted = [check_backdoor(trigger, image_shape, num_classes) for trigger in triggers]
    measured = [trigger for trigger, targets in zip(triggers, wanted, strict=True) if (targets != classes).any()]
    if not measured:
        raise InputError("no class that a trigger would send to another: expected one or more; check sources and target")
    return measured
