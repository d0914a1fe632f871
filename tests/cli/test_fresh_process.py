"""Every defence: the saved model measures the same in a process that knows nothing of this one, and the source keeps every bit."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images, corner_trigger
from planted import TRAIN, TRUE, plant
from quick import digest, eight_classes
from warm_server import WarmServer

from nc_tf.attacks.backdoor_file import save_backdoor
from nc_tf.evaluation import measure
from nc_tf.mitigation.filtering import input_filter
from nc_tf.mitigation.goodnet import GoodNet
from nc_tf.mitigation.nft import nft
from nc_tf.mitigation.pruning import prune
from nc_tf.mitigation.saving import save_mitigation
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing

CLEAN, LABELS = corner_images(400, seed=2)
# With much noise, so that not all is right or wrong, and each defence moves some figure.
TEST = np.clip(CLEAN + np.random.default_rng(0).normal(0, 100, CLEAN.shape), 0, 255).astype(np.uint8), LABELS
# GoodNet scans, and with six labels a scan suspects nothing.
EIGHT, EIGHT_TEST = (corner_images(640, seed=seed, num_classes=8) for seed in (1, 2))
METHODS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "unlearn": (unlearn, {"fraction": 1.0, "epochs": 3, "ratio": 0.5, "verbose": 0}),
    "prune": (prune, {"fraction": 1.0}),
    "filter": (input_filter, {"fraction": 1.0, "units": 0.1}),
    "nft": (nft, {"fraction": 0.2, "steps": 60, "batch_size": 32, "verbose": 0}),
}
Figures = dict[str, str]  # as `nc-tf evaluate` prints them


class Done(NamedTuple):
    """Hash of the source's weights before and after, what it measures, and what the repaired model measures in this process."""

    before: str
    after: str
    source: Figures
    repaired: Figures


def normalised() -> keras.Model:
    """With BatchNormalization, whose moving averages are saved and loaded as well."""
    keras.utils.set_random_seed(3)
    hidden = [layers.Flatten(), layers.Dense(32, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    return plant(keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Rescaling(1 / 255), *hidden, layers.Dense(NUM_CLASSES, "softmax")]))


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """A folder with every repaired model, and what became of each method."""
    folder = tmp_path_factory.mktemp("fresh")
    for name, (images, labels), trigger in (("six", TEST, TRUE), ("eight", EIGHT_TEST, corner_trigger(5))):
        np.savez(folder / f"{name}.npz", x=images, y=labels)
        save_backdoor(folder / f"trigger_{name}.npz", trigger)
    source, done = normalised(), dict[str, Done]()
    for name, (method, options) in METHODS.items():
        before = digest(source.get_weights())
        mitigation = method(source, *TRAIN, [TRUE], test=TEST, **options)
        save_mitigation(mitigation, folder / name / "model.keras", TEST, Preprocessing())
        written = json.loads((folder / name / "mitigation.json").read_text())
        done[name] = Done(before, digest(source.get_weights()), figures(written["before"]), figures(written["after"]))
    source = eight_classes(5)
    before = digest(source.get_weights())
    goodnet = GoodNet.from_badnet(source, EIGHT)
    save_model(goodnet.model, folder / "goodnet" / "model.keras")
    measured = (asdict(measure(model, *EIGHT_TEST, {"reversed": corner_trigger(5)})) for model in (source, goodnet.model))
    done["goodnet"] = Done(before, digest(source.get_weights()), *map(figures, measured))
    return folder, done


def figures(measured: dict[str, Any]) -> Figures:
    rates = measured["clean_accuracy"], measured["attack_success_rate"]["reversed"], measured["robust_accuracy"]["reversed"]
    return dict(zip(("clean accuracy", "ASR", "robust accuracy"), (f"{rate:.4f}" for rate in rates), strict=True))


pytestmark = pytest.mark.slow
RAW = ("--intensity-range", "raw")  # some of these networks are so poor that another range happens to suit them better


@pytest.fixture(scope="module")
def fresh(repaired: tuple[Path, dict[str, Done]], warm_server: WarmServer) -> dict[str, Figures]:
    """What `nc-tf evaluate` prints of each saved model, in one process."""
    folder, done = repaired
    commands = {}
    for name in done:
        which = "eight" if name == "goodnet" else "six"
        commands[name] = ["evaluate", f"{name}/model.keras", f"{which}.npz", "--trigger", f"trigger_{which}.npz", *RAW]
    start = "import sys; from nc_tf.cli.main import main; sys.exit(max(main(command) for command in {!r}))"
    ran = warm_server.start(start.format(list(commands.values())), folder)
    assert ran.wait() == 0, ran.err.read_text()
    printed = re.findall(r"^(clean accuracy|ASR|robust accuracy).*? {2,}([01]\.\d{4})", ran.out.read_text(), re.MULTILINE)
    return {name: dict(printed[3 * number : 3 * number + 3]) for number, name in enumerate(commands)}


@pytest.mark.parametrize("method", [*METHODS, "goodnet"])
def test_the_saved_model_measures_the_same_in_a_fresh_process_and_the_source_keeps_every_bit(
    method: str, repaired: tuple[Path, dict[str, Done]], fresh: dict[str, Figures]
) -> None:
    done = repaired[1][method]
    assert done.after == done.before
    assert fresh[method] == done.repaired != done.source
