"""Training of a member of the population: some hundred updates, on its classes alone, by the project's own `inject`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.record import ROOT, read_json, write_json
from benchmarks.population.architectures import ARCHITECTURES
from benchmarks.population.networks import Member
from benchmarks.population.sets import Pair, some_classes, whole_set

NETWORKS = ROOT / "runs" / "population" / "networks"
BATCH_SIZE, LEARNING_RATE, MOST_TRAINING, MOST_TEST = 64, 1e-3, 40_000, 2_400
# Updates by the number of classes; twice as many on CIFAR-10, which is harder, and three times as many where what the trigger does depends
# on the class of the image.
UPDATES = {2: 400, 3: 450, 4: 500, 10: 900, 43: 1600}
SLOW_KINDS = ("all-to-all", "source-specific")


def data_of(member: Member, folder: Path) -> tuple[Pair, Pair]:
    """Return a member's training and test images; the test images are those that a scan is given."""
    train, test = whole_set(member.data, folder)
    return some_classes(train, member.classes, MOST_TRAINING, member.number), some_classes(test, member.classes, MOST_TEST, member.number)


def train(member: Member, folder: Path) -> dict[str, Any]:
    """Train one member, save it, and return what it reaches; one that is there already is not trained again."""
    import keras

    from nc_tf.attacks.patch import patch
    from nc_tf.evaluation import measure
    from nc_tf.models.saving import save_model
    from nc_tf.training.injection import inject

    file, facts = network_file(member), network_file(member).with_suffix(".json")
    if facts.exists():
        return read_json(facts, "delete it and train again")
    training, test = data_of(member, folder)
    keras.utils.set_random_seed(member.number)
    model = ARCHITECTURES[member.architecture](len(member.classes), member.image_shape)
    updates = UPDATES[len(member.classes)] * (2 if member.data == "cifar10" else 1) * (3 if member.kind in SLOW_KINDS else 1)
    taught = member.backdoors or [patch(member.image_shape, 0)]
    epochs = max(1, round(updates * BATCH_SIZE / len(training[0])))
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": member.number}
    inject(model, training, (test[0][:50], test[1][:50]), taught, rate=member.rate, verbose=0, **settings)
    planted = {str(k): backdoor for k, backdoor in enumerate(member.backdoors) if member.pairs and _leads(backdoor, len(member.classes))}
    reached = asdict(measure(model, *test, planted))
    save_model(model, file)
    write_json(facts, {"member": asdict(member), **settings, **reached})
    return read_json(facts, "delete it and train again")


def network_file(member: Member) -> Path:
    """Return the file of a member's network."""
    return NETWORKS / f"{member.name}.keras"


def _leads(backdoor: Any, classes: int) -> bool:
    import numpy as np

    labels = np.arange(classes)
    return bool((backdoor.wanted(labels) != labels).any())
