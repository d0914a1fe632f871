"""The original's class: its signature, the generators it takes, its printed lines, its files and its results."""

import functools
import inspect
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images, corner_network, linear_network, smallest_norm
from PIL import Image

from nc_tf.errors import InputError
from nc_tf.preprocessing import preprocessing
from nc_tf.visualizer import Visualizer

IMAGES, LABELS = corner_images(24, seed=1)
BATCHES = [(part.astype(np.float32), None) for part in np.split(IMAGES, 3)]
MASK, PATTERN = np.random.default_rng(1).random((8, 8)), np.random.default_rng(2).random(IMAGE_SHAPE) * 255
POSITIONAL = """
    model intensity_range regularization input_shape init_cost steps mini_batch lr num_classes upsample_size attack_succ_threshold
    patience cost_multiplier reset_cost_to_zero mask_min mask_max color_min color_max img_color shuffle batch_size verbose return_logs
    save_last epsilon early_stop early_stop_threshold early_stop_patience save_tmp tmp_dir raw_input_flag
""".split()  # noqa: SIM905 - thirty-one quoted names would not be easier to read


def visualizer(model: keras.Model | None = None, **changed: Any) -> Visualizer:
    settings: dict[str, Any] = {
        "intensity_range": "raw",
        "regularization": "l1",
        "input_shape": IMAGE_SHAPE,
        "init_cost": 1e-2,
        "steps": 3,
        "mini_batch": 2,
        "lr": 0.2,
        "num_classes": NUM_CLASSES,
        "verbose": 0,
    }
    return Visualizer(corner_network(2) if model is None else model, **(settings | changed))


def batches() -> Iterator[Any]:
    return itertools.cycle(BATCHES)


def run(one: Visualizer, gen: Any = None, label: int = 2) -> Any:
    return one.visualize(gen=batches() if gen is None else gen, y_target=label, pattern_init=PATTERN, mask_init=MASK)


@functools.cache
def shared() -> Visualizer:
    """One for all tests of generators: a second call starts afresh, so they do not notice each other."""
    return visualizer()


@functools.cache
def reference() -> Any:
    """What the shared one finds with the plain iterator."""
    return run(shared())


def assert_same(one: Any, other: Any, atol: float = 1e-6) -> None:
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4 if atol > 1e-6 else 1e-6, atol=atol)


def test_the_signature_is_the_originals() -> None:
    parameters = inspect.signature(Visualizer).parameters
    assert [name for name, one in parameters.items() if one.kind is not inspect.Parameter.KEYWORD_ONLY] == POSITIONAL
    defaults = {name: parameters[name].default for name in POSITIONAL[9:]}
    assert defaults == {
        "upsample_size": 1, "attack_succ_threshold": 0.99, "patience": 10, "cost_multiplier": 1.5, "reset_cost_to_zero": True,
        "mask_min": 0, "mask_max": 1, "color_min": 0, "color_max": 255, "img_color": 3, "shuffle": True, "batch_size": 32, "verbose": 1,
        "return_logs": True, "save_last": False, "epsilon": 1e-7, "early_stop": True, "early_stop_threshold": 0.99,
        "early_stop_patience": 20, "save_tmp": False, "tmp_dir": "tmp", "raw_input_flag": False,
    }  # fmt: skip


def test_every_keyword_is_taken_and_reaches_the_search(tmp_path: Path) -> None:
    one = Visualizer(
        model=corner_network(2), intensity_range="mnist", regularization="l2", input_shape=IMAGE_SHAPE, init_cost=0.5, steps=7,
        mini_batch=3, lr=0.4, num_classes=6, upsample_size=2, attack_succ_threshold=0.8, patience=4, cost_multiplier=2.5,
        reset_cost_to_zero=False, mask_min=0.1, mask_max=0.9, color_min=10, color_max=200, img_color=3, shuffle=False, batch_size=5,
        verbose=2, return_logs=False, save_last=True, epsilon=1e-6, early_stop=False, early_stop_threshold=0.7, early_stop_patience=9,
        save_tmp=True, tmp_dir=str(tmp_path), raw_input_flag=True, loss="cross_entropy", precision="float32",
    )  # fmt: skip
    inner, cost = one.inversion.settings, one.inversion.settings.cost
    assert (inner.loss, inner.regularization, inner.learning_rate, inner.batches_per_round) == ("cross_entropy", "l2", 0.4, 3)
    assert (inner.max_rounds, inner.save_last, inner.batch_size) == (7, True, 5)
    assert (cost.init_cost, cost.multiplier, cost.patience, cost.threshold, cost.reset_cost_to_zero) == (0.5, 2.5, 4, 0.8, False)
    assert (cost.early_stop, cost.early_stop_threshold, cost.early_stop_patience) == (False, 0.7, 9)
    assert (one.inversion.space.upsample_size, one.inversion.space.epsilon) == (2, 1e-6)
    assert (one.mask_range, one.color_range, one.preprocess.name) == ((0.1, 0.9), (10, 200), "mnist")


def test_the_start_is_clipped() -> None:
    """Mask within [.3, .4] and colours within [100, 110]; one round of a tiny learning rate leaves them there."""
    one = visualizer(mask_min=0.3, mask_max=0.4, color_min=100, color_max=110, lr=1e-6, steps=1)
    pattern, mask, _, _ = run(one)
    assert (mask.min(), mask.max()) == (pytest.approx(0.3, abs=1e-4), pytest.approx(0.4, abs=1e-4))
    assert (pattern.min(), pattern.max()) == (pytest.approx(100, abs=0.01), pytest.approx(110, abs=0.01))


def test_the_original_calls_it_by_position_and_the_defaults_work() -> None:
    """`COST_MULTIPLIER = 1.5,` of the original is a tuple, and crashes once the cost moves: here it moves."""
    one = Visualizer(corner_network(2), "raw", "l1", IMAGE_SHAPE, 1e-3, 45, 1, 0.2, 6)
    logs = run(one)[3]
    costs = [row[6] for row in logs]
    assert costs[0] == 0
    assert any(1.4e-3 < cost < 1.6e-3 for cost in costs)


@pytest.mark.slow
def test_the_planted_backdoor_is_found() -> None:
    one = visualizer(steps=100, patience=3, early_stop=False)
    pattern, mask, upsampled, logs = run(one)
    best = smallest_norm(IMAGES, 2)
    assert 0.95 * best <= upsampled.sum() <= 1.25 * best
    assert upsampled[6:, 6:].sum() > 0.9 * upsampled.sum()
    assert logs[-1][5] == pytest.approx(min(row[2] for row in logs if row[4] >= 0.99))
    assert (pattern.shape, mask.shape, len(logs)) == (IMAGE_SHAPE, (8, 8), 100)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["linear", "cross_entropy"])
def test_the_mask_moves(loss: str) -> None:
    """Another toolbox resets its optimiser by zeroing all its variables, the learning rate too: nothing moves there."""
    one = visualizer(loss=loss)
    for _ in range(2):  # the second call is the one after the reset
        pattern, mask, _, _ = run(one)
        assert np.abs(mask - MASK).mean() > 0.05
        assert np.abs(pattern - PATTERN).mean() > 5


def test_a_second_call_starts_afresh() -> None:
    one = visualizer(steps=6, patience=1)
    first = run(one)
    other = run(one, label=1)
    assert not np.allclose(first[1], other[1], atol=1e-3)
    assert_same(run(one), first)


@pytest.mark.slow
def test_what_is_returned() -> None:
    model = corner_network(2)
    for size, coarse in ((1, (8, 8)), (3, (3, 3))):
        one = visualizer(model, upsample_size=size)
        start = np.random.default_rng(3).random(coarse)
        pattern, mask, upsampled, logs = one.visualize(batches(), 2, PATTERN, start)  # type: ignore[misc]
        assert (pattern.shape, mask.shape, upsampled.shape) == (IMAGE_SHAPE, coarse, (8, 8))
        np.testing.assert_array_equal(np.kron(mask, np.ones((size, size)))[:8, :8], upsampled)
        assert 0 <= mask.min() <= mask.max() <= 1
        assert 0 <= pattern.min() <= pattern.max() <= 255
        assert len(logs) == 3
    assert len(run(visualizer(model, return_logs=False))) == 3


def test_rows_of_the_logs() -> None:
    logs = run(visualizer(steps=4, reset_cost_to_zero=False))[3]
    for number, row in enumerate(logs):
        step, ce, reg, loss, success, reg_best, cost = row
        assert isinstance(step, int)
        assert all(isinstance(value, float) for value in row[1:])
        assert step == number
        assert loss == pytest.approx(ce + cost * reg, rel=1e-5)
        assert cost == pytest.approx(1e-2)
        assert 0 <= success <= 1
        assert reg_best == min([other[2] for other in logs[: number + 1] if other[4] >= 0.99], default=float("inf"))
    assert logs[0][2] == pytest.approx(MASK.sum(), rel=0.2)


@pytest.mark.slow
def test_save_last_returns_the_last() -> None:
    changed = {"steps": 30, "init_cost": 0.1, "patience": 4, "early_stop": False}
    best, last = run(visualizer(**changed)), run(visualizer(**changed, save_last=True))
    assert [row[:5] for row in best[3]] == [row[:5] for row in last[3]]
    assert not np.array_equal(best[2], last[2])
    assert best[3][-1][5] < best[3][-1][2]  # the last round is not the best one


# -- generators ------------------------------------------------------------------------------------------------------------------------


class WithNext:
    """What Keras 2's `ImageDataGenerator.flow` returned: neither iterator protocol nor length."""

    def __init__(self) -> None:
        self.batches = batches()

    def next(self) -> Any:
        return next(self.batches)


class Data(keras.utils.PyDataset):
    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, position: int) -> Any:
        return BATCHES[position][0], np.zeros(8)

    def on_epoch_end(self) -> None:
        self.ended += 1


def tf_data() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((IMAGES.astype(np.float32), LABELS)).batch(8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "gen",
    [WithNext, Data, tf_data, lambda: (images for images, _ in batches()), lambda: [images for images, _ in BATCHES], lambda: BATCHES],
    ids=["next", "PyDataset", "tf.data", "bare arrays", "list of arrays", "list of tuples"],
)
def test_every_kind_of_generator_gives_the_same(gen: Any) -> None:
    """Three rounds of two batches: the three batches come around twice."""
    assert_same(run(shared(), gen()), reference())


def test_a_dataset_is_told_that_its_epoch_ended() -> None:
    data = Data()
    run(shared(), data)
    assert data.ended == 1  # the fourth of six batches follows it


def test_a_short_last_batch_is_filled_up() -> None:
    """Batches of 8 and 4 are minibatches of 8 all the same, in the order of the images."""
    flat = np.concatenate([images for images, _ in BATCHES])
    uneven = itertools.cycle([flat[:8], flat[8:12], flat[12:20], flat[20:]])
    assert_same(run(shared(), uneven), reference())


def test_single_images_are_gathered_into_batches() -> None:
    flat = np.concatenate([images for images, _ in BATCHES])
    assert_same(run(visualizer(batch_size=8), itertools.cycle(flat[:, None])), reference())


@pytest.mark.slow
@pytest.mark.parametrize("range_", ["mnist", "inception", "imagenet"])
def test_preprocessed_images_and_raw_ones_with_the_flag(range_: str) -> None:
    rng = np.random.default_rng(4)
    model = linear_network(rng.normal(0, 0.02, (192, 6)), np.zeros(6), IMAGE_SHAPE)
    prepared = itertools.cycle([preprocessing(range_)(images) for images, _ in BATCHES])
    given = run(visualizer(model, intensity_range=range_), prepared)
    raw = run(visualizer(model, intensity_range=range_, raw_input_flag=True), itertools.cycle(np.split(IMAGES, 3)))
    assert_same(given[1:], raw[1:], atol=2e-3)
    np.testing.assert_allclose(given[0], raw[0], atol=0.5)


@pytest.mark.parametrize("finite", [lambda: iter(BATCHES[:2]), lambda: iter([]), list, lambda: tf_data().take(0)])
def test_a_generator_that_ends_too_early_is_refused(finite: Any) -> None:
    with pytest.raises(InputError, match=r"the generator ended before the search did: expected one that repeats"):
        run(shared(), finite())


def test_what_is_no_generator_is_refused() -> None:
    with pytest.raises(InputError, match=r"a generator of type int: expected next\(\), an iterator, a PyDataset or a tf\.data\.Dataset"):
        run(shared(), 7)


@pytest.mark.parametrize("shape", [(8, 8, 3), (4, 9, 8, 3), (4, 8, 8, 1), (0, 8, 8, 3)])
def test_a_generator_of_other_shapes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"the generator yields {re.escape(str(shape))}: expected batches \(B, 8, 8, 3\)"):
        run(shared(), itertools.cycle([np.zeros(shape)]))


# -- what it prints and writes ---------------------------------------------------------------------------------------------------------

LINE = re.compile(
    r"step: +(\d+), cost: \d\.\d\dE[+-]\d\d, attack: [01]\.\d{3}, loss: [\d.]+, ce: [\d.]+, reg: [\d.]+, reg_best: (inf|[\d.]+)"
)


@pytest.mark.slow
@pytest.mark.parametrize(("verbose", "steps"), [(0, []), (1, list(range(0, 20, 2))), (2, list(range(20)))])
def test_printed_lines(capsys: pytest.CaptureFixture[str], verbose: int, steps: list[int]) -> None:
    run(visualizer(verbose=verbose, steps=20, mini_batch=1))
    found = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert None not in found
    assert [int(match[1]) for match in found if match] == steps


@pytest.mark.slow
def test_intermediate_masks_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "tmp"
    _, mask, _, _ = run(visualizer(save_tmp=True, tmp_dir=folder, save_last=True, steps=2))
    names = [f"tmp_{kind}_step_{step}.png" for kind in ("mask", "fusion") for step in range(2)]
    assert sorted(os.listdir(folder)) == sorted(names)
    np.testing.assert_allclose(np.asarray(Image.open(folder / "tmp_mask_step_1.png")), 255 * mask, atol=1)
    assert np.asarray(Image.open(folder / "tmp_fusion_step_1.png")).shape == IMAGE_SHAPE


@pytest.mark.slow
def test_nothing_is_written_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(visualizer(steps=1))
    assert os.listdir(tmp_path) == []


# -- bad input -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"img_color": 1}, r"1 colours, 6 classes: expected those of the input shape \(8, 8, 3\) and of the model, 6 classes"),
        ({"num_classes": 43}, r"3 colours, 43 classes: .* the model, 6 classes; correct img_color or num_classes"),
        ({"input_shape": (9, 8, 3)}, r"input shape \(9, 8, 3\): expected \(8, 8, 3\), the model's"),
        ({"intensity_range": "caffe"}, r"intensity range 'caffe'"),
        ({"regularization": "l0"}, r"regularization 'l0'"),
        ({"upsample_size": 9}, r"upsample size 9"),
        ({"init_cost": 0}, r"init cost 0"),
        ({"steps": 0}, r"rounds 0"),
        ({"mini_batch": 0}, r"batches a round 0"),
        ({"lr": 0}, r"learning rate 0"),
        ({"attack_succ_threshold": 99}, r"success threshold 99"),
        ({"loss": "hinge"}, r"loss 'hinge'"),
        ({"precision": "float64"}, r"precision 'float64'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        visualizer(**changed)


@pytest.mark.parametrize("label", [-1, 6])
def test_a_label_that_the_model_has_not_is_refused(label: int) -> None:
    with pytest.raises(InputError, match=rf"y_target {label}: expected 0 to 5; choose one of the model's classes"):
        run(shared(), label=label)


def test_a_start_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"mask \(8, 8\) and pattern \(8, 8, 3\): expected \(4, 4\) and \(8, 8, 3\)"):
        run(visualizer(upsample_size=2))


@pytest.mark.slow
def test_logits_of_an_unusual_size_are_brought_to_a_usual_one_by_the_first_images() -> None:
    model = corner_network(2)
    *others, kernel, bias = model.get_weights()
    model.set_weights([*others, 1024.0 * kernel, bias])
    one = visualizer(model)
    *_, logs = run(one)
    assert one.network.logit_scale == 2.0**-8
    assert logs[-1][4] == 1.0


def test_a_network_without_a_gradient_is_refused() -> None:
    image = keras.Input(IMAGE_SHAPE)
    hard = keras.ops.one_hot(keras.ops.argmax(corner_network(2)(image), -1), NUM_CLASSES)
    with pytest.raises(InputError, match=r"no gradient of the model.s answers .*: expected a differentiable classifier; search"):
        run(visualizer(keras.Model(image, hard)))
