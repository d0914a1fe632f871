"""The engine of a cluster, on a real one: several nodes of Ray on this machine, each with processes of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, corner_images, corner_network
from quick import QUICK

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Checkpoint
from nc_tf.results import ScanResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.engines.worker import Worker
from nc_tf.scanning.scan import scan

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'nc_tf[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

IMAGES, LABELS = corner_images(120)
STARTS = 2
SMALL = {"include_dashboard": False, "object_store_memory": 80 * 2**20}


class Halt(Exception):
    """Stop of a scan by its caller."""


class Listen(ScanCallback):
    """Records each checkpoint, and calls `then` after a number of them."""

    def __init__(self, at: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.rounds: list[tuple[int, int, int]] = []
        self.at, self.then = at, then

    def on_leg(self, progress: Checkpoint) -> None:
        self.rounds.append((progress.label, progress.start, progress.rounds))
        if len(self.rounds) == self.at:
            self.then()


def halt() -> None:
    raise Halt


def scanned(engine: str, *callbacks: ScanCallback, **options: Any) -> ScanResult:
    model = options.pop("model", None) or corner_network(3)
    return scan(model, IMAGES, LABELS, preset="paper", settings=QUICK, starts=STARTS, engine=engine, callbacks=callbacks, **options)


def assert_alike(result: ScanResult, expected: ScanResult) -> None:
    """Same verdict, and of each label the same norm after the same number of rounds."""
    assert (result.verdict, result.flagged) == (expected.verdict, expected.flagged)
    for one, other in zip(result.labels, expected.labels, strict=True):
        assert (one.label, one.status, one.rounds) == (other.label, other.status, other.rounds)
        np.testing.assert_allclose(one.trigger.l1_norm, other.trigger.l1_norm, rtol=1e-3)
    assert result.settings == expected.settings


@pytest.fixture(scope="module")
def here() -> ScanResult:
    """The undisturbed scan of one machine."""
    return scanned("local")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a cluster whose head searches nothing: it has one worker for each node that a test adds."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
        made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
        environment.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


@pytest.fixture
def node(cluster: Any) -> Iterator[Callable[[], Any]]:
    """Adds a node of one core; what a test leaves is removed."""
    yield lambda: cluster.add_node(num_cpus=1, **SMALL)
    for added in list(cluster.worker_nodes):
        cluster.remove_node(added, allow_graceful=False)


@pytest.mark.slow
def test_a_scan_begun_here_goes_on_on_a_cluster_and_ends_here(
    cluster: Any, node: Callable[[], Any], here: ScanResult, tmp_path: Path
) -> None:
    folder = ScanFolder(tmp_path)
    parts = Listen(at=20, then=halt), Listen(at=20, then=halt), Listen()
    node()
    for engine, listen in zip(("local", "ray"), parts, strict=False):
        with pytest.raises(Halt):
            scanned(engine, folder, listen, resume=folder.open({}))
        assert not ray.is_initialized()
    assert_alike(scanned("local", folder, parts[2], resume=folder.open({})), here)
    began, went_on, ended = (part.rounds for part in parts)
    assert not set(began[:-1]) & set(went_on + ended), "what was done here was done again"
    assert not set(went_on[:-1]) & set(ended), "what was done on the cluster was done again"


@pytest.mark.slow
def test_a_node_that_dies_loses_nothing_and_one_that_joins_gets_work(cluster: Any, node: Callable[[], Any], here: ScanResult) -> None:
    old = node()

    def replace_the_only_node() -> None:
        node()
        cluster.remove_node(old, allow_graceful=False)

    listen = Listen(at=5, then=replace_the_only_node)
    assert_alike(scanned("ray", listen), here)
    assert len(set(listen.rounds)) == len(listen.rounds), "a segment that was done was done again"
    expected = [(label, start, rounds) for label in range(6) for start in range(STARTS) for rounds in range(8, QUICK.max_rounds + 1, 8)]
    assert sorted(listen.rounds) == expected


@pytest.mark.slow
def test_a_layer_that_only_this_process_has_is_named(cluster: Any, node: Callable[[], Any]) -> None:
    @keras.saving.register_keras_serializable("test_ray")
    class OnlyHere(keras.layers.Layer):
        def call(self, images: np.ndarray) -> np.ndarray:
            return images

    node()
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), OnlyHere(), *corner_network(3).layers])
    with pytest.raises(InputError, match=r"a worker cannot rebuild the model \(.*OnlyHere.*expected layers of Keras, or custom ones"):
        scanned("ray", model=model)


class Homeless(Worker):
    """As on a node without nc_tf: its module is not there, or what it needs is not."""

    def __init__(self, cores: int) -> None:
        raise ModuleNotFoundError("No module named 'nc_tf'")


@pytest.mark.slow
def test_a_node_where_no_worker_can_start_is_not_tried_for_ever(
    cluster: Any, node: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nc_tf.scanning.engines.worker_pool.Worker", Homeless)
    node()
    # On a busy machine Ray may give the actor up before it says why.
    with pytest.raises(InputError, match=r"no worker can be started \(.+\): expected nc_tf and enough memory on every node"):
        scanned("ray")


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(InputError, match=r"no connection to a Ray cluster at RAY_ADDRESS=127\.0\.0\.1:9 \(no answer from there\)"):
        scanned("ray")
