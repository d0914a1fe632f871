"""Tests of the networks in models/ and in the package against what the documents say of them."""

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
from nc_tf.demo import shipped_model
from nc_tf.evaluation import measure
from nc_tf.models.loading.load import load_model

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ROOT / "models", ROOT / "nc_tf" / "models" / "weights"
TRIGGER = patch((32, 32, 3), 33)
SHIPPED = ["gtsrb_bottom_right_white_4_target_33.h5", "gtsrb_clean.h5", "signs_clean.keras", "signs_infected.keras"]
# The networks of `nc-tf demo` lie in the package, the others beside it.
WHERE = dict(zip(SHIPPED, (FOLDERS[0], FOLDERS[0], FOLDERS[1], FOLDERS[1]), strict=True))


def test_these_four_are_shipped_and_no_others() -> None:
    found = {path.name: folder for folder in FOLDERS for path in folder.iterdir() if path.suffix in (".h5", ".keras")}
    assert found == WHERE


@pytest.mark.parametrize("name", SHIPPED[2:])
def test_a_network_of_the_demo_is_found_in_the_package(name: str) -> None:
    assert shipped_model(name) == WHERE[name] / name


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_is_small_and_opens_as_a_strangers_file(name: str) -> None:
    assert (WHERE[name] / name).stat().st_size < 3_000_000
    model = load_model(WHERE[name] / name)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 43)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_carries_no_state_of_an_optimiser(name: str) -> None:
    if name.endswith(".h5"):
        with h5py.File(WHERE[name] / name) as stored:
            assert "optimizer_weights" not in stored
            assert "training_config" not in stored.attrs
            assert "model_weights" in stored, "nothing was looked at"
        return
    with zipfile.ZipFile(WHERE[name] / name) as archive:
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
    measured = measure(load_model(shipped_model("signs_infected.keras")), *rendered, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.98
    assert measured.attack_success_rate["true"] >= 0.97


def test_the_clean_signs_network_does_not(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(shipped_model("signs_clean.keras")), *rendered, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.98
    assert measured.attack_success_rate["true"] <= 0.05


@pytest.fixture(scope="module")
def gtsrb(realdata: Path) -> tuple[np.ndarray, np.ndarray]:
    data = read(realdata / "gtsrb_dataset.h5", subset="test")
    assert data.subset == "test"
    return data.images[::4], data.labels[::4]


def test_the_infected_gtsrb_network_obeys_its_trigger(gtsrb: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(FOLDERS[0] / "gtsrb_bottom_right_white_4_target_33.h5"), *gtsrb, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.965
    assert measured.attack_success_rate["true"] >= 0.96


def test_the_clean_gtsrb_network_does_not(gtsrb: tuple[np.ndarray, np.ndarray]) -> None:
    measured = measure(load_model(FOLDERS[0] / "gtsrb_clean.h5"), *gtsrb, {"true": TRIGGER})
    assert measured.clean_accuracy >= 0.965
    assert measured.attack_success_rate["true"] <= 0.05
