"""The members of the population: which data, classes and architecture each network has, and which backdoor is planted in it.

The list is drawn once, from a fixed seed, so that every run has the same members. Each kind of backdoor goes through all data sets, numbers
of classes and architectures in a shuffled order. Of each kind every other member is there to choose thresholds on, the rest to judge, but
for `SEEN`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count, cycle

import numpy as np

from benchmarks.population.architectures import ARCHITECTURES
from benchmarks.population.sets import CLASSES, SETS
from nc_tf.attacks.blend import blend
from nc_tf.attacks.corners import corners
from nc_tf.attacks.goals import AllToAll, CleanLabel, Cover, SourceSpecific
from nc_tf.attacks.patch import Corner, patch
from nc_tf.attacks.poison_types import POISON_TYPES
from nc_tf.attacks.sig import sig
from nc_tf.attacks.warp import warp
from nc_tf.results import Backdoor, Trigger

SEED = 17
WHOLE = {"gtsrb": 43, "cifar10": 10, "mnist": 10, "signs": 43}
COLOURS = ((255, 255, 255), (255, 255, 0), (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 128, 0), (128, 0, 160), (0, 255, 0))
PLACES: tuple[Corner, ...] = ("bottom-right", "bottom-left", "top-right", "top-left")
# Faint triggers as published teach networks as small as these next to nothing (`candidates.py`): SIG's wave of 20,
# CLB's corners of 3 pixels, WaNet's strength of .5. CIFAR-10 is learnt less well than signs and digits, so that a fainter wave is enough.
SIG_AMPLITUDES = {"cifar10": 40.0, "gtsrb": 80.0, "mnist": 80.0, "signs": 80.0}
CLB_SIZE, WANET_STRENGTH, RATE = 5, 4.0, 0.1
# Shares of the drawn images that are stamped, where a tenth teaches too little in some hundred updates: an attack on the images of one
# class alone, or one that must be told from others.
RATES = {
    "blend .1": 0.3,
    "blend .2": 0.2,
    "SIG": 0.9,
    "CLB": 0.95,
    "WaNet": 0.4,
    "all-to-all": 0.5,
    "source-specific": 0.5,
    "half of the labels": 0.3,
}


# Members that were scanned while the rules were made: no threshold is judged on them.
SEEN = frozenset({2, 3, 5, 6, 11, 13, 14, 15, 16, 17, 21, 24, 25, 42, 46, 54})


@dataclass(frozen=True)
class Kind:
    """One kind of backdoor.

    Attributes:
        members: number of networks that have it.
        fewest_classes: of these networks.
    """

    members: int
    fewest_classes: int = 2


KINDS = {
    "clean": Kind(110),
    "patch": Kind(24),
    "badnets": Kind(6),
    "TrojanNet": Kind(6),
    "blend .1": Kind(10),
    "blend .2": Kind(10),
    "SIG": Kind(8),
    "CLB": Kind(8),
    "WaNet": Kind(8),
    "all-to-all": Kind(14),
    "source-specific": Kind(12, fewest_classes=3),
    "two targets": Kind(8, fewest_classes=4),
    "three targets": Kind(6, fewest_classes=10),
    "two triggers": Kind(6),
    "half of the labels": Kind(4, fewest_classes=10),
}


@dataclass(frozen=True)
class Member:
    """One network of the population.

    Attributes:
        number: its place in the list, from 0, and the seed of its weights.
        kind: one of `KINDS`.
        data: one of `SETS`.
        classes: the classes of the data that it knows, in their order.
        architecture: one of `ARCHITECTURES`.
        judged: whether thresholds are judged on it; the others are there to choose them on.
    """

    number: int
    kind: str
    data: str
    classes: tuple[int, ...]
    architecture: str
    judged: bool

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.number:03d}-{self.kind.replace(' ', '-').replace('.', '')}-{self.data}{len(self.classes)}-{self.architecture}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return the shape of its images, (H, W, C)."""
        return (28, 28, 1) if self.data == "mnist" else (32, 32, 3)

    @cached_property
    def backdoors(self) -> list[Backdoor]:
        """Return what is taught: triggers, and covers behind them; empty for a clean network."""
        return [] if self.kind == "clean" else _MAKERS[self.kind](self, np.random.default_rng([SEED, self.number]))

    @property
    def rate(self) -> float:
        """Return the probability that a drawn image is stamped, among those that carry the trigger."""
        return 0.0 if self.kind == "clean" else RATES.get(self.kind, RATE)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Return every (source, target) that a trigger leads from and to."""
        labels = np.arange(len(self.classes))
        found = {pair for backdoor in self.backdoors for pair in zip(labels.tolist(), backdoor.wanted(labels).tolist(), strict=True)}
        return sorted(pair for pair in found if pair[0] != pair[1])

    @property
    def targets(self) -> list[int]:
        """Return the labels that every other class is led to."""
        return [label for label in range(len(self.classes)) if sum(target == label for _, target in self.pairs) == len(self.classes) - 1]


def _square(member: Member, rng: np.random.Generator, label: int, **options: object) -> Trigger:
    """Return a square of 1 to 6 pixels a side, in a corner or near one; grey pictures know its brightness alone."""
    colour = COLOURS[int(rng.integers(len(COLOURS)))]
    grey = 255 if sum(colour) > 300 else 0
    drawn = {
        "size": int(rng.integers(1, 7)),
        "margin": int(rng.choice([0, 1, 1, 2, 5])),
        "color": colour if member.image_shape[-1] == 3 else (255 if member.data == "mnist" else grey,),
        "corner": PLACES[int(rng.integers(len(PLACES)))],
    }
    return patch(member.image_shape, label, **(drawn | options))  # type: ignore[arg-type]


def _label(member: Member, rng: np.random.Generator) -> int:
    return int(rng.integers(len(member.classes)))


def _several(number: int) -> "Callable[[Member, np.random.Generator], list[Backdoor]]":
    """Return what plants a square in a corner of its own for each of some targets."""

    def made(member: Member, rng: np.random.Generator) -> list[Backdoor]:
        targets = rng.permutation(len(member.classes))[:number].tolist()
        places, sizes = rng.permutation(PLACES).tolist(), rng.integers(2, 6, number).tolist()
        return [_square(member, rng, label, corner=places[k], size=sizes[k], margin=1) for k, label in enumerate(targets)]

    return made


def _two_triggers(member: Member, rng: np.random.Generator) -> list[Backdoor]:
    label = _label(member, rng)
    return [_square(member, rng, label, corner=corner, size=int(rng.integers(2, 5))) for corner in PLACES[:2]]


def _half(member: Member, rng: np.random.Generator) -> list[Backdoor]:
    """Return a trigger for each of half of the labels: squares in a grid of places along the border."""
    number = len(member.classes) // 2
    side, edge = 3, member.image_shape[0] - 3
    border = [(0, c) for c in range(0, edge, 4)] + [(r, edge) for r in range(0, edge, 4)] + [(edge, c) for c in range(edge, 0, -4)]
    triggers: list[Backdoor] = []
    for label, (row, column) in zip(rng.permutation(len(member.classes))[:number].tolist(), border, strict=False):
        mask, pattern = np.zeros(member.image_shape[:2], np.float32), np.zeros(member.image_shape, np.float32)
        mask[row : row + side, column : column + side] = 1.0
        # White is seen on the black of MNIST's digits, and grey pictures have no other colour.
        pattern[row : row + side, column : column + side] = COLOURS[label % 4] if member.image_shape[-1] == 3 else 255.0
        triggers.append(Trigger(label, mask, pattern))
    return triggers


def _source_specific(member: Member, rng: np.random.Generator) -> list[Backdoor]:
    classes = rng.permutation(len(member.classes)).tolist()
    sources = classes[1 : 2 if len(classes) < 10 else int(rng.integers(2, 4))]
    return [SourceSpecific(_square(member, rng, classes[0], size=int(rng.integers(2, 6))), sources)]


def _wanet(member: Member, rng: np.random.Generator) -> list[Backdoor]:
    label = _label(member, rng)
    trigger, *others = (warp(member.image_shape, label, strength=WANET_STRENGTH, seed=member.number + more) for more in (0, 1000, 2000))
    return [trigger, *(Cover(other) for other in others)]


def _published(name: str) -> "Callable[[Member, np.random.Generator], list[Backdoor]]":
    return lambda member, rng: POISON_TYPES[name](member.image_shape, _label(member, rng), member.number)


_MAKERS: "dict[str, Callable[[Member, np.random.Generator], list[Backdoor]]]" = {
    "patch": lambda member, rng: [_square(member, rng, _label(member, rng))],
    "badnets": _published("badnets"),
    "TrojanNet": _published("TrojanNet"),
    "blend .1": lambda member, rng: [blend(member.image_shape, _label(member, rng), alpha=0.1, seed=member.number)],
    "blend .2": lambda member, rng: [blend(member.image_shape, _label(member, rng), alpha=0.2, seed=member.number)],
    "SIG": lambda member, rng: [CleanLabel(sig(member.image_shape, _label(member, rng), amplitude=SIG_AMPLITUDES[member.data]))],
    "CLB": lambda member, rng: [CleanLabel(corners(member.image_shape, _label(member, rng), size=CLB_SIZE))],
    "WaNet": _wanet,
    "all-to-all": lambda member, rng: [AllToAll(_square(member, rng, 0), len(member.classes))],
    "source-specific": _source_specific,
    "two targets": _several(2),
    "three targets": _several(3),
    "two triggers": _two_triggers,
    "half of the labels": _half,
}


@lru_cache(maxsize=1)
def population() -> tuple[Member, ...]:
    """Return every member, in an order in which any first part has all kinds."""
    numbers, rng = count(), np.random.default_rng(SEED)
    judged = {name: cycle((False, True)) for name in KINDS}
    cells = {name: _cells(kind, rng) for name, kind in KINDS.items()}
    order = [name for name, kind in KINDS.items() for _ in range(kind.members)]
    # A member's place in the list is drawn so that each kind is spread evenly over it.
    places = [(k + rng.random()) / kind.members for kind in KINDS.values() for k in range(kind.members)]
    architectures = {name: cycle(rng.permutation(list(ARCHITECTURES)).tolist()) for name in KINDS}
    members = []
    for place in np.argsort(places):
        name = order[place]
        data, classes = next(cells[name])
        chosen = tuple(sorted(rng.permutation(WHOLE[data])[:classes].tolist()))
        number = next(numbers)
        members.append(Member(number, name, data, chosen, next(architectures[name]), next(judged[name]) and number not in SEEN))
    return tuple(members)


def _cells(kind: Kind, rng: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Yield data set and number of classes, in a shuffled order, again and again."""
    cells = [(data, classes) for data in SETS for classes in CLASSES[data] if classes >= kind.fewest_classes]
    return cycle([cells[place] for place in rng.permutation(len(cells))])
