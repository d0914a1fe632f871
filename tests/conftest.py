"""What every test gets: a quiet TensorFlow, no windows, fixed seeds, and the real data where there is any."""

import os
import signal

# Before anything imports TensorFlow or matplotlib, which read these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import keras


def pytest_configure() -> None:
    """Hear Ctrl-C: a shell that starts the tests in the background has them ignore it, and with them every process that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for the fixture `realdata`, so that `-m "not realdata"` leaves out exactly those; put slow files first.

    At the end of a run with a file a core a long one would keep a single core busy.
    """
    for item in items:
        if "realdata" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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


@pytest.fixture(scope="module")
def infected() -> "keras.Model":
    """`planted.infected_network`, trained anew for every file, so that no file sees what another did to it."""
    from planted import infected_network

    return infected_network()
