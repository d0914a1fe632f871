"""What every test gets: a quiet TensorFlow, no windows, fixed seeds, and the real data where there is any."""

import fcntl
import gc
import os
import signal
from collections import Counter

# Before anything imports TensorFlow or matplotlib, which read these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from warm_server import warm_server  # noqa: F401  # a fixture

if TYPE_CHECKING:
    import keras


def pytest_configure() -> None:
    """Hear Ctrl-C: a shell that starts the tests in the background has them ignore it, and with them every process that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the markers that follow from others, and order the files by their number of slow tests.

    A test that uses the fixture `realdata` is marked `realdata`. A slow test is marked `no_cover`, because tracing makes it a third slower:
    coverage is that of the tests which are not slow. A file with many slow tests comes first: at the end it would run on one core alone.
    """
    slow: Counter[Path] = Counter()
    for item in items:
        if "realdata" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")
            slow[item.path] += 1
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Take what has been imported out of the garbage collector, which Keras calls for every layer that it quantizes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data named by NC_TF_DATA; without the variable the test is skipped, with a wrong one it fails."""
    named = os.environ.get("NC_TF_DATA")
    if not named:
        pytest.skip("needs real data: set NC_TF_DATA to the folder that holds gtsrb_dataset.h5")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"NC_TF_DATA is {named}, which is no folder: name the folder of the real data, or unset it to skip these tests")
    return folder


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same random state, so that its outcome does not depend on the tests before it."""
    import keras

    keras.utils.set_random_seed(2019)


@pytest.fixture(autouse=True)
def _labels_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave detectors out of scans that take as long as the labels, except in tests marked `hardens`, `source_specific`, `whole_image`."""
    marked = {"hardens": ("hardening",), "source_specific": ("source-specific",), "whole_image": ("picture", "warp")}
    more = [name for mark, names in marked.items() if request.node.get_closest_marker(mark) for name in names]
    monkeypatch.setattr("nc_tf.scanning.detectors.BESIDE", ("all-to-all", *more))


@pytest.fixture(scope="session")
def infected_weights(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The weights of `planted.infected_network`, trained once for all workers of pytest-xdist."""
    from planted import infected_network

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of the worker lies in that of the session
    file = folder / "infected_weights.npz"
    with open(folder / "infected_weights.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not file.exists():
            np.savez(file, *infected_network().get_weights())
    with np.load(file) as weights:
        return [weights[name] for name in weights.files]


@pytest.fixture(scope="module")
def infected(infected_weights: list[np.ndarray]) -> "keras.Model":
    """A compiled copy of `planted.infected_network` for every file, so that no file sees what another did to it."""
    from quick import small_network

    model = small_network()
    model.set_weights(infected_weights)
    model.compile("adam", "categorical_crossentropy")
    return model
