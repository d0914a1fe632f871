"""The checked input that all defences share, and the measurements before and after a repair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.detection.recognition import AUTO, RangeChoice, choose_range
from nc_tf.errors import InputError
from nc_tf.evaluation import evaluation_batch, measure
from nc_tf.models.adapting import adapt_to, adapted_like, original_form
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation
from nc_tf.training.checks import check_backdoor
from nc_tf.training.copies import copied
from nc_tf.training.cross_entropy import CrossEntropyOfProbabilities, output_form


@dataclass(frozen=True, eq=False)
class Repair:
    """One use of a defence: what all defences share, checked once. `Repair.of` makes it.

    Attributes:
        model: the given one, which stays as it is, or the classifier that `nc_tf.adapt` makes of it.
        triggers: the reversed ones.
        known_triggers: further triggers to measure, by name.
        test: clean raw images (N, H, W, C) and integer classes (N,), to measure on.
        range_choice: the intensity range of the model's input, and how it was chosen.
        seed: of every choice.
        probabilities: whether the model answers probabilities, not logits.
        keeps_logits: whether Keras's losses find the logits of these probabilities by themselves.
    """

    model: keras.Model
    triggers: tuple[FoundTrigger, ...]
    known_triggers: Mapping[str, Backdoor]
    test: tuple[np.ndarray, np.ndarray]
    range_choice: RangeChoice
    seed: int
    probabilities: bool
    keeps_logits: bool

    def __post_init__(self) -> None:
        """Check that every trigger fits the model.

        Raises:
            InputError: a trigger is of another shape, or leads to a class that the model lacks.
        """
        for name, trigger in self.measured.items():
            check_backdoor(trigger, self.image_shape, self.num_classes, name=f"{name} trigger")

    @classmethod
    def of(
        cls,
        model: keras.Model,
        triggers: Sequence[FoundTrigger],
        *,
        test: tuple[np.ndarray, np.ndarray],
        known_triggers: Mapping[str, Backdoor] | None = None,
        intensity_range: str | Preprocessing | RangeChoice = AUTO,
        seed: int = 0,
    ) -> "Repair":
        """Return the checked input of a repair.

        Args:
            model: any that `nc_tf.adapt` takes.
            triggers: found by a scan.
            test: clean raw images and labels to measure on, before and after.
            known_triggers: further ones to measure, by name, such as the true one under "true".
            intensity_range: range of the model's input; "auto" tries all on the test images.
            seed: of every choice.

        Raises:
            InputError: no classifier, bad images, a trigger that is not for this model, or a seed out of range.
        """
        if not 0 <= seed < 2**32:
            raise InputError(f"seed {seed}: expected 0 to 4294967295; choose one")
        model = adapt_to(model, np.shape(test[0])[1:])
        test = check_images(*test, image_shape=model.input_shape[1:], num_classes=model.output_shape[-1], name="test images")
        choice = choose_range(intensity_range, model, *test)
        choice.preprocess.check_channels(model.input_shape[-1])
        evaluation_batch(model, test[0].shape[1:])  # refuses a network that one image does not fit into
        probabilities, keeps_logits = output_form(model, test[0], choice.preprocess)
        return cls(model, tuple(triggers), dict(known_triggers or {}), test, choice, seed, probabilities, keeps_logits)

    @property
    def num_classes(self) -> int:
        """Number of classes of the model."""
        return int(self.model.output_shape[-1])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the test images: a network may take any size."""
        return self.test[0].shape[1:]

    @property
    def preprocess(self) -> Preprocessing:
        """The map from raw pixels to the model's input."""
        return self.range_choice.preprocess

    @property
    def measured(self) -> dict[str, Backdoor]:
        """All triggers to measure, by name."""
        return named_triggers(self.triggers, self.known_triggers)

    @property
    def keywords(self) -> dict[str, Any]:
        """Keywords that pass test images, range and seed to another defence."""
        return {"test": self.test, "intensity_range": self.range_choice, "seed": self.seed}

    def sample(self, images: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a random sample of clean images with labels, at least one.

        Raises:
            InputError: the fraction is out of range, or the images are bad.
        """
        images, labels, chosen = self.sample_rows(images, labels, fraction)
        return images[chosen], labels[chosen]

    def sample_rows(self, images: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all images and labels, checked, and the rows of a `sample`."""
        images, labels = check_images(images, labels, image_shape=self.image_shape, num_classes=self.num_classes)
        return images, labels, some_rows(len(images), fraction, self.seed)

    def required(self, method: str) -> tuple[FoundTrigger, ...]:
        """Return the triggers, for a method that needs one.

        Raises:
            InputError: there is none.
        """
        if not self.triggers:
            raise InputError(f"no trigger: {method} expected what a scan found; without a backdoor there is nothing to do")
        return self.triggers

    def cross_entropy(self, *, one_hot: bool = False) -> keras.losses.Loss:
        """Return the loss for classes (B,), with `one_hot` for weights (B, K)."""
        if self.probabilities and not self.keeps_logits:
            return CrossEntropyOfProbabilities()
        kind = keras.losses.CategoricalCrossentropy if one_hot else keras.losses.SparseCategoricalCrossentropy
        return kind(from_logits=not self.probabilities)

    def copy(self) -> keras.Model:
        """Return a copy of the model, adapted if the model is.

        Raises:
            InputError: Keras cannot copy it.
        """
        return adapted_like(copied(original_form(self.model)), self.model)

    def graph(self) -> keras.Model:
        """Return a copy in one graph, to read activations from.

        The graph leads from images to scores. It cannot be turned back into the form of the given model.

        Raises:
            InputError: Keras cannot copy it.
        """
        return copied(self.model)

    def done(self, repaired: keras.Model, method: str, details: dict[str, Any] | None = None, **settings: Any) -> Mitigation:
        """Return the repaired model with the measurements of both models.

        Args:
            repaired: a classifier of images, as `copy` returns it.
            method: its name.
            details: see `Mitigation`.
            **settings: see `Mitigation`.

        Raises:
            InputError: training diverged and left NaN or infinity in the weights.
        """
        if not all(np.isfinite(weights).all() for weights in repaired.get_weights()):
            raise InputError(f"{method} made weights of NaN or infinity: expected training that settles; lower the learning rate")
        return Mitigation(
            model=original_form(repaired),
            classifier=repaired,
            before=measure(self.model, *self.test, self.measured, self.preprocess),
            after=measure(repaired, *self.test, self.measured, self.preprocess),
            triggers=self.measured,
            settings={"method": method, **settings, **self.range_choice.record, "seed": self.seed},
            details=details or {},
        )


def some_rows(number: int, fraction: float, seed: int) -> np.ndarray:
    """Return the rows of a random sample, the same for every defence.

    Args:
        number: rows to choose from.
        fraction: share of them, (0, 1]; at least one row is chosen.
        seed: of the choice.

    Raises:
        InputError: the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction}: expected a share of the images above 0 and up to 1; the paper's is .1")
    return np.random.default_rng(seed).permutation(number)[: max(1, round(fraction * number))]


def named_triggers(triggers: Sequence[FoundTrigger], known: Mapping[str, Backdoor] | None = None) -> dict[str, Backdoor]:
    """Return triggers by the names that tables give them.

    Found ones are "reversed", "reversed 2" and so on. A trigger that is found and known goes by its known name.
    """
    known = dict(known or {})
    found = [trigger for trigger in triggers if not any(trigger is other for other in known.values())]
    return {"reversed" if number == 1 else f"reversed {number}": trigger for number, trigger in enumerate(found, start=1)} | known
