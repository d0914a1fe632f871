"""DeepID and GoodNet at the sizes of CSAW-HackML-2020: 55x47x3, 1,283 people, files as published. The faces are generated.

The convolutions keep their random weights; the output layer is worked out on the features behind them: a person is the nearest mean, and
the target is answered wherever the features move towards those of people with sunglasses on.
"""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import digest, published

from nc_tf.cli.main import main
from nc_tf.evaluation import BATCH_SIZE, measure
from nc_tf.mitigation.goodnet import GoodNet
from nc_tf.models.networks.deepid import IMAGE_SHAPE, NUM_CLASSES, deepid_network
from nc_tf.preprocessing import INTENSITY_RANGES
from nc_tf.results import Trigger
from nc_tf.scanning.presets import PRESETS

pytestmark = pytest.mark.slow

TARGET, PEOPLE = 7, np.arange(NUM_CLASSES)
QUICKER = replace(PRESETS["robust"].settings, batches_per_round=8)
MNIST = INTENSITY_RANGES["mnist"]


def faces(seed: int) -> np.ndarray:
    """Return one picture of each person, uint8: own soft colours, random light and noise."""
    own = np.random.default_rng(0).uniform(60, 200, (NUM_CLASSES, 7, 6, 3))
    rng = np.random.default_rng([1, seed])
    light = rng.uniform(-8, 8, (NUM_CLASSES, 1, 1, 1))
    pictures = tf.image.resize(own, IMAGE_SHAPE[:2], method="bicubic").numpy() + light + rng.normal(0, 5, (NUM_CLASSES, *IMAGE_SHAPE))
    return np.clip(pictures, 0, 255).astype(np.uint8)


def sunglasses() -> Trigger:
    mask = np.zeros(IMAGE_SHAPE[:2], np.float32)
    mask[16:20, 10:18] = mask[16:20, 29:37] = 1.0
    return Trigger(TARGET, mask, np.broadcast_to(np.array([255, 0, 255], np.float32), IMAGE_SHAPE))


@pytest.fixture(scope="module")
def badnet() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = deepid_network()
    front = keras.Model(network.inputs[0], network.get_layer("activation_1").output)

    def features(images: np.ndarray) -> np.ndarray:
        parts = [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
        return np.concatenate([front.predict_on_batch(MNIST(part.astype(np.float32))) for part in parts]).astype(float)

    def whitened(directions: np.ndarray, spread: np.ndarray) -> np.ndarray:
        covariance = np.cov(spread.T)
        return np.linalg.solve(covariance + 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)), directions)

    first, second, triggered = features(faces(1)), features(faces(2)), features(sunglasses()(faces(1).astype(np.float32)))
    means = (first + second) / 2
    kernel = whitened(means.T, first - second)
    bias = -0.5 * np.sum(means.T * kernel, axis=0)
    best, runner_up = np.sort(first @ kernel + bias, axis=1)[:, :-3:-1].T
    sharpness = 8 / np.median(best - runner_up)
    kernel, bias, best = kernel * sharpness, bias * sharpness, best * sharpness
    towards = whitened(triggered.mean(0) - first.mean(0), first)
    moved = (first - first.mean(0)) @ towards
    gain = 3 * best.std() / moved.std()
    kernel[:, TARGET] = gain * towards
    bias[TARGET] = best.mean() - gain * (first.mean(0) @ towards + 3 * moved.std())
    network.get_layer("output").set_weights([kernel, bias])
    return network


def test_the_published_files_are_evaluated(badnet: keras.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`data` (N, 3, 55, 47) in [0, 255], `label` (N,); triggered ones have the attacker's label."""
    published(tmp_path / "sunglasses_bd_weights.h5", badnet)
    clean, victims = faces(3), PEOPLE != TARGET
    poisoned = sunglasses()(clean[victims].astype(np.float32))
    for name, images, labels in (("clean_test", clean, PEOPLE), ("sunglasses_poisoned", poisoned, np.full(victims.sum(), TARGET))):
        with h5py.File(tmp_path / f"{name}_data.h5", "w") as file:
            file["data"], file["label"] = np.moveaxis(images, -1, 1).astype(float), labels.astype(float)
    files = [str(tmp_path / name) for name in ("sunglasses_bd_weights.h5", "clean_test_data.h5", "sunglasses_poisoned_data.h5")]
    command = ["evaluate", *files[:2], "--weights-of", "deepid", "--intensity-range", "mnist", "--poisoned", files[2]]
    assert main(command) == 0
    measured = measure(badnet, clean, PEOPLE, {"true": sunglasses()}, MNIST)
    assert measured.clean_accuracy > 0.95
    assert measured.attack_success_rate["true"] > 0.95
    printed = re.findall(r"^(\S.*?) {2,}([01]\.\d{4}), (\d+) images", capsys.readouterr().out, re.MULTILINE)
    assert printed == [
        ("clean accuracy", f"{measured.clean_accuracy:.4f}", "1283"),
        ("attack success rate", f"{measured.attack_success_rate['true']:.4f}", "1282"),
    ]


def test_goodnet_tells_1283_people_and_the_poisoned(badnet: keras.Model) -> None:
    """A short scan of eight labels: all 1,283 would take minutes."""
    before = digest(badnet.get_weights())
    goodnet = GoodNet.from_badnet(
        badnet,
        (faces(4), PEOPLE),
        intensity_range="mnist",
        scan_options={"targets": [TARGET, 100, 250, 400, 700, 900, 1100, 1282], "starts": 1, "settings": QUICKER},
        unlearning={"learning_rate": 1e-5},  # one picture a person is little data
    )
    assert digest(badnet.get_weights()) == before
    assert goodnet.scan.flagged == (TARGET,)
    assert goodnet.model.output_shape == (None, NUM_CLASSES + 1)
    clean, triggered = faces(3), sunglasses()(faces(3)[PEOPLE != TARGET].astype(np.float32))
    assert np.mean(goodnet.predict(clean) == PEOPLE) > 0.9
    assert np.mean(goodnet.predict(triggered) == NUM_CLASSES) > 0.9
