"""Whether a model recognises the images it is given: the ground of everything that is said of it.

Images in the wrong range, or labels of other classes, make every measurement meaningless without any error. Both show in one number, the
share of the given images that the model names right, and trying the usual causes tells which one it is.
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
# Images looked at: to tell ranges apart, and to measure the accuracy, whose standard error is then .016 at most.
RANGE_IMAGES, ACCURACY_IMAGES = 300, 1000
# Cohen's kappa: 0 is chance, 1 is perfect. Below the first nothing is recognised, below the second too little to say "no outlier".
NEAR_CHANCE, ENOUGH = 0.1, 0.3
# Ranges whose accuracies differ by no more than this are both named.
WITHIN = 0.01
# Of what would fit better this many are named at most, and none that is this much worse than the best.
NAMED, CLEARLY = 3, 0.1


def kappa(accuracy: float, by_chance: float) -> float:
    """Cohen's kappa: how far an accuracy is from what chance gives, 0, to perfect, 1."""
    return (accuracy - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else 0.0


@dataclass(frozen=True)
class Recognition:
    """How many images a model recognises.

    Attributes:
        accuracy: share of the images whose class the model names, [0, 1].
        by_chance: what answers that know nothing of the image would reach, given alike in number, [0, 1].
        num_images: looked at.
        fits: what would fit better, in words, with the accuracy that it gives; the best first. Sought where the accuracy leaves room.
        unit: images or clips.
    """

    accuracy: float
    by_chance: float
    num_images: int
    fits: tuple[tuple[str, float], ...] = ()
    unit: Unit = Unit.IMAGE

    @property
    def kappa(self) -> float:
        """See `kappa`."""
        return kappa(self.accuracy, self.by_chance)

    @property
    def near_chance(self) -> bool:
        """Whether the model recognises next to nothing: what is given does not belong to it."""
        return self.kappa < NEAR_CHANCE

    @property
    def misfit(self) -> bool:
        """Whether something else would fit clearly better."""
        return bool(self.fits) and self.fits[0][1] > self.accuracy + CLEARLY

    @property
    def enough(self) -> bool:
        """Whether it recognises enough for silence to mean something, and nothing else fits clearly better."""
        return self.kappa >= ENOUGH and not self.misfit

    @cached_property
    def sentence(self) -> str:
        """What was given, what was expected and what would fit."""
        better = "; ".join(f"{words}, it would recognise {accuracy:.0%}" for words, accuracy in self.fits)
        return (
            f"the model recognises {self.accuracy:.0%} of {self.num_images} given {self.unit.many}, where chance gives "
            f"{self.by_chance:.0%}: expected {self.unit.many} and labels that belong to it; "
            f"{better or 'no other range and no other order of the classes fits'}"
        )


@dataclass(frozen=True)
class RangeChoice:
    """What was chosen for the intensity range "auto".

    Attributes:
        preprocess: the range that fits best.
        accuracies: share of images recognised, by the name of each range tried; empty where nothing was tried.
        close: the names of other ranges that fit as well.
    """

    preprocess: Preprocessing
    accuracies: dict[str, float] = field(default_factory=dict)
    close: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, object]:
        """The choice among the settings of a result, as plain JSON values."""
        tried = {"intensity_ranges_tried": dict(self.accuracies)} if self.accuracies else {}
        return {"intensity_range": self.preprocess.name, **tried}

    @property
    def sentence(self) -> str | None:
        """What was tried and what came of it; None where nothing was tried."""
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
    """Find what a model wants of raw pixels by trying every named range on a few hundred images.

    Args:
        asked: "auto"; or a range, or what an earlier call chose, which is taken as it is.
        model: the classifier.
        images: (N, ..., C) raw images or clips.
        labels: (N,) their classes; without them nothing can be tried, and "auto" is "raw".

    Raises:
        InputError: a range of another name, or a network that one image does not fit into.
    """
    if isinstance(asked, RangeChoice):
        return asked
    if asked != AUTO or labels is None:
        return RangeChoice(preprocessing("raw" if asked == AUTO else asked))
    evaluation_batch(model, images.shape[1:])  # refuses a network that is too large for any range
    rows = _some(len(images), RANGE_IMAGES)
    accuracies, chances = {}, {}
    for name, candidate in INTENSITY_RANGES.items():
        answers = _answers(model, images[rows], candidate)
        if answers is not None:
            accuracies[name], chances[name] = share(answers == labels[rows]), _by_chance(answers, labels[rows])
    fitting = [name for name in accuracies if kappa(accuracies[name], chances[name]) >= NEAR_CHANCE]
    best = max(fitting, key=accuracies.__getitem__, default="raw")
    close = tuple(name for name in fitting if name != best and accuracies[name] >= accuracies[best] - WITHIN)
    return RangeChoice(INTENSITY_RANGES[best], accuracies, close)


def recognise(model: keras.Model, images: np.ndarray, labels: np.ndarray, preprocess: Preprocessing) -> Recognition:
    """Measure how many of some images a model recognises and, where these are few, what would fit better.

    Args:
        model: the classifier, K classes.
        images: (N, ..., C) raw images or clips, of which at most `ACCURACY_IMAGES` are looked at.
        labels: (N,) their classes, in [0, K).
        preprocess: what the model is taken to want of raw pixels.

    Raises:
        InputError: the model answers NaN or infinity.
    """
    rows = _some(len(images), ACCURACY_IMAGES)
    images, labels = images[rows], labels[rows]
    answers = predict_classes(model, images, preprocess)
    found = Recognition(share(answers == labels), _by_chance(answers, labels), len(rows), unit=Unit.of(images.shape[1:]))
    if found.accuracy >= 1.0 - CLEARLY:
        return found
    rows = _some(len(images), RANGE_IMAGES)
    images, labels = images[rows], labels[rows]
    answered = {preprocess.name: answers[rows]}
    for name, candidate in INTENSITY_RANGES.items():
        others = None if name in answered else _answers(model, images, candidate)
        if others is not None:
            answered[name] = others
    num_classes = model.output_shape[-1]
    fits = []
    for name, others in answered.items():
        before = "" if name == preprocess.name else f"with --intensity-range {name}"
        for words, truth in _other_labels(labels, others, num_classes).items():
            accuracy = share(others == truth)
            if kappa(accuracy, _by_chance(others, truth)) >= ENOUGH:
                fits.append((" and ".join(filter(None, (before, words))), accuracy))
    fits = sorted((fit for fit in fits if fit[0] and fit[1] > found.accuracy), key=lambda fit: -fit[1])[:NAMED]
    return replace(found, fits=tuple(fit for fit in fits if fit[1] >= fits[0][1] - CLEARLY))


def _other_labels(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """The labels under every way to number the classes that is worth a try, by what to say of it."""
    tried = {"": labels}
    for order, rule in LABEL_ORDERS.items():
        outputs = rule(labels, num_classes)
        possible = outputs.min() >= 0 and outputs.max() < num_classes
        # Of ten numbers the order as text is the usual one.
        if possible and not any(np.array_equal(outputs, others) for others in tried.values()):
            tried[f"with --label-order {order}"] = outputs
    tried["with labels that are larger by 1"] = labels + 1
    permuted = _permuted(labels, answers)
    if share(answers == permuted) > CLEARLY + max(share(answers == outputs) for outputs in tried.values()):
        tried["with its classes numbered in another order"] = permuted
    return tried


def _permuted(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Each class by the answer that most of its images get: right if the classes are merely numbered in some other way.

    What one half of the images says is tried on the other half; -1 where a class is in one half only, or two classes get one answer.
    """
    outputs = np.full(len(labels), -1)
    first = np.random.default_rng(1).random(len(labels)) < 0.5
    for known, tried in ((first, ~first), (~first, first)):
        usual = {label: int(np.bincount(answers[known & (labels == label)]).argmax()) for label in np.unique(labels[known]).tolist()}
        if len(set(usual.values())) == len(usual):
            outputs[tried] = [usual.get(label, -1) for label in labels[tried].tolist()]
    return outputs


def _answers(model: keras.Model, images: np.ndarray, candidate: Preprocessing) -> np.ndarray | None:
    """Classes (N,) in a range on trial; None where the model cannot be fed so."""
    try:
        candidate.check_channels(images.shape[-1])
        return predict_classes(model, images, candidate)
    except InputError:
        return None


def _by_chance(answers: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of the same answers, handed out to the images at random."""
    most = int(max(answers.max(), labels.max(), 0)) + 1
    given, true = (np.bincount(part[part >= 0], minlength=most) / len(part) for part in (answers, labels))
    return float(given @ true)


def _some(count: int, most: int) -> np.ndarray:
    """Rows of a random sample that is the same every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
