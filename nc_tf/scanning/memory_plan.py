"""Plan of the memory of a scan: the number of searches that run together.

The outcome of a search does not depend on the number of others beside it, so memory never changes a verdict.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.evaluation import evaluation_bytes
from nc_tf.models.footprint import footprint_of, weight_bytes
from nc_tf.models.frozen import MOST_DIFFERENTIATED
from nc_tf.results import Unit
from nc_tf.runtime.memory import BASE, MARGIN, Footprint, allowed, words
from nc_tf.scanning.engines.task import Task

# A plan that takes a larger share of the memory than this is checked by running a small batch.
CHECKED = 0.5


@dataclass(frozen=True)
class SearchPlan:
    """Searches that fit into memory.

    Attributes:
        lanes: number of searches that run together.
        in_flight: number of images, or frames of clips, in the network at once.
        planned: bytes of the whole process at its peak.
        memory: bytes that the process may take.
        measured: measured bytes of an image, or a clip, where they clearly exceed the estimate from the graph; otherwise None.
    """

    lanes: int
    in_flight: int
    planned: int
    memory: int
    measured: int | None = None

    @property
    def record(self) -> dict[str, int]:
        """Return plain JSON values for the settings of a result.

        The result does not depend on them.
        """
        more = {} if self.measured is None else {"measured_bytes_an_image": self.measured}
        return {"limit": self.memory, "planned": self.planned, "lanes": self.lanes, "in_flight": self.in_flight, **more}

    def __str__(self) -> str:
        """Return the two amounts of memory as words."""
        return f"{words(self.planned)} of memory planned, {words(self.memory)} allowed"


def plan_search(task: Task, lanes: int, kept: int, *, check: bool = True) -> SearchPlan:
    """Return how many lanes fit into memory, and their bytes.

    Args:
        task: the search problem.
        lanes: most lanes.
        kept: bytes of the images that stay in memory.
        check: whether to run a small batch where the plan is near the limit; the measurement counts if it exceeds the estimate.

    Raises:
        InputError: one search alone does not fit.
    """
    batch, shape, memory = task.settings.batch_size, task.images.shape[1:], allowed()
    # Labels are measured between rounds, and the allocator does not return all memory of either. This comes first, because it refuses
    # models that must not be run even once.
    evaluation = evaluation_bytes(task.model, shape)
    around = BASE + weight_bytes(task.model) + weight_bytes(task.network.model) + kept + evaluation
    found, measured = search_footprint(task), None

    def planned(lanes: int) -> int:
        return around + task.minibatches.bytes_on_device(lanes) + found.of(lanes * batch)

    def fitting(lanes: int) -> int:
        most = next((number for number in range(lanes, 0, -1) if planned(number) <= memory), None)
        if most is None:
            unit = Unit.of(shape)
            smaller = f"a --batch-size below {batch}" if batch > 1 and around < memory else f"fewer or smaller {unit.many}"
            raise InputError(
                f"one search takes {words(planned(1))} of memory, {words(found.per_image)} of it for {unit.one} in the network: "
                f"expected {words(memory)} at most; give more with --memory, or {smaller}"
            )
        return most

    lanes = fitting(lanes)
    if check and (found.hidden or planned(lanes) > CHECKED * memory) and not tf.config.list_physical_devices("GPU"):
        each = measured_bytes(task)
        if each > MARGIN * found.per_image:
            found, measured = Footprint(found.fixed, each), each
            lanes = fitting(lanes)
    return SearchPlan(lanes, lanes * batch * (shape[0] if len(shape) == 4 else 1), planned(lanes), memory, measured)


def search_footprint(task: Task) -> Footprint:
    """Return the memory of one image of one search.

    It covers everything from the network to the gradient of mask and pattern.

    The state of the search itself is counted with every image.
    """
    run = task.inversion.start([np.zeros(task.space.mask_shape)], [np.zeros(task.space.pattern_shape)])
    state = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), run)
    image = tf.TensorSpec([1, 1, *task.images.shape[1:]], tf.float32)
    return footprint_of(task.inversion.update, state, tf.TensorSpec([1], tf.int32), image)


def measured_bytes(task: Task) -> int:
    """Return the bytes that one more image in the network takes.

    It is the rise of the peak of the process; 0 where that cannot be measured.

    A number of searches is run, then one more. The number is so large that its images exceed those with which the network was examined:
    the allocator may have kept their memory.
    """
    batch, peaks = task.settings.batch_size, []
    fewest = -(-2 * MOST_DIFFERENTIATED // batch)
    for lanes in (fewest, fewest + 1):
        run = task.inversion.start([np.zeros(task.space.mask_shape)] * lanes, [np.zeros(task.space.pattern_shape)] * lanes)
        rows = np.resize(np.arange(batch, dtype=np.int32), (1, lanes, batch))
        images = tf.constant(task.images[task.minibatches.rows[:batch]])
        with _Peak() as peak:
            task.inversion.advance(run, tf.zeros([lanes], tf.int32), images, rows)
        peaks.append(peak.bytes)
    return max(0, peaks[1] - peaks[0]) // batch


class _Peak:
    """Context that samples the resident size of the process.

    The peak that the system reports may be older and higher.

    Attributes:
        bytes: the largest sample; 0 where the system has no /proc.
    """

    def __init__(self) -> None:
        self.bytes, self._over = 0, Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        statm = Path("/proc/self/statm")
        while statm.exists():  # other systems have no such file
            self.bytes = max(self.bytes, int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            if self._over.wait(0.002):
                return
