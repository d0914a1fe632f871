"""The memory limit: sizes in words, the footprint of a network, and the effect on searches, predictions and repairs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, corner_images, corner_network
from quick import QUICK, data_file, small_network
from warm_server import WarmServer

from nc_tf import evaluation
from nc_tf.cli.main import main
from nc_tf.errors import InputError
from nc_tf.evaluation import BATCH_SIZE, HIDDEN_BATCH, evaluation_batch, predict_classes
from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.restart import Restart
from nc_tf.mitigation.nft import nft
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.footprint import UPDATE, footprint_of, forward_footprint, training_footprint, weight_bytes
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.runtime import memory
from nc_tf.runtime.memory import BASE, MOST_KEPT, Footprint, allow, allowed, most_at_once, most_kept, parse_memory, words
from nc_tf.scanning import memory_plan as lanes
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.memory_plan import SearchPlan, measured_bytes, plan_search, search_footprint
from nc_tf.scanning.presets import PRESETS
from nc_tf.scanning.scan import scan
from nc_tf.training.updates import images_an_update

IMAGES, LABELS = corner_images(60)
MIB = 2**20


@pytest.fixture(autouse=True)
def the_default() -> Iterator[None]:
    yield
    allow(memory.DEFAULT)


def task(model: keras.Model | None = None, **changes: Any) -> Task:
    return Task(model or corner_network(3), Preprocessing(), "float32", IMAGES, replace(QUICK, max_rounds=2, **changes), 1, 0)


# -- sizes ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "number"),
    [
        ("4GiB", 4 * 2**30),
        ("4GB", 4 * 10**9),
        ("1.5 gib", 3 * 2**29),
        ("3500MB", 3_500_000_000),
        ("2g", 2 * 10**9),
        ("5000000000", 5_000_000_000),
        (5_000_000_000, 5_000_000_000),
    ],
)
def test_a_size_is_read_as_people_write_it(size: str | int, number: int) -> None:
    assert parse_memory(size) == number


@pytest.mark.parametrize("size", ["lots", "", "-4GiB", "4 4", "GiB", "4XB", "1e9", "nan", "4GiBi"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(InputError, match=r"memory '.*': expected a size such as 4GiB or 3500MB; the default is 4GiB"):
        parse_memory(size)


def test_less_than_tensorflow_takes_is_refused() -> None:
    with pytest.raises(InputError, match=r"memory 500MB: expected more than 800 MiB, which TensorFlow alone takes; the default is 4GiB"):
        parse_memory("500MB")


def test_sizes_are_said_in_words() -> None:
    assert [words(size) for size in (1, 800 * MIB, 3 * 2**29)] == ["1 MiB", "800 MiB", "1.5 GiB"]


def test_the_command_line_says_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "none.keras", "none.npz", "--memory", "much"]) == 2
    assert capsys.readouterr().err.startswith("nc-tf: memory 'much': expected a size")
    assert main(["evaluate", "none.keras", "none.npz", "--memory", "2GiB"]) == 2
    assert allowed() == 2 * 2**30
    assert main(["evaluate", "none.keras", "none.npz"]) == 2
    assert allowed() == 4 * 2**30


def test_how_many_fit_is_what_the_footprint_says() -> None:
    footprint = Footprint(fixed=10 * MIB, per_image=10 * MIB)
    for free in (0, 5 * MIB, 21 * MIB, 22 * MIB, 100 * MIB):
        number = most_at_once(footprint, free)
        assert number == 0 or footprint.of(number) <= free
        assert footprint.of(number + 1) > free


def test_all_small_images_are_kept_and_ten_thousand_large_ones() -> None:
    """GTSRB's 12,630 test images and CIFAR-10's 60,000 as ever; of more pictures than 10,000 of 224x224 pixels 10,000."""
    assert most_kept(32 * 32 * 3) > 60_000
    assert most_kept(64 * 64 * 3) > MOST_KEPT
    assert most_kept(224 * 224 * 3) == MOST_KEPT
    assert most_kept(16 * 224 * 224 * 3) == 2 * 2**30 // (16 * 224 * 224 * 3), "half of the memory at most"
    assert most_kept(2**40) == 1


# -- what a network takes ------------------------------------------------------------------------------------------------------------------


def test_what_is_alive_at_once_is_added_up() -> None:
    """Four values of an image, their eight exponentials, and nothing else; a weight and what is made of it count once."""
    weight = tf.Variable(tf.ones([4, 8]))

    def function(images: tf.Tensor) -> tf.Tensor:
        return tf.exp(tf.matmul(images, 2.0 * weight))

    found = footprint_of(function, tf.TensorSpec([1, 4], tf.float32))
    # At the exponential: the product and the exponential. At the product: the image, the product and the doubled weight.
    assert (found.per_image, found.fixed, found.hidden) == (4 * (8 + 8), 4 * 32, False)


def test_what_nobody_needs_and_what_only_changes_its_shape_does_not_count() -> None:
    def function(images: tf.Tensor) -> tf.Tensor:
        tf.exp(tf.tile(images, (1, 1000)))
        return tf.reshape(images, (2, 50)) + 1.0

    assert footprint_of(function, tf.TensorSpec([1, 100], tf.float32)).per_image == 4 * 200


def test_a_gradient_keeps_what_it_needs() -> None:
    """A chain of ten squares: the answer alone takes two of them, the gradient all."""

    def chain(images: tf.Tensor) -> tf.Tensor:
        for _ in range(10):
            images = images * images
        return images

    def gradient(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            answer = chain(images)
        return tape.gradient(answer, images)

    spec = tf.TensorSpec([1, 1000], tf.float32)
    assert footprint_of(chain, spec).per_image == 4 * 2000
    assert 4 * 10_000 <= footprint_of(gradient, spec).per_image <= 4 * 14_000


def test_the_scores_inside_of_attention_are_seen() -> None:
    inputs = keras.Input((16, 16, 1))
    points = layers.Reshape((256, 1))(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Attention()([points, points]))))
    assert forward_footprint(model, (16, 16, 1)).per_image >= 4 * 256**2


def test_nested_models_count_and_loops_are_named() -> None:
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(32, 3, padding="same", activation="relu")])
    clips = keras.Input((5, 8, 8, 3))
    frames = layers.TimeDistributed(layers.GlobalAveragePooling2D())(layers.TimeDistributed(inner)(clips))
    whole = keras.Model(clips, layers.Dense(2)(layers.LSTM(4)(frames)))
    found = forward_footprint(whole, (5, 8, 8, 3))
    assert found.hidden
    assert found.per_image >= 4 * 5 * 8 * 8 * 32
    assert not forward_footprint(inner, (8, 8, 3)).hidden
    assert training_footprint(whole, (5, 8, 8, 3), 0).hidden


def test_an_update_counts_its_optimiser() -> None:
    model = small_network()
    trained = weight_bytes(model)
    assert trained == 4 * sum(np.size(weights) for weights in model.get_weights())
    none, two = (training_footprint(model, IMAGE_SHAPE, slots) for slots in (0, 2))
    assert (two.fixed - none.fixed, two.per_image) == (2 * trained, none.per_image)
    assert none.fixed >= UPDATE + 3 * trained, "the gradients, and what is measured beside them"


# -- searches together ---------------------------------------------------------------------------------------------------------------------


def test_a_smaller_minibatch_is_less_at_once() -> None:
    """Today as before for the presets; half as many images a minibatch are half as many at once."""
    robust = PRESETS["robust"]
    assert [robust.lanes_for(replace(robust.settings, batch_size=size), 1) * size for size in (16, 8, 4, 1)] == [256, 256, 128, 32]


def test_the_ordinary_case_has_all_lanes_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "measured_bytes", lambda task: pytest.fail("measured"))
    plan = plan_search(task(), 32, kept=IMAGES.nbytes)
    assert (plan.lanes, plan.in_flight, plan.measured) == (32, 32 * QUICK.batch_size, None)
    assert BASE < plan.planned < 2 * BASE
    assert str(plan) == f"{words(plan.planned)} of memory planned, 4.0 GiB allowed"


def test_as_many_searches_run_together_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Footprint(fixed=100 * MIB, per_image=10 * MIB)
    monkeypatch.setattr(lanes, "search_footprint", lambda task: found)
    monkeypatch.setattr(lanes, "measured_bytes", lambda task: 10 * MIB)
    most = task(batch_size=8)
    plans = []
    for size in (1, 2, 4):
        allow(f"{size}GiB")
        plans.append(plan_search(most, 32, kept=0))
    assert [plan.lanes for plan in plans] == [1, 11, 32]
    assert all(plan.planned <= plan.memory for plan in plans)
    assert plan_search(most, 5, kept=0).lanes == 5, "the requested number, if it fits"
    allow("2GiB")
    assert plan_search(most, 32, kept=600 * MIB).lanes == 5, "images that are kept leave less"
    assert plan_search(task(batch_size=4), 32, kept=0).in_flight <= 96


def test_a_measurement_counts_where_it_is_clearly_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "search_footprint", lambda task: Footprint(0, 10 * MIB))
    some = task(batch_size=8)
    for measured, expected in ((5, 32), (11, 32), (30, 11)):
        monkeypatch.setattr(lanes, "measured_bytes", lambda task, measured=measured: measured * MIB)
        plan = plan_search(some, 32, kept=0)
        assert plan.lanes == expected
        assert plan.record.get("measured_bytes_an_image") == (30 * MIB if measured == 30 else None)
    assert plan_search(some, 32, kept=0, check=False).lanes == 32, "on a cluster nothing is measured"


def test_what_a_loop_keeps_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "search_footprint", lambda task: Footprint(0, 1, hidden=True))
    monkeypatch.setattr(lanes, "measured_bytes", lambda task: 100 * MIB)
    assert plan_search(task(batch_size=8), 32, kept=0).lanes == 3


def of_a_large_layer() -> tuple[int, int]:
    """What a layer of 32 MiB an image is planned to take, and what it is measured to take."""
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.UpSampling2D(128),
            layers.Conv2D(8, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(6),
        ]
    )
    some = task(model, batch_size=4)
    return search_footprint(some).per_image, measured_bytes(some)


@pytest.mark.slow
def test_measuring_tells_something(warm_server: WarmServer) -> None:
    """In a process of its own: an allocator that has freed much before takes nothing anew."""
    here = Path(__file__).resolve().parent
    code = f"import sys; sys.path[:0] = {[str(here), str(here.parent)]!r}; import test_memory; print(*test_memory.of_a_large_layer())"
    ran = warm_server.start(code)
    assert ran.wait() == 0, ran.err.read_text()
    expected, measured = map(int, ran.out.read_text().split())
    assert expected >= 32 * MIB
    assert 0.3 * expected < measured < 2 * expected


def test_where_not_one_search_fits_a_sentence_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "search_footprint", lambda task: Footprint(0, 100 * MIB))
    allow("2GiB")
    message = r"one search takes 2.7 GiB of memory, 100 MiB of it for an image in the network: expected 2.0 GiB at most; give more with "
    with pytest.raises(InputError, match=message + "--memory, or a --batch-size below 16$"):
        plan_search(task(), 32, kept=0)
    with pytest.raises(InputError, match=r"; give more with --memory, or fewer or smaller images$"):
        plan_search(task(), 32, kept=2**31)


@pytest.mark.slow
def test_a_scan_records_its_plan_and_comes_to_the_same_in_fewer_lanes() -> None:
    class Recorder(ScanCallback):
        def on_plan(self, plan: SearchPlan) -> None:
            plans.append(plan)

    plans: list[SearchPlan] = []
    settings = replace(QUICK, max_rounds=3)
    results = [
        scan(corner_network(3), IMAGES, LABELS, settings=settings, starts=1, lanes=number, precision="float32", callbacks=[Recorder()])
        for number in (None, 2)
    ]
    assert [result.settings["memory"] for result in results] == [plan.record for plan in plans]
    assert [plan.lanes for plan in plans] == [PRESETS["robust"].lanes_for(settings, 1), 2]
    for one, other in zip(results[0].labels, results[1].labels, strict=True):
        np.testing.assert_allclose(one.trigger.mask, other.trigger.mask, atol=1e-5)


@pytest.mark.slow
def test_the_command_takes_the_lanes_and_the_images_that_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped scan may go on in more memory or less, on the same images."""
    save_model(corner_network(3), tmp_path / "model.keras")
    data_file(tmp_path / "data.npz", num_test=60)
    monkeypatch.setattr(memory, "MOST_KEPT", 48)
    monkeypatch.setattr(memory, "FEW", 0.0)
    given = ["scan", *(str(tmp_path / name) for name in ("model.keras", "data.npz")), "--out", str(tmp_path / "scan"), "--rounds", "1"]
    plans = []
    for more in (["--lanes", "2"], ["--lanes", "3", "--memory", "2GiB"]):
        main([*given, "--starts", "1", *more])
        verdict = json.loads((tmp_path / "scan" / "verdict.json").read_text())
        plans.append([verdict["settings"]["memory"][key] for key in ("limit", "lanes", "in_flight")])
        said = " ".join(capsys.readouterr().err.split())
        assert "48 of 60 images are used, drawn by seed 0: more are not kept in" in said
        assert f"images or frames in flight: {plans[-1][2]} at most; 8" in said
        assert verdict["data"]["num_images"] == 48
    assert plans == [[4 * 2**30, 2, 16], [2 * 2**30, 3, 24]]


def test_a_round_brings_its_images_where_these_are_fewer_than_all() -> None:
    settings = replace(QUICK, batch_size=3, batches_per_round=2)
    few, all_ = (ResidentImages(IMAGES[:number], settings, 0, rows=np.arange(5, number)) for number in (60, 8))
    restarts = [Restart(label, 0, np.zeros(IMAGE_SHAPE[:2]), np.zeros(IMAGE_SHAPE)) for label in (1, 2)]
    images, rows = few(restarts, [0, 4])
    assert (len(images), rows.shape) == (12, (2, 2, 3))
    expected = np.stack([few._rows(restart, round_) for restart, round_ in zip(restarts, (0, 4), strict=True)], axis=1)
    np.testing.assert_array_equal(images.numpy()[rows], IMAGES[expected])
    assert expected.min() >= 5, "only rows to search on"
    assert few.bytes_on_device(2) == 12 * IMAGES[0].nbytes
    images, rows = all_(restarts, [0, 0])
    assert len(images) == 8
    assert len(all_(restarts[:1], [1])[0]) == 8, "once there, they stay"
    assert all_.bytes_on_device(2) == 8 * IMAGES[0].nbytes


# -- answers and repairs -------------------------------------------------------------------------------------------------------------------


def test_answers_come_in_batches_that_fit_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = corner_network(3)
    assert evaluation_batch(model, IMAGE_SHAPE) == BATCH_SIZE
    expected = predict_classes(model, IMAGES)
    sizes: list[int] = []
    asked = model.predict_on_batch

    def counted(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return asked(batch)

    monkeypatch.setattr(model, "predict_on_batch", counted)
    monkeypatch.setattr(evaluation, "forward_footprint", lambda model, shape: Footprint(0, 40 * MIB))
    np.testing.assert_array_equal(predict_classes(model, IMAGES), expected)
    assert sizes == [10] * 6
    np.testing.assert_array_equal(predict_classes(model, IMAGES, rows=np.array([7, 3])), expected[[7, 3]])


def test_of_a_network_that_hides_what_it_takes_fewer_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    model = corner_network(3)
    monkeypatch.setattr(evaluation, "forward_footprint", lambda model, shape: Footprint(0, 1, hidden=True))
    assert evaluation_batch(model, IMAGE_SHAPE) == HIDDEN_BATCH
    called = footprint_of(tf.function(lambda images: images + 1.0), tf.TensorSpec([1, 4], tf.float32))
    assert called.hidden


def test_clips_count_by_their_frames() -> None:
    model = keras.Sequential([keras.Input((4, *IMAGE_SHAPE)), layers.Flatten(), layers.Dense(2)])
    assert evaluation_batch(model, (4, *IMAGE_SHAPE)) == BATCH_SIZE // 4


def test_a_network_that_not_one_image_fits_into_is_refused_before_it_runs() -> None:
    """Two thousand times as high and wide: unknown sizes hide it from a look at the file."""
    model = keras.Sequential([keras.Input((None, None, 3)), layers.UpSampling2D(2000), layers.GlobalAveragePooling2D(), layers.Dense(6)])
    message = r"prediction for an image takes [\d,.]+ GiB of memory: expected 4.0 GiB at most; give more with --memory, or"
    for call in (
        lambda: scan(model, IMAGES, LABELS),
        lambda: predict_classes(model, IMAGES),
        lambda: unlearn(model, IMAGES, LABELS, [], test=(IMAGES, LABELS)),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("method", [unlearn, nft])
def test_a_repair_takes_the_updates_that_fit_and_says_so(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"steps": 2} if method is nft else {}
    for size, expected in ((10 * MIB, 12), (300 * MIB, 2)):
        monkeypatch.setattr("nc_tf.training.updates.training_footprint", lambda *_, size=size: Footprint(0, size))
        monkeypatch.setattr("nc_tf.training.updates.allowed", lambda: BASE + 900 * MIB)
        done = method(small_network(), IMAGES, LABELS, [], test=(IMAGES, LABELS), fraction=1.0, batch_size=12, verbose=0, **steps)
        assert done.settings["batch_size"] == expected


def test_an_update_that_does_not_fit_is_refused() -> None:
    allow(BASE + MIB)
    message = r"an update with an image takes [\d.]+ GiB of memory, 1.0 GiB of it for the images: expected 801 MiB at most; give more with"
    with pytest.raises(InputError, match=message):
        images_an_update(small_network(), IMAGE_SHAPE, 8, slots=2, other_weights=0, kept=2**30)
