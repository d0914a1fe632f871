"""Networks with strong backdoors over the whole image or on the class itself, for the comparison of candidates.

The population's own members of these kinds are often weak. With its settings a blend of .1 on GTSRB reaches an attack success rate of
.56, SIG .72, CLB .22 and WaNet .06. These have higher rates, larger corners, a longer warp or a stronger wave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.record import read_json, write_json
from benchmarks.population.networks import WHOLE, Member
from benchmarks.population.training import BATCH_SIZE, LEARNING_RATE, data_of
from nc_tf.attacks.blend import blend
from nc_tf.attacks.corners import corners
from nc_tf.attacks.goals import CleanLabel, Cover
from nc_tf.attacks.patch import patch
from nc_tf.attacks.sig import sig
from nc_tf.attacks.warp import warp
from nc_tf.results import Backdoor

TEN = {"gtsrb": (1, 2, 4, 5, 9, 10, 12, 13, 25, 38), "cifar10": tuple(range(10))}
SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class Extra:
    """One network.

    Attributes:
        number: seed of its weights, above those of the population.
        kind: of backdoor.
        data: "gtsrb" or "cifar10".
        updates: of its training.
        target: label; None for a clean network.
        strength: opacity of a blend, amplitude of SIG's wave, side of CLB's corners, or strength of WaNet's warp.
        rate: probability that a drawn image is stamped.
        whole: whether it knows all classes of the data, not ten.
    """

    number: int
    kind: str
    data: str
    updates: int
    target: int | None = None
    strength: float = 0.0
    rate: float = 0.0
    whole: bool = False

    @property
    def member(self) -> Member:
        """Return it as a member that thresholds may be chosen on."""
        classes = tuple(range(WHOLE[self.data])) if self.whole else TEN[self.data]
        return Member(self.number, self.kind, self.data, classes, "plain", judged=False)

    @property
    def backdoors(self) -> Sequence[Backdoor]:
        """Return what is taught."""
        if self.target is None:
            return []
        if self.kind == "SIG":
            return [CleanLabel(sig(SHAPE, self.target, amplitude=self.strength))]
        if self.kind == "CLB":
            return [CleanLabel(corners(SHAPE, self.target, size=int(self.strength)))]
        if self.kind == "WaNet":
            own, *others = (warp(SHAPE, self.target, strength=self.strength, seed=self.number + k) for k in range(3))
            return [own, *map(Cover, others)]
        return [blend(SHAPE, self.target, alpha=self.strength, seed=self.number)]


EXTRA = (
    Extra(1000, "blend .1", "gtsrb", 900, 7, 0.1, 0.1),
    Extra(1001, "SIG", "gtsrb", 900, 1, 40, 0.8),
    Extra(1003, "clean", "gtsrb", 900),
    Extra(1020, "blend .1", "gtsrb", 1500, 7, 0.1, 0.3),
    Extra(1021, "SIG", "gtsrb", 1500, 6, 40, 0.9),
    Extra(1022, "WaNet", "gtsrb", 1800, 0, 4, 0.4),
    Extra(1023, "CLB", "gtsrb", 1500, 5, 3, 0.95),
    Extra(1024, "blend .2", "gtsrb", 1000, 7, 0.2, 0.2),
    Extra(1025, "blend .1", "cifar10", 800, 0, 0.1, 0.3),
    Extra(1026, "SIG", "cifar10", 800, 6, 40, 0.9),
    Extra(1027, "clean", "cifar10", 600),
    Extra(1028, "WaNet", "cifar10", 900, 6, 4, 0.4),
    Extra(1030, "CLB", "cifar10", 800, 3, 5, 0.95),
    Extra(1031, "SIG", "gtsrb", 1200, 3, 80, 0.9),
    Extra(1032, "clean", "gtsrb", 900),
    Extra(1033, "blend .1", "gtsrb", 1600, 20, 0.1, 0.3, whole=True),
)


def train(extra: Extra, data: Path, networks: Path) -> dict[str, Any]:
    """Train one network, save it, and return what it reaches; one that is there already is not trained again."""
    import keras

    from nc_tf.evaluation import measure
    from nc_tf.models.networks.architectures import signs_network
    from nc_tf.models.saving import save_model
    from nc_tf.training.injection import inject

    file = networks / f"{extra.member.name}.keras"
    facts = file.with_suffix(".json")
    if not facts.exists():
        training, test = data_of(extra.member, data)
        keras.utils.set_random_seed(extra.number)
        model = signs_network(len(extra.member.classes), SHAPE)
        settings: dict[str, Any] = {
            "epochs": max(1, round(extra.updates * BATCH_SIZE / len(training[0]))),
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "seed": extra.number,
        }
        taught = extra.backdoors or [patch(SHAPE, 0)]
        inject(model, training, (test[0][:50], test[1][:50]), taught, rate=extra.rate, verbose=0, **settings)
        reached = measure(model, *test, {"0": extra.backdoors[0]} if extra.backdoors else {})
        save_model(model, file)
        rates = {name: float(rate) for name, rate in reached.attack_success_rate.items()}
        write_json(facts, {"clean_accuracy": reached.clean_accuracy, "attack_success_rate": rates, **settings})
    return read_json(facts, "delete it and train again")
