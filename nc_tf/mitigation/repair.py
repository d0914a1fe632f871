"""What every defence is given, checked; and the measurements before and after it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.detection.recognition import AUTO, RangeChoice, choose_range
from nc_tf.errors import InputError
from nc_tf.evaluation import evaluation_batch, measure
from nc_tf.mitigation.cross_entropy import CrossEntropyOfProbabilities
from nc_tf.models.adapting import adapt_to, adapted_like, original_form
from nc_tf.models.folding import finalize_normalization
from nc_tf.models.frozen import MOST_LOOKED_AT, answering, as_input, check_finite, evenly_spaced, in_parts, puts_out_probabilities
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Mitigation, Trigger, fits


class Repair:
    """One use of a defence: from checked input to a `Mitigation`.

    Attributes:
        model: the one given, which stays as it is, or what `nc_tf.adapt` makes of it.
        num_classes: of the model.
        image_shape: (H, W, C), of clips (T, H, W, C).
        preprocess: what the model wants of raw pixels.
        triggers: the reversed ones.
        probabilities: whether the model answers probabilities, not logits.
    """

    def __init__(
        self,
        model: keras.Model,
        triggers: Sequence[Trigger],
        *,
        test: tuple[np.ndarray, np.ndarray],
        known_triggers: Mapping[str, Backdoor] | None = None,
        intensity_range: str | Preprocessing | RangeChoice = AUTO,
        seed: int = 0,
    ) -> None:
        """Check what can be checked before anything is computed.

        Args:
            model: what `nc_tf.adapt` takes.
            triggers: what a scan found.
            test: clean raw images and labels to measure on, before and after.
            known_triggers: further ones to measure, by name, such as the true one under "true".
            intensity_range: what the model wants of raw pixels; "auto" finds out, by the test images.
            seed: of every choice.

        Raises:
            InputError: no classifier, bad images, a trigger that is not for this model, or a seed out of range.
        """
        if not 0 <= seed < 2**32:
            raise InputError(f"seed {seed}: expected 0 to 4294967295; choose one")
        self.model = model = adapt_to(model, np.shape(test[0])[1:])
        self.triggers, self.seed = tuple(triggers), seed
        self.num_classes = model.output_shape[-1]
        self.test = check_images(*test, image_shape=model.input_shape[1:], num_classes=self.num_classes, name="test images")
        self.range_choice = choose_range(intensity_range, model, *self.test)
        self.preprocess = self.range_choice.preprocess
        self.preprocess.check_channels(model.input_shape[-1])
        self.image_shape = self.test[0].shape[1:]  # a network may take images of any size
        evaluation_batch(model, self.image_shape)  # refuses a network that one image does not fit into
        looked_at = evenly_spaced(self.test[0], MOST_LOOKED_AT).astype(np.float32)
        with answering(looked_at):
            answers = in_parts(lambda part: model(as_input(model, self.preprocess(part)), training=False), looked_at)
        self.probabilities = puts_out_probabilities(model, check_finite(answers))
        first = model(as_input(model, self.preprocess(tf.constant(looked_at[:1]))), training=False)
        self._keeps_logits = hasattr(first, "_keras_logits")  # which Keras's losses use in place of a softmax, if that comes last
        self.measured = named_triggers(triggers, known_triggers)
        for name, trigger in self.measured.items():
            check_backdoor(name, trigger, self.image_shape, self.num_classes)

    def some(self, images: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """A random share of clean images and their labels, at least one.

        Raises:
            InputError: no share, or bad images.
        """
        images, labels, chosen = self.some_rows(images, labels, fraction)
        return images[chosen], labels[chosen]

    def some_rows(self, images: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All of the images and labels, checked, and the rows of `some` of them, for methods that need no copy."""
        images, labels = check_images(images, labels, image_shape=self.image_shape, num_classes=self.num_classes)
        return images, labels, some_rows(len(images), fraction, self.seed)

    def required(self, method: str) -> tuple[Trigger, ...]:
        """The triggers, for a method that cannot do without.

        Raises:
            InputError: there is none.
        """
        if not self.triggers:
            raise InputError(f"no trigger: {method} expected what a scan found; without a backdoor there is nothing to do")
        return self.triggers

    def cross_entropy(self, *, one_hot: bool = False) -> keras.losses.Loss:
        """What the model's answers are trained with, for classes (B,), or for their weights (B, K) if `one_hot`."""
        if self.probabilities and not self._keeps_logits:
            return CrossEntropyOfProbabilities()
        kind = keras.losses.CategoricalCrossentropy if one_hot else keras.losses.SparseCategoricalCrossentropy
        return kind(from_logits=not self.probabilities)

    def copy(self) -> keras.Model:
        """A model of its own with the same weights; where the given one was adapted, so is the copy, around a copy of the original.

        Raises:
            InputError: Keras cannot copy it.
        """
        return adapted_like(_copied(original_form(self.model)), self.model)

    def graph(self) -> keras.Model:
        """A copy whose layers are in one graph, from images to scores, so that it can be looked into; of it nothing leads back.

        Raises:
            InputError: Keras cannot copy it.
        """
        return _copied(self.model)

    def done(self, repaired: keras.Model, method: str, details: dict[str, Any] | None = None, **settings: Any) -> Mitigation:
        """Measure both models, and pack everything up.

        Args:
            repaired: a classifier of images, as `copy` returns it.
            method: its name.
            details, settings: see `Mitigation`.

        Raises:
            InputError: training went astray and left NaN or infinity in the weights.
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


def _copied(model: keras.Model) -> keras.Model:
    try:
        copy = keras.models.clone_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"the model cannot be copied ({reason}): expected a Sequential or functional one; use keras.Model") from error
    copy.set_weights(model.get_weights())
    finalize_normalization(copy)
    return copy


def some_rows(number: int, fraction: float, seed: int) -> np.ndarray:
    """Rows of a random share of so many images, at least one: those that every defence with this seed repairs with.

    Raises:
        InputError: no share.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction}: expected a share of the images above 0 and up to 1; the paper's is .1")
    return np.random.default_rng(seed).permutation(number)[: max(1, round(fraction * number))]


def check_backdoor(name: str, backdoor: Backdoor, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Whether a backdoor is one for a model with such images and so many classes.

    Raises:
        InputError: it is not.
    """
    wanted = backdoor.wanted(np.arange(num_classes))
    if not fits(backdoor, image_shape) or wanted.min() < 0 or wanted.max() >= num_classes:
        raise InputError(
            f"{name} trigger of shape {backdoor.image_shape} for label {wanted.max()}: expected {image_shape} and 0 to {num_classes - 1}, "
            "what the model has; choose one that was made for it"
        )


def named_triggers(triggers: Sequence[Trigger], known: Mapping[str, Backdoor] | None = None) -> dict[str, Backdoor]:
    """The triggers as tables name them: "reversed", "reversed 2" ..., then the known ones; one that is both goes by its known name."""
    known = dict(known or {})
    found = [trigger for trigger in triggers if not any(trigger is other for other in known.values())]
    return {"reversed" if number == 1 else f"reversed {number}": trigger for number, trigger in enumerate(found, start=1)} | known
