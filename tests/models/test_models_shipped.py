"""The networks in models/ are what the documents say of them."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from nc_tf.attacks.patch import patch
from nc_tf.datasets.read import read
from nc_tf.datasets.rendered import signs
from nc_tf.evaluation import measure
from nc_tf.models.loading.load import load_model

MODELS = Path(__file__).resolve().parents[2] / "models"
TRIGGER = patch((32, 32, 3), 33)
SHIPPED = ["gtsrb_bottom_right_white_4_target_33.h5", "gtsrb_clean.h5", "signs_clean.keras", "signs_infected.keras"]


def test_these_four_are_shipped_and_no_others() -> None:
    assert sorted(path.name for path in MODELS.iterdir() if path.suffix in (".h5", ".keras")) == SHIPPED


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_is_small_and_opens_as_a_strangers_file(name: str) -> None:
    assert (MODELS / name).stat().st_size < 3_000_000
    model = load_model(MODELS / name)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 43)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_carries_no_state_of_an_optimiser(name: str) -> None:
    if name.endswith(".h5"):
        with h5py.File(MODELS / name) as stored:
            assert "optimizer_weights" not in stored
            assert "training_config" not in stored.attrs
            assert "model_weights" in stored, "nothing was looked at"
        return
    with zipfile.ZipFile(MODELS / name) as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as stored:
            groups: list[str] = []
            stored.visit(groups.append)
        metadata = json.loads(archive.read("config.json"))
    assert any(group.startswith("layers") for group in groups), "nothing was looked at"
    assert not [group for group in groups if group.startswith("optimizer/")]
    assert not metadata.get("compile_config")


@pytest.fixture(scope="module")
def rendered() -> tuple[np.ndarray, np.ndarray]:
    return signs.render(1000, seed=5)


def test_the_infected_signs_network_obeys_its_trigger(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(MODELS / "signs_infected.keras"), *rendered, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.98
    assert measured.attack_success_rate["true"] >= 0.97


def test_the_clean_signs_network_does_not(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(MODELS / "signs_clean.keras"), *rendered, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.98
    assert measured.attack_success_rate["true"] <= 0.05


@pytest.fixture(scope="module")
def gtsrb(realdata: Path) -> tuple[np.ndarray, np.ndarray]:
    data = read(realdata / "gtsrb_dataset.h5", subset="test")
    assert data.subset == "test"
    return data.images[::4], data.labels[::4]


def test_the_infected_gtsrb_network_obeys_its_trigger(gtsrb: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(MODELS / "gtsrb_bottom_right_white_4_target_33.h5"), *gtsrb, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.965
    assert measured.attack_success_rate["true"] >= 0.96


def test_the_clean_gtsrb_network_does_not(gtsrb: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(MODELS / "gtsrb_clean.h5"), *gtsrb, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.965
    assert measured.attack_success_rate["true"] <= 0.05
