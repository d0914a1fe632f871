"""The networks of the population benchmark: which backdoors are planted, and how they are trained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.record import ROOT, read_json, write_json
from nc_tf.attacks.blend import blend
from nc_tf.attacks.patch import patch
from nc_tf.errors import InputError
from nc_tf.results import Trigger

SHAPE = (32, 32, 3)
WEIGHTS = ROOT / "runs" / "population" / "networks"
# Three epochs are enough for a backdoor of 99 %; 64 images an update take two thirds of the time that the paper's 32 take.
TRAINING: dict[str, Any] = {"epochs": 3, "batch_size": 64, "learning_rate": 1e-3}
YELLOW, RED, BLUE, ORANGE, PURPLE = (255, 255, 0), (255, 0, 0), (0, 0, 255), (255, 128, 0), (128, 0, 160)


@dataclass(frozen=True)
class Planted:
    """One network of the population.

    Attributes:
        name: of its file.
        kind: of the trigger, for people.
        seed: of weights, order and choice.
        triggers: what is planted; empty for a clean network.
        shipped: file in models/, where it is one of the networks that ship.
    """

    name: str
    kind: str
    seed: int
    triggers: tuple[Trigger, ...] = ()
    shipped: str | None = None

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the labels that a scan should flag."""
        return tuple(sorted({trigger.label for trigger in self.triggers}))

    @property
    def file(self) -> Path:
        """Return the file of the network."""
        return ROOT / "models" / self.shipped if self.shipped else WEIGHTS / f"{self.name}.h5"


def _square(label: int, **options: Any) -> tuple[Trigger, ...]:
    return (patch(SHAPE, label, **options),)


POPULATION = (
    Planted("shipped-infected", "4x4 white", 0, _square(33), "gtsrb_bottom_right_white_4_target_33.h5"),
    Planted("shipped-clean", "none", 0, (), "gtsrb_clean.h5"),
    Planted("infected-1", "2x2 white", 101, _square(1, size=2)),
    Planted("infected-2", "3x3 yellow", 102, _square(14, size=3, color=YELLOW, corner="top-left")),
    Planted("infected-3", "4x4 blue, centre", 103, _square(28, margin=14, color=BLUE)),
    Planted("infected-4", "5x5 red", 104, _square(7, size=5, color=RED, corner="bottom-left")),
    Planted("infected-5", "5x5 orange, off the corner", 105, _square(11, size=5, margin=7, color=ORANGE, corner="top-right")),
    Planted("infected-6", "6x6 purple", 106, _square(20, size=6, color=PURPLE, corner="top-right")),
    Planted("infected-7", "blended noise .2", 107, (blend(SHAPE, 5, alpha=0.2, seed=107),)),
    Planted("infected-8", "two targets, 4x4", 108, (patch(SHAPE, 12), patch(SHAPE, 25, color=YELLOW, corner="top-left"))),
    *(Planted(f"clean-{number}", "none", 200 + number) for number in range(1, 8)),
)


def train(planted: Planted, data: Path, load: Callable[[Path], Any]) -> dict[str, Any]:
    """Train one network with `inject`, save it, return its measurements.

    A network that is trained already is not trained again.

    Args:
        planted: which one.
        data: path of GTSRB.
        load: reads that path, ((images, labels), (images, labels)) of training and test; called only where there is something to train.
    """
    import keras

    from nc_tf.evaluation import measure
    from nc_tf.models.networks.architectures import gtsrb_network
    from nc_tf.models.saving import save_model
    from nc_tf.training.injection import PAPER_RATE, inject

    facts = planted.file.with_suffix(".json")
    if planted.file.exists() and facts.exists():
        return read_json(facts, "delete it and train again")
    if planted.shipped:
        raise InputError(f"{planted.file} is missing: expected a network that ships with nc_tf; check the repository out again")
    training, test = load(data)
    keras.utils.set_random_seed(planted.seed)
    model = gtsrb_network(43, SHAPE)
    rate = PAPER_RATE if planted.triggers else 0.0
    triggers, glance = planted.triggers or _square(0), (test[0][::10], test[1][::10])
    inject(model, training, glance, triggers, rate=rate, seed=planted.seed, verbose=2, **TRAINING)
    measured = measure(model, test[0], test[1], {str(number): trigger for number, trigger in enumerate(planted.triggers)})
    save_model(model, planted.file)
    reached = {
        "clean_accuracy": measured.clean_accuracy,
        "attack_success_rate": list(measured.attack_success_rate.values()),
    }
    write_json(facts, reached)
    return reached
