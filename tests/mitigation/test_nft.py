"""NFT: the masked layers, the bounds of the masks, and that only masks are trained."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES
from planted import TEST, TRAIN
from quick import digest, small_network

from nc_tf.errors import InputError
from nc_tf.mitigation import nft as module
from nc_tf.mitigation.nft import MaskedNetwork, mixup, nft
from nc_tf.models.networks.residual import small_resnet
from nc_tf.results import Mitigation

QUICKLY: dict[str, Any] = {"test": TEST, "fraction": 0.2, "steps": 60, "batch_size": 32, "verbose": 0}


def normalised() -> keras.Model:
    """Return a small trained network with two BatchNormalizations, one of them nested."""
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((64,)), layers.Dense(16, use_bias=False), layers.BatchNormalization(name="inner")], name="nest")
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 2, strides=2, use_bias=False),
            layers.BatchNormalization(name="outer"),
            layers.ReLU(),
            layers.Flatten(),
            inner,
            layers.ReLU(),
            layers.Dense(NUM_CLASSES, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(TRAIN[0].astype(np.float32), TRAIN[1], epochs=4, verbose=0)
    return model


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return normalised()


@pytest.fixture(scope="module")
def purified(network: keras.Model) -> Mitigation:
    return nft(network, *TRAIN, **QUICKLY)


@pytest.mark.slow
def test_only_scales_and_moving_averages_change(network: keras.Model, purified: Mitigation) -> None:
    changed = [
        variable.name
        for variable, before in zip(purified.model.weights, network.get_weights(), strict=True)
        if not np.array_equal(np.asarray(variable), before)
    ]
    assert sorted(changed) == ["gamma", "gamma", "moving_mean", "moving_mean", "moving_variance", "moving_variance"]
    assert purified.after.clean_accuracy > 0.9


def test_the_folded_scales_are_mask_times_scale_within_the_bounds(network: keras.Model, purified: Mitigation) -> None:
    rows = purified.details["masks"]
    assert [row["layer"] for row in rows] == ["outer", "inner"]
    for number, (row, layer) in enumerate(zip(rows, ("outer", "inner"), strict=True), 1):
        before, after = (_gamma(model, layer) for model in (network, purified.model))
        masks = after / before
        assert masks.min() == pytest.approx(row["smallest"], abs=1e-5)
        assert masks.mean() == pytest.approx(row["mean"], abs=1e-5)
        assert 0.8 * np.exp(-0.5 * number) - 1e-6 <= masks.min()
        assert masks.max() <= 1 + 1e-6
    assert rows[0]["mean"] < 1, "nothing was trained"


def _gamma(model: keras.Model, name: str) -> np.ndarray:
    (layer,) = (layer for layer in model._flatten_layers() if layer.name == name)
    return np.asarray(layer.gamma)


@pytest.mark.slow
def test_the_model_passed_in_is_not_changed(network: keras.Model) -> None:
    before = digest(network.get_weights())
    nft(network, *TRAIN, **QUICKLY)
    assert digest(network.get_weights()) == before


@pytest.mark.slow
def test_the_same_seed_purifies_the_same_way(network: keras.Model, purified: Mitigation) -> None:
    again, other = nft(network, *TRAIN, **QUICKLY), nft(network, *TRAIN, seed=1, **QUICKLY)
    np.testing.assert_allclose(_gamma(again.model, "outer"), _gamma(purified.model, "outer"), atol=1e-5)
    assert not np.allclose(_gamma(other.model, "outer"), _gamma(purified.model, "outer"), atol=1e-5)


def test_without_normalisation_the_kernels_of_hidden_layers_are_masked() -> None:
    model = small_network()
    found = nft(model, *TRAIN, **QUICKLY)
    assert [row["layer"] for row in found.details["masks"]] == [model.layers[-2].name]
    (kernel, *rest), (before, *same) = found.model.get_weights(), model.get_weights()
    assert (np.ptp(kernel / before, axis=0) < 1e-5).all(), "not one value a channel"
    assert not np.allclose(kernel, before)
    for one, other in zip(rest, same, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_strong_pull_keeps_the_masks_at_one_and_none_lets_them_go(network: keras.Model) -> None:
    bound = nft(network, *TRAIN, **QUICKLY, regularization=1e3).details["masks"]
    free = nft(network, *TRAIN, **QUICKLY, regularization=0.0).details["masks"]
    assert free[0]["mean"] < bound[0]["mean"]
    assert bound[0]["mean"] > 0.9


@pytest.mark.slow
def test_the_pull_is_divided_by_the_images_of_a_class(monkeypatch: pytest.MonkeyPatch, network: keras.Model) -> None:
    heard = []

    class Listening(MaskedNetwork):
        def __init__(self, network: keras.Model, pull: float, *rest: Any) -> None:
            heard.append(pull)
            super().__init__(network, pull, *rest)

    monkeypatch.setattr(module, "MaskedNetwork", Listening)
    nft(network, *TRAIN, **{**QUICKLY, "steps": 1})
    assert heard == [pytest.approx(0.001 / (120 / NUM_CLASSES))]


@pytest.mark.slow
def test_the_loss_is_cross_entropy_and_the_pull() -> None:
    model = normalised()
    masked = MaskedNetwork(model, 0.5, 0.8, 0.5)
    images = TRAIN[0][:8].astype(np.float32)
    np.testing.assert_allclose(masked(images, training=False), model(images, training=False), rtol=1e-5)
    for mask in masked.trainable_variables:
        mask.assign(tf.fill(mask.shape, 0.75))
    assert [tuple(mask.shape) for mask in masked.trainable_variables] == [(4,), (16,)]
    masked(images, training=True)
    assert float(masked.losses[0]) == pytest.approx(0.5 * 0.25 * 20)


def test_layers_are_numbered_in_the_networks_order_nested_ones_too() -> None:
    base = keras.Sequential(
        [keras.Input(IMAGE_SHAPE)]
        + [part for name in ("one", "two") for part in (layers.Conv2D(4, 2, name=f"conv_{name}"), layers.BatchNormalization(name=name))]
    )
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), base, layers.Flatten(), layers.Dense(NUM_CLASSES, name="head")])
    assert [name for name, _ in module._channels(model)] == ["one", "two"]
    plain = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Rescaling(1.0), small_network()])
    assert [name for name, _ in module._channels(plain)] == [small.name for small in plain.layers[-1].layers if "dense" in small.name][:1]


@pytest.mark.slow
def test_a_frozen_network_is_purified_and_stays_frozen() -> None:
    model = normalised()
    model.get_layer("outer").trainable = False
    found = nft(model, *TRAIN, **QUICKLY)
    assert [row["layer"] for row in found.details["masks"]] == ["outer", "inner"]
    assert [layer.name for layer in found.model.layers if not layer.trainable] == ["outer"]


def pooled() -> keras.Model:
    """Return a feature network with one BatchNormalization."""
    stack = [layers.Rescaling(1 / 255), layers.Conv2D(4, 2), layers.BatchNormalization(name="inner"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input(IMAGE_SHAPE), *stack])


def clips(frames: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return clips of one repeated image, (60, T, H, W, C)."""
    return np.repeat(TRAIN[0][:60, None], frames, axis=1), TRAIN[1][:60]


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["nothing", "the whole", "the first layer"])
@pytest.mark.parametrize("video", [False, True])
def test_what_nested_models_and_wrappers_hold_is_masked_frozen_or_not(frozen: str, video: bool) -> None:
    first = [layers.TimeDistributed(pooled()), layers.GlobalAveragePooling1D()] if video else [pooled()]
    data = clips() if video else (TRAIN[0][:60], TRAIN[1][:60])
    model = keras.Sequential([keras.Input(data[0].shape[1:]), *first, layers.Dense(NUM_CLASSES, activation="softmax")])
    if frozen != "nothing":
        (model if frozen == "the whole" else model.layers[0]).trainable = False
    before = len(model.trainable_variables)
    found = nft(model, *data, test=data, fraction=1.0, steps=3, batch_size=16, verbose=0)
    assert [row["layer"] for row in found.details["masks"]] == ["inner"]
    assert found.details["masks"][0]["mean"] < 1
    assert len(found.model.trainable_variables) == before


@pytest.mark.slow
def test_logits_and_a_residual_network_are_purified_too() -> None:
    model = small_resnet(NUM_CLASSES, IMAGE_SHAPE)
    model.layers[-1].activation = keras.activations.linear
    logits = keras.Model.from_config(model.get_config())
    logits.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logits.fit(TRAIN[0].astype(np.float32), TRAIN[1], epochs=3, verbose=0)
    found = nft(logits, *TRAIN, **QUICKLY)
    assert len(found.details["masks"]) == 7
    assert (np.asarray(found.model(TEST[0].astype(np.float32))) < 0).any()


@pytest.mark.slow
def test_one_image_a_class_is_enough_to_run() -> None:
    images, labels = TRAIN[0][:NUM_CLASSES], TRAIN[1][:NUM_CLASSES]
    found = nft(normalised(), images, labels, **{**QUICKLY, "fraction": 1.0})
    assert found.settings["images"] == NUM_CLASSES
    assert found.after.clean_accuracy > 0.8


# MixUp


def test_mixup_mixes_images_and_labels_alike() -> None:
    images, labels = tf.reshape(tf.range(12.0), (6, 2)), tf.one_hot(tf.range(6), 6)
    mixed, targets = mixup(images, labels, tf.constant([0, 3], tf.int64))
    np.testing.assert_allclose(tf.reduce_sum(targets, 1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(targets @ images, mixed, rtol=1e-5)
    weights = np.sort(targets.numpy(), axis=1)[:, -2:]
    mixing = weights[weights[:, 0] > 0]
    assert len(mixing)
    np.testing.assert_allclose(mixing, np.broadcast_to(mixing[0], mixing.shape), rtol=1e-5)


@pytest.mark.slow
def test_another_mix_takes_its_place(network: keras.Model) -> None:
    seen: list[tuple[int, ...]] = []

    def unmixed(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seen.append(tuple(images.shape))
        return images, labels

    nft(network, *TRAIN, **{**QUICKLY, "steps": 1}, mix=unmixed)
    assert seen == [(32, *IMAGE_SHAPE)]


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "0 steps, batch size 32, learning rate 0.05: expected 1 or more"),
        ({"batch_size": 0}, "batch size 0"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"regularization": -1.0}, "regularization -1.0, alpha 0.8, beta 0.5: expected 0 or more, and alpha at most 1"),
        ({"alpha": 1.1}, "alpha 1.1"),
        ({"beta": float("inf")}, "beta inf"),
        ({"fraction": 2.0}, "fraction 2.0"),
    ],
)
def test_bad_settings_are_refused(network: keras.Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nft(network, *TRAIN, **{**QUICKLY, **options})


def test_a_network_with_nothing_to_mask_is_refused() -> None:
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(6)])
    with pytest.raises(InputError, match="nothing to mask: expected BatchNormalization, or a hidden Conv2D or Dense layer"):
        nft(model, *TRAIN, **QUICKLY)
