"""How many searches run together: as many as a preset wants, if they fit into the memory that a scan may take.

The outcome of a search does not depend on how many others run beside it, so memory never changes a verdict.
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
    """What fits.

    Attributes:
        lanes: searches together.
        in_flight: images, or frames of clips, in the network at once.
        planned: bytes, of the whole process at its peak.
        memory: bytes that it may take.
        measured: bytes that an image, or a clip, was measured to take, where that was clearly more than the graph says; otherwise None.
    """

    lanes: int
    in_flight: int
    planned: int
    memory: int
    measured: int | None = None

    @property
    def record(self) -> dict[str, int]:
        """Plain JSON values for the settings of a result; nothing that the result depends on."""
        more = {} if self.measured is None else {"measured_bytes_an_image": self.measured}
        return {"limit": self.memory, "planned": self.planned, "lanes": self.lanes, "in_flight": self.in_flight, **more}

    def __str__(self) -> str:
        return f"{words(self.planned)} of memory planned, {words(self.memory)} allowed"


def plan_search(task: Task, lanes: int, kept: int, *, check: bool = True) -> SearchPlan:
    """Find how many of the lanes fit.

    Args:
        task: what is searched.
        lanes: wanted at most.
        kept: bytes of the images that it keeps.
        check: whether to run a small batch where the plan is near the limit, and to believe what that takes if it is more.

    Raises:
        InputError: not even one search fits.
    """
    batch, shape, memory = task.settings.batch_size, task.images.shape[1:], allowed()
    # Labels are measured between rounds, and the allocator does not give back all that one of the two has taken. Asked for first, because
    # it refuses what must not be run even once.
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
    """What one image of one search takes, from the network to the gradient of mask and pattern.

    The state of the search itself is counted with every image.
    """
    run = task.inversion.start([np.zeros(task.space.mask_shape)], [np.zeros(task.space.pattern_shape)])
    state = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), run)
    image = tf.TensorSpec([1, 1, *task.images.shape[1:]], tf.float32)
    return footprint_of(task.inversion.update, state, tf.TensorSpec([1], tf.int32), image)


def measured_bytes(task: Task) -> int:
    """What one image more in the network adds to the peak of the process, by running some searches, then one more; 0 where nothing tells.

    They are as many as have more images than the look at the network had, whose memory the allocator may have kept.
    """
    batch, peaks = task.settings.batch_size, []
    some = -(-2 * MOST_DIFFERENTIATED // batch)
    for lanes in (some, some + 1):
        run = task.inversion.start([np.zeros(task.space.mask_shape)] * lanes, [np.zeros(task.space.pattern_shape)] * lanes)
        rows = np.resize(np.arange(batch, dtype=np.int32), (1, lanes, batch))
        images = tf.constant(task.images[task.minibatches.rows[:batch]])
        with _Peak() as peak:
            task.inversion.advance(run, tf.zeros([lanes], tf.int32), images, rows)
        peaks.append(peak.bytes)
    return max(0, peaks[1] - peaks[0]) // batch


class _Peak:
    """A context in which the resident size of the process is looked at all the time; the system's own mark may be an older, higher one."""

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
        while statm.exists():  # elsewhere nothing tells
            self.bytes = max(self.bytes, int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            if self._over.wait(0.002):
                return
