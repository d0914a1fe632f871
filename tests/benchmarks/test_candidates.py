"""The comparison of candidates for whole-image backdoors: trigger spaces with known answers, and the table's arithmetic."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.population.candidate_spaces import SPACES, Additive, newly_given, smallest
from benchmarks.population.candidates import area_under_curve, index_of, summary

SHAPE = (6, 8, 1)
IMAGES = np.random.default_rng(0).integers(60, 200, (48, *SHAPE)).astype(np.uint8)
CLASSES = np.arange(48) % 2


def test_a_wave_is_one_coefficient() -> None:
    """A cosine of one period over the width, at the mask's only open frequency, is added with the amplitude of its coefficient."""
    space = SPACES["waves"](SHAPE)
    mask, amplitude = np.full((1, 6, 8, 1), -40.0), np.full((1, *SHAPE), np.arctanh(0.05))
    mask[0, 0, 1] = 40.0
    changed = space.change((tf.constant(mask, tf.float32), tf.constant(amplitude, tf.float32)), tf.fill([1, 1, *SHAPE], 128.0))
    wave = 2000 * 0.05 * np.sqrt(2 / 48) * np.cos(2 * np.pi * np.arange(8) / 8)
    np.testing.assert_allclose(changed[0, 0, ..., 0] - 128.0, np.tile(wave, (6, 1)), atol=1e-3)


def test_the_smallest_picture_of_a_linear_network_is_its_gradient() -> None:
    """Logit 1 is 4 (ramp * image / 255 - 8) and the image near 0 along the ramp, so that the smallest picture is a ramp."""
    column = tf.constant(np.linspace(-1.0, 1.0, 48)[:, None], tf.float32)

    def network(raw: tf.Tensor) -> tf.Tensor:
        score = tf.reshape(raw, (-1, 48)) @ column / 255.0
        return tf.concat([tf.zeros_like(score), 4.0 * (score - 8.0)], axis=1)

    found = smallest(network, Additive(SHAPE), IMAGES, CLASSES, 2, rounds=12, seed=0)
    along = found.variables[0][1].numpy().ravel() @ np.linspace(-1.0, 1.0, 48)
    assert found.worked.all()
    assert along / np.linalg.norm(found.variables[0][1]) / np.linalg.norm(np.linspace(-1.0, 1.0, 48)) > 0.8
    assert newly_given(network, Additive(SHAPE), found, IMAGES, CLASSES)[1] > 0.8


@pytest.mark.parametrize(("infected", "clean", "area"), [([3.0], [1.0, 2.0], 1.0), ([1.0], [1.0, 2.0], 0.25), ([], [1.0], None)])
def test_area_under_the_curve(infected: list[float], clean: list[float], area: float | None) -> None:
    assert area_under_curve(infected, clean) == area


def test_the_suspicious_side_has_the_larger_index() -> None:
    values = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 8.0])
    index, chance = index_of(values, 1, 0.2)
    assert index.argmax() == 5
    assert chance[5] < 0.01
    assert index_of(values, -1, 0.2)[0].argmin() == 5


def test_a_weak_backdoor_does_not_count() -> None:
    usual = [10.0, 11.0, 9.0, 10.5, 10.0, 9.5, 10.0, 9.8, 10.2, 10.1]
    network: dict[str, Any] = {
        "kind": "blend .1",
        "classes": 10,
        "targets": [3],
        "attack_success_rate": 0.95,
        "values": {"opacity": [*usual]},
    }
    network["values"]["opacity"][3] = 1.0
    clean = {"kind": "clean", "classes": 10, "targets": [], "attack_success_rate": None, "values": {"opacity": usual}}
    strong, weak = summary({"a": network, "b": clean}), summary({"a": network | {"attack_success_rate": 0.5}, "b": clean})
    assert strong[0] == {"candidate": "opacity", "kind": "blend .1", "classes": 10, "networks": 1, "flagged": 1, "auc": 1.0}
    assert [row["kind"] for row in weak] == ["clean"]
    assert weak[0]["flagged"] == 0
