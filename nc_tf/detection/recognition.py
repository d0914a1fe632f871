"""The accuracy of a model on the given images, and the causes of a low one: intensity range, order of the classes.

Images in the wrong range, or labels of other classes, make every measurement meaningless without any error. Both show in the accuracy,
and trying the usual causes tells which of them it is.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import keras
import numpy as np

from nc_tf.datasets.label_order import LABEL_ORDERS
from nc_tf.errors import InputError
from nc_tf.evaluation import evaluation_batch, predict_classes, share
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing, preprocessing
from nc_tf.results import Unit

AUTO = "auto"
# Images used to compare ranges, and to measure the accuracy, whose standard error is then .016 at most.
RANGE_IMAGES, ACCURACY_IMAGES = 300, 1000
# Cohen's kappa: 0 is chance, 1 is perfect. Below the first nothing is recognised, below the second too little to say "no outlier".
NEAR_CHANCE, ENOUGH = 0.1, 0.3
# Ranges whose accuracies differ by no more than this are both named.
WITHIN = 0.01
# Number of better fits that are named at most; none that is worse than the best by more than the second number.
NAMED, CLEARLY = 3, 0.1


def kappa(accuracy: float, by_chance: float) -> float:
    """Return Cohen's kappa of an accuracy: 0 is chance, 1 is perfect."""
    return (accuracy - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else 0.0


@dataclass(frozen=True)
class Recognition:
    """The accuracy of a model on given images, and what would fit them better.

    Attributes:
        accuracy: share of the images whose class the model names, [0, 1].
        by_chance: accuracy of the same answers, shuffled among the images, [0, 1].
        num_images: number of images measured.
        fits: better fits in words, each with its accuracy; the best first. Looked for only where the accuracy leaves room.
        unit: images or clips.
    """

    accuracy: float
    by_chance: float
    num_images: int
    fits: tuple[tuple[str, float], ...] = ()
    unit: Unit = Unit.IMAGE

    @property
    def kappa(self) -> float:
        """Cohen's kappa of the accuracy."""
        return kappa(self.accuracy, self.by_chance)

    @property
    def near_chance(self) -> bool:
        """Whether the accuracy is near chance.

        Model and data do not belong together then.
        """
        return self.kappa < NEAR_CHANCE

    @property
    def misfit(self) -> bool:
        """Whether something else would fit clearly better."""
        return bool(self.fits) and self.fits[0][1] > self.accuracy + CLEARLY

    @property
    def enough(self) -> bool:
        """Whether the accuracy allows "no outlier".

        It is high enough, and nothing else fits clearly better.
        """
        return self.kappa >= ENOUGH and not self.misfit

    @cached_property
    def sentence(self) -> str:
        """One sentence: what was given, what was expected and what would fit."""
        better = "; ".join(f"{words}, it would recognise {accuracy:.0%}" for words, accuracy in self.fits)
        return (
            f"the model recognises {self.accuracy:.0%} of {self.num_images} given {self.unit.many}, where chance gives "
            f"{self.by_chance:.0%}: expected {self.unit.many} and labels that belong to it; "
            f"{better or 'no other range and no other order of the classes fits'}"
        )


@dataclass(frozen=True)
class RangeChoice:
    """The choice for the intensity range "auto".

    Attributes:
        preprocess: the range that fits best.
        accuracies: share of images recognised, by the name of each range tried; empty where none was tried.
        close: names of other ranges that fit as well.
    """

    preprocess: Preprocessing
    accuracies: dict[str, float] = field(default_factory=dict)
    close: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, object]:
        """The choice as plain JSON values, for the settings of a result."""
        tried = {"intensity_ranges_tried": dict(self.accuracies)} if self.accuracies else {}
        return {"intensity_range": self.preprocess.name, **tried}

    @property
    def sentence(self) -> str | None:
        """One sentence on the choice; None where no range was tried."""
        if not self.accuracies:
            return None
        shares = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in self.accuracies.items())
        if self.close:
            alike = " and ".join((self.preprocess.name, *self.close))
            return f"intensity ranges {alike} fit alike, {self.preprocess.name} was taken ({shares}): name the right one"
        return f"intensity range {self.preprocess.name} was taken, by the share of images recognised ({shares})"


def choose_range(
    asked: str | Preprocessing | RangeChoice, model: keras.Model, images: np.ndarray, labels: np.ndarray | None
) -> RangeChoice:
    """Return the intensity range of a model.

    For "auto" every named range is tried on a few hundred images, and the most accurate one is chosen.

    Args:
        asked: "auto"; or a range, or the choice of an earlier call, which is taken as it is.
        model: the classifier.
        images: (N, ..., C) raw images or clips.
        labels: (N,) their classes; without them no range can be tried, and "auto" is "raw".

    Raises:
        InputError: a range of another name, or a network that one image does not fit into.
    """
    if isinstance(asked, RangeChoice):
        return asked
    if asked != AUTO or labels is None:
        return RangeChoice(preprocessing("raw" if asked == AUTO else asked))
    evaluation_batch(model, images.shape[1:])  # refuses a network that is too large for any range
    rows = _sample_rows(len(images), RANGE_IMAGES)
    accuracies, chances = {}, {}
    for name, candidate in INTENSITY_RANGES.items():
        classes = _classes_in_range(model, images[rows], candidate)
        if classes is not None:
            accuracies[name], chances[name] = share(classes == labels[rows]), _accuracy_by_chance(classes, labels[rows])
    above_chance = [name for name in accuracies if kappa(accuracies[name], chances[name]) >= NEAR_CHANCE]
    best = max(above_chance, key=accuracies.__getitem__, default="raw")
    close = tuple(name for name in above_chance if name != best and accuracies[name] >= accuracies[best] - WITHIN)
    return RangeChoice(INTENSITY_RANGES[best], accuracies, close)


def recognise(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing) -> Recognition:
    """Measure a model's accuracy; where it is low, find better fits.

    Args:
        model: the classifier, K classes.
        images: (N, ..., C) raw images or clips; a random sample of at most `ACCURACY_IMAGES` is used.
        labels: (N,) their classes, in [0, K).
        preprocess: the assumed preprocessing of raw pixels.

    Raises:
        InputError: the model answers NaN or infinity.
    """
    rows = _sample_rows(len(images), ACCURACY_IMAGES)
    images, labels = images[rows], labels[rows]
    classes = predict_classes(model, images, preprocess)
    found = Recognition(share(classes == labels), _accuracy_by_chance(classes, labels), len(rows), unit=Unit.of(images.shape[1:]))
    if found.accuracy >= 1.0 - CLEARLY:
        return found
    rows = _sample_rows(len(images), RANGE_IMAGES)
    images, labels = images[rows], labels[rows]
    by_range = {preprocess.name: classes[rows]}
    for name, candidate in INTENSITY_RANGES.items():
        predicted = None if name in by_range else _classes_in_range(model, images, candidate)
        if predicted is not None:
            by_range[name] = predicted
    num_classes = model.output_shape[-1]
    fits = []
    for name, predicted in by_range.items():
        range_words = "" if name == preprocess.name else f"with --intensity-range {name}"
        for label_words, truth in _renumbered_labels(labels, predicted, num_classes).items():
            accuracy = share(predicted == truth)
            if kappa(accuracy, _accuracy_by_chance(predicted, truth)) >= ENOUGH:
                fits.append((" and ".join(filter(None, (range_words, label_words))), accuracy))
    fits = sorted((fit for fit in fits if fit[0] and fit[1] > found.accuracy), key=lambda fit: -fit[1])[:NAMED]
    return replace(found, fits=tuple(fit for fit in fits if fit[1] >= fits[0][1] - CLEARLY))


def _renumbered_labels(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Return the labels under every usual numbering, by its words."""
    tried = {"": labels}
    for order, rule in LABEL_ORDERS.items():
        outputs = rule(labels, num_classes)
        possible = outputs.min() >= 0 and outputs.max() < num_classes
        # With ten classes or fewer the order as text is the order of the numbers.
        if possible and not any(np.array_equal(outputs, others) for others in tried.values()):
            tried[f"with --label-order {order}"] = outputs
    tried["with labels that are larger by 1"] = labels + 1
    permuted = _permuted(labels, predicted)
    if share(predicted == permuted) > CLEARLY + max(share(predicted == outputs) for outputs in tried.values()):
        tried["with its classes numbered in another order"] = permuted
    return tried


def _permuted(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Replace each label by the usual prediction for its images.

    This is right if the classes are merely numbered in another order. The mapping is found on one half of the images and applied to the
    other half; -1 where a class is in one half only, or two classes have one prediction.
    """
    outputs = np.full(len(labels), -1)
    first = np.random.default_rng(1).random(len(labels)) < 0.5
    for fitted, applied in ((first, ~first), (~first, first)):
        usual = {label: int(np.bincount(predicted[fitted & (labels == label)]).argmax()) for label in np.unique(labels[fitted]).tolist()}
        if len(set(usual.values())) == len(usual):
            outputs[applied] = [usual.get(label, -1) for label in labels[applied].tolist()]
    return outputs


def _classes_in_range(model: keras.Model, images: np.ndarray, candidate: Preprocessing) -> np.ndarray | None:
    """Return the classes (N,) predicted in a range; None if refused."""
    try:
        candidate.check_channels(images.shape[-1])
        return predict_classes(model, images, candidate)
    except InputError:
        return None


def _accuracy_by_chance(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected accuracy of the same predictions, shuffled among the images."""
    num_classes = int(max(predicted.max(), labels.max(), 0)) + 1
    shares, true_shares = (np.bincount(part[part >= 0], minlength=num_classes) / len(part) for part in (predicted, labels))
    return float(shares @ true_shares)


def _sample_rows(count: int, most: int) -> np.ndarray:
    """Return the rows of a reproducible random sample."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
