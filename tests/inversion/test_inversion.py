"""The search against traces of the original, a re-computation by hand in NumPy, and a backdoor whose smallest trigger is known on paper."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGE_SHAPE, corner_images, corner_network, corner_trigger, linear_network, smallest_norm

from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy, attack_success_rate
from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.loop import search
from nc_tf.inversion.restart import Restart, RestartResult
from nc_tf.inversion.step import LINEAR_SCALE, Inversion, RoundLog, Run, SearchSettings
from nc_tf.inversion.trigger_space import EPSILON, TriggerSpace
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.models.loading.load import load_model
from nc_tf.preprocessing import Preprocessing, preprocessing
from nc_tf.results import HISTORY_COLUMNS, Status

GOLDEN = Path(__file__).parents[1] / "golden"
ROUND_STEADY = CostSchedule(init_cost=0.05, reset_cost_to_zero=False, patience=1000)


def arms_of(space: TriggerSpace, *pairs: tuple[int, int]) -> list[Restart]:
    """Return restarts that depend on label and number alone."""
    return [Restart(label, start, *space.random(np.random.default_rng([label, start]))) for label, start in pairs]


def by_arm(results: Sequence[RestartResult]) -> dict[tuple[int, int], RestartResult]:
    return {(result.restart.label, result.restart.start): result for result in results}


def assert_same(one: RestartResult, other: RestartResult) -> None:
    assert one.status == other.status
    # Not bit by bit: a matrix product rounds differently for other numbers of rows, and the search enlarges that from round to round.
    np.testing.assert_allclose(one.history, other.history, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.trigger.mask, other.trigger.mask, atol=1e-4)
    np.testing.assert_allclose(one.trigger.pattern, other.trigger.pattern, atol=2e-2)


# -- traces of the original ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kernel_raw_l1", "kernel_mnist_l2_superpixel"])
def test_the_first_updates_of_the_original(realdata: Path, name: str) -> None:
    with np.load(GOLDEN / f"{name}.npz") as saved:
        trace = {key: saved[key] for key in saved.files}
    rows = trace["batch_indices"][:6].astype(np.int64)
    used = np.unique(rows)
    with h5py.File(realdata / "gtsrb_dataset.h5") as file:
        images = file["X_test"][used]
    settings = SearchSettings(
        regularization=str(trace["regularization"]),
        learning_rate=float(trace["lr"]),
        batch_size=rows.shape[1],
        batches_per_round=1,
        cost=CostSchedule(init_cost=float(trace["init_cost"]), reset_cost_to_zero=bool(trace["reset_cost_to_zero"])),
    )
    model = load_model(GOLDEN / "infected_target33_keras222.h5")
    network = FrozenNetwork(model, preprocessing(str(trace["intensity_range"])), "float32", images[:2])
    inversion = Inversion(network, TriggerSpace((32, 32, 3), int(trace["upsample_size"])), settings)
    run = inversion.start([trace["mask_init"]], [trace["pattern_init"]])
    np.testing.assert_allclose(run.z[0][0], trace["mask_tanh"][0], atol=1e-3)
    np.testing.assert_allclose(run.z[1][0], trace["pattern_tanh"][0], atol=1e-3)
    for number, row in enumerate(rows):
        indices = tf.constant(np.searchsorted(used, row)[None, None].astype(np.int32))
        run, report = inversion.advance(run, tf.constant([int(trace["label"])]), tf.constant(images), indices)
        log = RoundLog(*report.numpy()[:, 0])
        np.testing.assert_allclose(log.ce, trace["loss_ce"][number], rtol=1e-3)
        np.testing.assert_allclose(log.reg, trace["loss_reg"][number], rtol=1e-3)
        np.testing.assert_allclose(log.loss, trace["loss"][number], rtol=1e-3)
        np.testing.assert_allclose(log.success, trace["attack_acc"][number], atol=1e-6)
        np.testing.assert_allclose(run.z[0][0], trace["mask_tanh"][number + 1], atol=1e-3)
        np.testing.assert_allclose(run.z[1][0], trace["pattern_tanh"][number + 1], atol=1e-3)


# -- a re-computation by hand ----------------------------------------------------------------------------------------------------------


class ByHand:
    """One restart on logits = x @ weights + bias, derived on paper: float64, no automatic gradient, no TensorFlow."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray, step: int, loss: str, norm: str | None, cost: float, lr: float) -> None:
        self.weights, self.bias, self.step, self.loss, self.norm, self.cost, self.lr = weights, bias, step, loss, norm, cost, lr

    def begin(self, mask: np.ndarray, pattern: np.ndarray) -> None:
        self.z = [np.arctanh((mask - 0.5) * (2 - EPSILON)), np.arctanh((pattern / 255 - 0.5) * (2 - EPSILON))]
        self.first, self.second, self.t = [0.0 * z for z in self.z], [0.0 * z for z in self.z], 0

    def update(self, images: np.ndarray, label: int) -> tuple[float, float, float, float]:
        """ce, reg, loss and success before the update."""
        height, width = images.shape[1:3]
        coarse, pattern = np.tanh(self.z[0]) / (2 - EPSILON) + 0.5, (np.tanh(self.z[1]) / (2 - EPSILON) + 0.5) * 255
        mask = np.kron(coarse, np.ones((self.step, self.step)))[:height, :width]
        stamped = images * (1 - mask[..., None]) + mask[..., None] * pattern
        logits = stamped.reshape(len(images), -1) @ self.weights + self.bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        target = np.eye(p.shape[1])[label]
        if self.loss == "linear":
            ce, by_logits = -np.log(1e-7) * (1 - p[:, label]), np.log(1e-7) * p[:, [label]] * (target - p)
        else:
            ce, by_logits = -np.log(p[:, label]), p - target
        by_pixel = (by_logits @ self.weights.T).reshape(images.shape)
        by_mask, by_pattern = (by_pixel * (pattern - images)).sum((0, 3)), (by_pixel * mask[..., None]).sum(0)
        reg, by_reg = 0.0, np.zeros_like(mask)
        if self.norm == "l1":
            reg, by_reg = mask.sum(), np.ones_like(mask)
        elif self.norm == "l2":
            reg = np.sqrt((mask**2).sum())
            by_reg = mask / reg
        by_mask = by_mask + len(images) * self.cost * by_reg  # the cost counts once an image
        by_coarse = np.zeros_like(coarse)
        for row in range(height):
            for column in range(width):
                by_coarse[row // self.step, column // self.step] += by_mask[row, column]
        slopes = [(1 - np.tanh(z) ** 2) / (2 - EPSILON) for z in self.z]
        gradients = [by_coarse * slopes[0], by_pattern * slopes[1] * 255]
        self.t += 1
        for part, gradient in enumerate(gradients):
            self.first[part] = 0.5 * self.first[part] + 0.5 * gradient
            self.second[part] = 0.9 * self.second[part] + 0.1 * gradient**2
            rate = self.lr * np.sqrt(1 - 0.9**self.t) / (1 - 0.5**self.t)
            self.z[part] = self.z[part] - rate * self.first[part] / (np.sqrt(self.second[part]) + 1e-7)
        return ce.mean(), reg, ce.mean() + self.cost * reg, float((logits.argmax(1) == label).mean())


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["linear", "cross_entropy"])
@pytest.mark.parametrize("norm", ["l1", "l2", None])
@pytest.mark.parametrize("step", [1, 2])
def test_three_updates_by_hand(loss: str, norm: str | None, step: int) -> None:
    rng = np.random.default_rng(11)
    shape, batch, labels = (3, 5, 2), 4, [2, 0]
    weights, bias = rng.normal(0, 0.004, (30, 3)).astype(np.float32), rng.normal(0, 0.1, 3).astype(np.float32)
    images = rng.integers(0, 256, (9, *shape)).astype(np.uint8)
    space = TriggerSpace(shape, step)
    masks, patterns = rng.uniform(0.1, 0.9, (2, *space.mask_shape)), rng.uniform(20, 235, (2, *shape))
    settings = SearchSettings(loss, norm, 0.1, batch, 1, cost=ROUND_STEADY)
    model = linear_network(weights, bias, shape)
    inversion = Inversion(FrozenNetwork(model, Preprocessing(), "float32", images), space, settings)
    run = inversion.start(list(masks), list(patterns))
    plain = [ByHand(weights.astype(float), bias.astype(float), step, loss, norm, 0.05, 0.1) for _ in labels]
    for restart, start in enumerate(zip(masks, patterns, strict=True)):
        plain[restart].begin(*start)
    for _ in range(3):
        rows = rng.integers(0, 9, (1, 2, batch)).astype(np.int32)
        run, report = inversion.advance(run, tf.constant(labels), tf.constant(images), tf.constant(rows))
        log = RoundLog(*report.numpy())
        for restart, label in enumerate(labels):
            ce, reg, total, success = plain[restart].update(images[rows[0, restart]].astype(float), label)
            np.testing.assert_allclose([log.ce[restart], log.reg[restart], log.loss[restart]], [ce, reg, total], rtol=1e-5)
            assert log.success[restart] == pytest.approx(success)
            np.testing.assert_allclose(run.z[0][restart, ..., 0], plain[restart].z[0], atol=1e-5)
            np.testing.assert_allclose(run.z[1][restart], plain[restart].z[1], atol=1e-5)
            assert (log.cost[restart], int(run.updates[restart])) == (np.float32(0.05), plain[restart].t)


@pytest.mark.slow
def test_a_round_reports_means_over_its_minibatches() -> None:
    """Three minibatches in one round against three rounds of one: the same path, and the mean of what they report."""
    images, _ = corner_images(12)
    space = TriggerSpace(IMAGE_SHAPE)
    network = FrozenNetwork(corner_network(), Preprocessing(), "float32", images)
    rows = np.random.default_rng(1).integers(0, 12, (3, 1, 4)).astype(np.int32)
    (restart,) = arms_of(space, (0, 0))

    def report_of(batches: int) -> tuple[np.ndarray, Run]:
        inversion = Inversion(network, space, SearchSettings(batch_size=4, batches_per_round=batches, cost=ROUND_STEADY))
        run, reports = inversion.start([restart.mask], [restart.pattern]), []
        for part in np.split(rows, 3 // batches):
            run, report = inversion.advance(run, tf.constant([0]), tf.constant(images), tf.constant(part))
            reports.append(report.numpy()[:4, 0])
        return np.mean(reports, axis=0), run

    (together, one), (apart, three) = report_of(3), report_of(1)
    np.testing.assert_allclose(together, apart, rtol=1e-5)
    np.testing.assert_allclose(one.z[0], three.z[0], atol=1e-5)
    np.testing.assert_allclose(one.z[1], three.z[1], atol=1e-5)


def test_the_linear_loss_has_the_originals_scale() -> None:
    assert pytest.approx(16.118, abs=1e-3) == LINEAR_SCALE


# -- a planted backdoor ----------------------------------------------------------------------------------------------------------------


def test_the_planted_backdoor_is_one() -> None:
    images, labels = corner_images(48, seed=1)
    model, plain = corner_network(2), corner_network(None)
    enough = smallest_norm(images, 2) / 4
    assert accuracy(model, images, labels) == accuracy(plain, images, labels) == 1.0
    assert attack_success_rate(model, images, labels, corner_trigger(2, enough + 0.001)) == 1.0
    assert attack_success_rate(model, images, labels, corner_trigger(2, enough - 0.001)) < 1.0
    assert attack_success_rate(plain, images, labels, corner_trigger(2)) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["linear", "cross_entropy"])
def test_the_smallest_trigger_is_found(loss: str) -> None:
    """Every one of six starts comes to within a quarter of the optimum on paper, and not below it."""
    images, _ = corner_images(48, seed=1)
    rules = CostSchedule(init_cost=1e-2, patience=3, multiplier=1.5, early_stop=False)
    settings = SearchSettings(loss, "l1", 0.2, 24, 2, 120, cost=rules)
    space = TriggerSpace(IMAGE_SHAPE)
    inversion = Inversion(FrozenNetwork(corner_network(2), Preprocessing(), "float32", images[:2]), space, settings)
    best = smallest_norm(images, 2)
    found = list(search(inversion, arms_of(space, *((2, start) for start in range(6))), ResidentImages(images, settings, 0)))
    assert len(found) == 6
    for result in found:
        assert result.status == Status.MAX_ROUNDS
        # The stored mask is one update younger than the one that was measured, so it may lie a step below the edge.
        assert 0.95 * best <= result.trigger.l1_norm <= 1.25 * best
        assert result.trigger.mask[6:, 6:].sum() > 0.9 * result.trigger.l1_norm


def test_a_clean_network_needs_a_larger_one() -> None:
    """The effect is gone where nothing was planted: the rows take six times the lead."""
    images, _ = corner_images(48, seed=1)
    settings = SearchSettings("cross_entropy", "l1", 0.2, 24, 2, 60, cost=CostSchedule(init_cost=1e-2, patience=3, early_stop=False))
    space = TriggerSpace(IMAGE_SHAPE)
    inversion = Inversion(FrozenNetwork(corner_network(None), Preprocessing(), "float32", images[:2]), space, settings)
    for result in search(inversion, arms_of(space, (2, 0), (2, 1)), ResidentImages(images, settings, 0)):
        assert result.trigger.l1_norm > 2.5 * smallest_norm(images, 2)


# -- restarts are independent ----------------------------------------------------------------------------------------------------------

PAIRS = [(0, 0), (3, 0), (0, 1), (5, 2), (1, 0)]


@functools.cache
def searched(pairs: tuple[tuple[int, int], ...], lanes: int) -> tuple[dict[tuple[int, int], RestartResult], int]:
    """A short search, and how often it was traced."""
    images, _ = corner_images(20, seed=4)
    rules = CostSchedule(init_cost=1e-2, patience=1, multiplier=2.0, early_stop_patience=1)
    settings = SearchSettings("cross_entropy", "l1", 0.3, 8, 2, 9, cost=rules)
    space = TriggerSpace(IMAGE_SHAPE, 2)
    inversion = Inversion(FrozenNetwork(corner_network(0), Preprocessing(), "float32", images[:2]), space, settings)
    found = by_arm(list(search(inversion, arms_of(space, *pairs), ResidentImages(images, settings, 9), lanes=lanes)))
    return found, inversion.advance.experimental_get_tracing_count()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "lanes"),
    [(PAIRS, 1), (PAIRS, 2), (PAIRS, 3), (PAIRS[::-1], 5), (PAIRS[:1], 5), (PAIRS[3:], 2)],
    ids=["one lane", "two lanes", "three lanes", "reversed", "alone", "others"],
)
def test_other_arms_their_order_and_the_lanes_change_nothing(pairs: list[tuple[int, int]], lanes: int) -> None:
    reference, _ = searched(tuple(PAIRS), 5)
    found, _ = searched(tuple(pairs), lanes)
    assert set(found) == set(pairs)
    for pair in pairs:
        assert_same(found[pair], reference[pair])


@pytest.mark.slow
def test_the_arms_end_at_different_times() -> None:
    """Otherwise the tests above would not cover lanes that empty one by one."""
    found, _ = searched(tuple(PAIRS), 5)
    assert len({result.rounds for result in found.values()}) >= 2
    assert {result.status for result in found.values()} >= {Status.CONVERGED, Status.MAX_ROUNDS}


@pytest.mark.slow
def test_lanes_that_empty_do_not_trace_again_and_again() -> None:
    """The axis of restarts is left open after the second shape. On a GPU each number of lanes is compiled, so this holds on a CPU."""
    for lanes in (2, 3, 5):
        assert searched(tuple(PAIRS), lanes)[1] <= 2


@pytest.mark.slow
def test_arms_are_read_when_there_is_room() -> None:
    images, _ = corner_images(8)
    settings = SearchSettings(batch_size=4, batches_per_round=1, max_rounds=2)
    space = TriggerSpace(IMAGE_SHAPE)
    inversion = Inversion(FrozenNetwork(corner_network(0), Preprocessing(), "float32", images[:2]), space, settings)
    drawn = []

    def restarts() -> Any:
        for restart in arms_of(space, *((label, 0) for label in range(5))):
            drawn.append(restart.label)
            yield restart

    results = search(inversion, restarts(), ResidentImages(images, settings, 0), lanes=2)
    assert next(results).restart.label == 0
    assert drawn == [0, 1]
    assert [result.restart.label for result in results] == [1, 2, 3, 4]
    assert list(search(inversion, [], ResidentImages(images, settings, 0))) == []


def test_images_are_drawn_epoch_after_epoch() -> None:
    """Five images, six a round: every five in a row are all five, and the order is the restart's own and repeatable."""
    images = np.zeros((5, *IMAGE_SHAPE), np.uint8)
    settings = SearchSettings(batch_size=3, batches_per_round=2)
    restarts = arms_of(TriggerSpace(IMAGE_SHAPE), (0, 0), (0, 1))
    rows = [ResidentImages(images, settings, 1)(restarts, [round_] * 2)[1] for round_ in range(5)]
    assert rows[0].shape == (2, 2, 3)
    for restart in range(2):
        stream = np.concatenate([part[:, restart].ravel() for part in rows])
        assert [sorted(epoch) for epoch in stream.reshape(6, 5)] == [[0, 1, 2, 3, 4]] * 6
        assert len({tuple(epoch) for epoch in stream.reshape(6, 5)}) > 1
        np.testing.assert_array_equal(
            rows[3][:, restart], ResidentImages(images, settings, 1)(restarts[restart : restart + 1], [3])[1][:, 0]
        )
    assert not np.array_equal(rows[0][:, 0], rows[0][:, 1])
    assert not np.array_equal(rows[0], ResidentImages(images, settings, 2)(restarts, [0, 0])[1])


def test_an_arm_draws_no_image_of_its_own_label_where_labels_are_given() -> None:
    images, labels = np.zeros((7, *IMAGE_SHAPE), np.uint8), np.array([0, 1, 2, 1, 0, 2, 2])
    restarts = arms_of(TriggerSpace(IMAGE_SHAPE), (1, 0), (2, 0))
    draw = ResidentImages(images, SearchSettings(batch_size=3, batches_per_round=2, exclude_target=True), 1, labels)
    rows = [draw(restarts, [round_] * 2)[1] for round_ in range(10)]
    for restart, others in enumerate(([0, 2, 4, 5, 6], [0, 1, 3, 4])):
        stream = np.concatenate([part[:, restart].ravel() for part in rows])
        assert [sorted(epoch) for epoch in stream.reshape(-1, len(others))] == [others] * (60 // len(others))


# -- which trigger is kept, and how a search ends --------------------------------------------------------------------------------------


class Gate:
    """A network under which success comes and goes by a script, one entry a round, and which has nothing to learn."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)
        self.open = tf.Variable(float(self.script[0]))
        self.round = 0

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        nothing = 0.0 * tf.reduce_sum(images, axis=(1, 2, 3))
        return tf.stack([nothing, nothing + 2.0 * self.open - 1.0], axis=1)  # class 1 where the gate is open

    def turn(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        self.round += 1
        self.open.assign(float(self.script[min(self.round, len(self.script) - 1)]))


def scripted(script: Sequence[int], **options: Any) -> RestartResult:
    """Search label 1 while the norm alone moves the mask, which so shrinks from round to round."""
    gate, space = Gate(script), TriggerSpace(IMAGE_SHAPE)
    rules = options.pop("cost", CostSchedule(init_cost=1.0, reset_cost_to_zero=False, patience=1000, early_stop=False))
    settings = SearchSettings(**{"batch_size": 2, "batches_per_round": 2, "max_rounds": len(script), "cost": rules} | options)
    images = ResidentImages(np.zeros((4, *IMAGE_SHAPE), np.uint8), settings, 0)
    (result,) = search(Inversion(gate, space, settings), arms_of(space, (1, 0)), images, on_round=gate.turn)
    return result


@functools.cache
def norm_after(round_: int) -> float:
    """The norm that the same search, ended there, has at last."""
    return scripted([0] * (round_ + 1)).trigger.l1_norm


@pytest.mark.slow
def test_the_best_is_kept_and_not_the_last() -> None:
    script = [0, 1, 1, 0, 0, 0]
    result = scripted(script)
    assert result.status == Status.MAX_ROUNDS
    assert result.rounds == 6
    assert result.trigger.l1_norm == pytest.approx(norm_after(2), rel=1e-6)
    last = scripted(script, save_last=True)
    assert last.trigger.l1_norm == pytest.approx(norm_after(5), rel=1e-6)
    assert last.trigger.l1_norm < result.trigger.l1_norm
    assert last.status == Status.MAX_ROUNDS


def test_the_history_is_the_originals_log() -> None:
    result = scripted([0, 1, 1, 0])
    assert len(HISTORY_COLUMNS) == result.history.shape[1] == 7
    step, ce, reg, loss, success, reg_best, cost = result.history.T
    np.testing.assert_array_equal(step, range(4))
    np.testing.assert_array_equal(success, [0, 1, 1, 0])
    np.testing.assert_array_equal(cost, 1.0)
    np.testing.assert_allclose(loss, ce + cost * reg, rtol=1e-6)
    np.testing.assert_allclose(reg_best, [np.inf, reg[1], reg[2], reg[2]])
    assert (np.diff(reg) < 0).all()
    p = 1 / (1 + np.exp(1.0))  # of class 1 while the gate is shut: logits 0 and -1
    np.testing.assert_allclose(ce, LINEAR_SCALE * np.where(success == 1, p, 1 - p), rtol=1e-5)


def test_a_search_that_never_succeeds_says_so() -> None:
    result = scripted([0, 0, 0])
    assert (result.status, result.succeeded) == (Status.NEVER_SUCCEEDED, False)
    assert result.trigger.l1_norm == pytest.approx(norm_after(2), rel=1e-6)  # the last one


def test_a_search_that_stops_by_itself_has_converged() -> None:
    """Patience 1: up after round 0, down after round 1, then the norm hardly moves and stalls."""
    rules = CostSchedule(init_cost=1e-9, reset_cost_to_zero=False, patience=1, early_stop_threshold=0.5, early_stop_patience=3)
    result = scripted([1, 0, *[1] * 20], cost=rules)
    assert (result.status, result.succeeded, result.rounds) == (Status.CONVERGED, True, 4)


def test_adam_moves_the_mask_at_all() -> None:
    """Another toolbox zeroes the learning rate when it resets its optimiser; its masks stay where they began."""
    result = scripted([0, 0])
    moved = np.abs(result.trigger.mask - result.restart.mask)
    assert (moved > 1e-3).mean() > 0.9


def poisoned(images: tf.Tensor) -> tf.Tensor:
    """A network that answers NaN for white images and the two halves' brightness for others."""
    halves = tf.stack([tf.reduce_mean(images[:, :4], axis=(1, 2, 3)), tf.reduce_mean(images[:, 4:], axis=(1, 2, 3))], axis=1) / 25.0
    return tf.where(tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)[:, 0, 0] > 250.0, float("nan"), halves)


def test_an_arm_that_becomes_nan_ends_alone() -> None:
    space = TriggerSpace(IMAGE_SHAPE)
    images = np.random.default_rng(2).integers(0, 99, (12, *IMAGE_SHAPE)).astype(np.uint8)
    settings = SearchSettings("cross_entropy", "l1", 0.1, 6, 2, 8, cost=CostSchedule(init_cost=1e-2, patience=2))
    inversion = Inversion(poisoned, space, settings)
    white = Restart(0, 7, np.ones(space.mask_shape), np.full(IMAGE_SHAPE, 255.0))
    good = arms_of(space, (0, 0), (1, 0))
    sources = ResidentImages(images, settings, 0)
    alone = by_arm(list(search(inversion, good, sources)))
    beside = by_arm(list(search(inversion, [good[0], white, good[1]], sources)))
    bad = beside.pop((0, 7))
    assert (bad.status, bad.succeeded, bad.rounds) == (Status.NONFINITE, False, 1)
    assert beside.keys() == alone.keys()
    for pair, result in alone.items():
        assert result.rounds == 8
        assert_same(beside[pair], result)
    # Its result is its beginning, never NaN: a NaN trigger would count as a working one for class 0.
    np.testing.assert_allclose(bad.trigger.mask, 1.0, atol=1e-6)
    assert np.isfinite(bad.coarse_mask).all()


def test_an_arm_that_becomes_nan_late_keeps_its_best() -> None:
    """Success in rounds 0 to 2, NaN from round 3 on: neither the last nor NaN, also where the last was asked for."""

    class Late(Gate):
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            return tf.where(self.open < 0.5, float("nan"), super().__call__(images))

    gate, space = Late([1, 1, 1, 0]), TriggerSpace(IMAGE_SHAPE)
    rules = CostSchedule(init_cost=1.0, reset_cost_to_zero=False, patience=1000)
    settings = SearchSettings(batch_size=2, batches_per_round=2, max_rounds=9, save_last=True, cost=rules)
    images = ResidentImages(np.zeros((4, *IMAGE_SHAPE), np.uint8), settings, 0)
    (result,) = search(Inversion(gate, space, settings), arms_of(space, (1, 0)), images, on_round=gate.turn)
    assert (result.status, result.rounds) == (Status.NONFINITE, 4)
    assert result.trigger.l1_norm == pytest.approx(norm_after(2), rel=1e-6)


def test_a_success_whose_update_is_nan_is_not_the_best() -> None:
    """The loss of a round may be finite and its gradient not; then the new mask is NaN, and the old best stays."""

    @tf.custom_gradient
    def steep(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        answers = tf.stack([tf.zeros_like(images[:, 0, 0, 0]), tf.ones_like(images[:, 0, 0, 0])], axis=1)
        return answers, lambda upstream: tf.fill(tf.shape(images), float("nan"))

    space, settings = TriggerSpace(IMAGE_SHAPE), SearchSettings(batch_size=2, batches_per_round=1, max_rounds=3)
    images = ResidentImages(np.zeros((4, *IMAGE_SHAPE), np.uint8), settings, 0)
    (result,) = search(Inversion(steep, space, settings), arms_of(space, (1, 0)), images)
    assert (result.status, result.rounds) == (Status.NONFINITE, 1)
    np.testing.assert_allclose(result.trigger.mask, result.restart.mask, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_label_that_needs_no_trigger_ends_with_none(norm: str) -> None:
    """The cost rises for ever and the mask goes to nothing: neither an overflow nor the root of zero may spoil that."""
    rules = CostSchedule(init_cost=1.0, multiplier=100.0, patience=1, reset_cost_to_zero=False)
    result = scripted([1] * 120, cost=rules, regularization=norm, batches_per_round=1, learning_rate=1.0)
    assert (result.status, result.rounds) == (Status.MAX_ROUNDS, 120)
    assert result.trigger.l1_norm < 1e-4
    assert np.isfinite(result.history[:, :5]).all()
    assert result.history[-1, 6] == pytest.approx(1e10)


def test_success_is_the_share_of_images_answered_with_the_label() -> None:
    """A mask of nearly nothing: of six images, one is of class 0 and two of class 1."""
    images, _ = corner_images(6)
    images[5] = images[1]
    space = TriggerSpace(IMAGE_SHAPE)
    settings = SearchSettings(batch_size=6, batches_per_round=1, cost=ROUND_STEADY)
    inversion = Inversion(FrozenNetwork(corner_network(None), Preprocessing(), "float32", images), space, settings)
    mask, pattern = np.full(space.mask_shape, 1e-4), np.zeros(IMAGE_SHAPE)
    run = inversion.start([mask] * 3, [pattern] * 3)
    rows = tf.constant(np.tile(np.arange(6, dtype=np.int32), (1, 3, 1)))
    _, report = inversion.advance(run, tf.constant([0, 1, 5]), tf.constant(images), rows)
    np.testing.assert_allclose(RoundLog(*report.numpy()).success, [1 / 6, 2 / 6, 0.0], atol=1e-6)


@pytest.mark.slow
def test_float_images_and_bytes_alike() -> None:
    images, _ = corner_images(8)
    space, settings = TriggerSpace(IMAGE_SHAPE), SearchSettings(batch_size=4, batches_per_round=2, max_rounds=3)
    inversion = Inversion(FrozenNetwork(corner_network(0), Preprocessing(), "float32", images), space, settings)
    (of_bytes,) = search(inversion, arms_of(space, (0, 0)), ResidentImages(images, settings, 0))
    (of_floats,) = search(inversion, arms_of(space, (0, 0)), ResidentImages(images.astype(np.float32), settings, 0))
    assert_same(of_bytes, of_floats)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hinge"}, r"loss 'hinge': expected one of linear, cross_entropy"),
        ({"regularization": "l3"}, r"regularization 'l3': expected 'l1', 'l2' or None"),
        ({"learning_rate": 0.0}, r"learning rate 0\.0: expected a finite number above 0"),
        ({"learning_rate": float("nan")}, r"learning rate nan"),
        ({"learning_rate": float("inf")}, r"learning rate inf"),
        ({"batch_size": 0}, r"batch size 0, batches a round 31, rounds 1000: expected 1 or more of each"),
        ({"batches_per_round": 0}, r"batches a round 0"),
        ({"max_rounds": 0}, r"rounds 0: expected 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchSettings(**wrong)
