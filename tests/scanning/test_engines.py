"""Engines: their names, the assignment of tasks to workers, and a search problem that travels."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from threading import Timer

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, corner_images, corner_network
from quick import QUICK

from nc_tf.errors import InputError
from nc_tf.inversion.loop import advance
from nc_tf.inversion.restart import Checkpoint, Restart, Segment
from nc_tf.preprocessing import preprocessing
from nc_tf.scanning.engines import local, worker
from nc_tf.scanning.engines.choice import engine_named
from nc_tf.scanning.engines.search_queue import MOST_LOSSES, SearchQueue
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.engines.worker import Worker, pack, unpack
from nc_tf.scanning.halving import random_restart
from nc_tf.scanning.scan import scan

IMAGES, LABELS = corner_images(64)


def segments(number: int, until: int = 8) -> list[Segment]:
    mask, pattern = np.zeros(IMAGE_SHAPE[:2]), np.zeros(IMAGE_SHAPE)
    return [Segment(Restart(label, 0, mask, pattern), until) for label in range(number)]


def ended(segment: Segment) -> Checkpoint:
    return Checkpoint(segment.restart.label, segment.restart.start, (), np.zeros((segment.until, 7)), False, True)  # type: ignore[arg-type]


def numbers(dealt: dict[str, list[Segment]]) -> dict[str, list[int]]:
    return {name: [segment.restart.label for segment in some] for name, some in dealt.items()}


def task(model: keras.Model | None = None, precision: str = "float32") -> Task:
    settings = replace(QUICK, max_rounds=6)
    return Task(model or corner_network(3), preprocessing("mnist"), precision, IMAGES, settings, 2, 7)


# Names


def test_the_engine_of_one_machine_is_found_by_its_name() -> None:
    assert engine_named("local") is local.run


def test_an_unknown_engine_is_refused_before_anything_is_done() -> None:
    with pytest.raises(InputError, match="engine 'spark': expected one of local, ray; choose one"):
        scan(corner_network(), IMAGES, LABELS, engine="spark")


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "nc_tf.scanning.engines.ray", raising=False)
    monkeypatch.delattr("nc_tf.scanning.engines.ray", raising=False)
    with pytest.raises(InputError, match=r"engine ray: expected the package ray.* pip install 'nc_tf\[ray\]'"):
        scan(corner_network(), IMAGES, LABELS, engine="ray")


# Assignment of tasks to workers


def test_lanes_are_filled_and_a_quarter_more() -> None:
    queue: SearchQueue[str] = SearchQueue(segments(30), lanes=8)
    queue.add_worker("a")
    assert numbers(queue.assign()) == {"a": list(range(10))}
    assert queue.assign() == {}


def test_few_legs_are_spread_evenly_over_the_workers() -> None:
    queue: SearchQueue[str] = SearchQueue(segments(7), lanes=8)
    for name in "abc":
        queue.add_worker(name)
    assert numbers(queue.assign()) == {"a": [0, 3, 6], "b": [1, 4], "c": [2, 5]}


def test_a_worker_that_joins_late_is_served_first() -> None:
    everything = segments(12)
    queue: SearchQueue[str] = SearchQueue(everything, lanes=4)
    queue.add_worker("a")
    assert numbers(queue.assign()) == {"a": [0, 1, 2, 3, 4]}
    queue.add_worker("b")
    assert numbers(queue.assign()) == {"b": [5, 6, 7, 8, 9]}
    queue.finish("a", ended(everything[0]))
    assert numbers(queue.assign()) == {"a": [10]}


def test_legs_that_run_dry_are_asked_again_until_none_is_held() -> None:
    class Pair(Iterator[Segment]):
        """The second task appears only when the first has been taken back."""

        def __init__(self) -> None:
            self.ready = segments(2)[:1]

        def __next__(self) -> Segment:
            if not self.ready:
                raise StopIteration
            return self.ready.pop()

    first, second = segments(2)
    pair = Pair()
    queue: SearchQueue[str] = SearchQueue(pair, lanes=4)
    assert queue.unfinished()
    queue.add_worker("a")
    assert numbers(queue.assign()) == {"a": [0]}
    assert queue.unfinished()
    assert queue.assign() == {}
    queue.finish("a", ended(first))
    pair.ready = [second]
    assert queue.unfinished()
    assert numbers(queue.assign()) == {"a": [1]}
    queue.finish("a", ended(second))
    assert not queue.unfinished()


def test_the_legs_of_a_dead_worker_are_dealt_next_and_from_where_they_began() -> None:
    everything = segments(4)
    queue: SearchQueue[str] = SearchQueue(everything, lanes=2)
    queue.add_worker("a")
    queue.assign()
    queue.finish("a", ended(everything[1]))
    queue.remove_worker("a")
    assert queue.unfinished()
    assert queue.assign() == {}
    queue.add_worker("b")
    assert queue.assign() == {"b": [everything[0], everything[2], everything[3]]}


def test_a_leg_that_no_worker_survives_ends_the_scan() -> None:
    queue: SearchQueue[int] = SearchQueue(segments(1), lanes=2)
    for number in range(MOST_LOSSES - 1):
        queue.add_worker(number)
        assert list(queue.assign()) == [number]
        queue.remove_worker(number)
    queue.add_worker(9)
    queue.assign()
    with pytest.raises(InputError, match="label 0, restart 0: 3 workers died with it: expected one to survive; give the nodes"):
        queue.remove_worker(9)


def test_a_worker_that_never_had_a_leg_loses_none() -> None:
    queue: SearchQueue[str] = SearchQueue([], lanes=2)
    queue.remove_worker("a")
    assert not queue.unfinished()


# A task that travels


@pytest.mark.slow
def test_a_task_arrives_as_it_was_sent() -> None:
    sent = replace(task(precision="auto"), labels=LABELS)
    parcel = pack(sent)
    assert parcel.precision == sent.network.precision
    got = unpack(parcel)
    np.testing.assert_array_equal(got.labels, LABELS)
    np.testing.assert_array_equal(got.model(IMAGES[:4] / 255.0), sent.model(IMAGES[:4] / 255.0))
    for one, other in zip(runs(got), runs(sent), strict=True):
        np.testing.assert_array_equal(one.run.z[0], other.run.z[0])
        np.testing.assert_array_equal(one.history, other.history)


def runs(made: Task) -> list[Checkpoint]:
    some = [Segment(random_restart(made.space, label, 0, made.seed), 3) for label in range(2)]
    return list(advance(made.inversion, some, made.minibatches))


def test_a_model_that_keras_cannot_save_cannot_be_sent() -> None:
    class Stubborn(keras.layers.Layer):
        def call(self, images: np.ndarray) -> np.ndarray:
            return images

        def get_config(self) -> dict[str, object]:
            raise NotImplementedError("Stubborn has no configuration")

    model = keras.Sequential([keras.Input(IMAGE_SHAPE), Stubborn(), *corner_network().layers])
    with pytest.raises(InputError, match=r"cannot be sent to the workers.*Stubborn has no configuration.*or scan on this machine"):
        pack(task(model))


def test_a_model_whose_layers_a_worker_does_not_have_cannot_be_rebuilt() -> None:
    parcel = pack(task())
    with pytest.raises(InputError, match=r"a worker cannot rebuild the model \(.*\): expected layers of Keras"):
        unpack(replace(parcel, model=parcel.model[:100]))


def test_a_worker_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = pack(task())
    monkeypatch.setattr(worker, "__version__", "9.9")
    with pytest.raises(InputError, match=r"a worker has nc_tf 9\.9, the scan was started with .*: expected the same version"):
        unpack(parcel)


@pytest.mark.slow
def test_a_worker_yields_what_its_legs_come_to_whenever_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of its own would set its threads; in this one TensorFlow has started long ago.
    monkeypatch.setattr(worker, "use_cores", lambda cores: None)
    sent = task()
    some = [Segment(random_restart(sent.space, label, 0, sent.seed), 3) for label in range(4)]
    hand = Worker(cores=1)
    said = hand.search(pack(sent), lanes=2)
    assert next(said) is None
    hand.give(some[:1])
    first = next(said)
    hand.give(some[1:3])
    rest = [next(said), next(said)]
    Timer(0.2, hand.give, [some[3:]]).start()  # meanwhile it has nothing to do, and waits
    rest.append(next(said))
    expected = list(advance(sent.inversion, some, sent.minibatches))
    for one, other in zip([first, *rest], expected, strict=True):
        assert one is not None
        assert (one.label, one.rounds) == (other.label, 3)
        np.testing.assert_allclose(one.history, other.history, rtol=1e-4)
