"""Worker of a cluster, which loads the model once and runs segments."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import keras
import numpy as np
import tensorflow as tf

from nc_tf._version import __version__
from nc_tf.errors import InputError
from nc_tf.inversion.loop import advance
from nc_tf.inversion.restart import Checkpoint, Segment
from nc_tf.inversion.step import Inversion, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.models.loading.load import keras_reason
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.scanning.engines.task import Task


@dataclass(frozen=True, eq=False)
class PackedTask:
    """A `Task` as it travels.

    Attributes:
        version: version of the nc_tf that packed it.
        model: the bytes of a `.keras` file.
        precision: "float32" or "bfloat16", decided before, so that all workers compute alike.
        preprocess, images, settings, upsample_size, seed, per_frame, labels, search, kind: as in `Task`.
    """

    version: str
    model: bytes
    precision: str
    preprocess: Preprocessing
    images: np.ndarray
    settings: SearchSettings
    upsample_size: int
    seed: int
    per_frame: bool
    labels: np.ndarray | None
    search: type[Inversion] = Inversion
    kind: type[TriggerSpace] = TriggerSpace


def pack(task: Task) -> PackedTask:
    """Return a search problem that can be sent to another machine.

    Raises:
        InputError: its model cannot be saved.
    """
    with tempfile.TemporaryDirectory(prefix="nc_tf_") as folder:
        file = Path(folder) / "model.keras"
        try:
            save_model(task.model, file)
        except InputError:  # no room for the file
            raise
        except Exception as error:  # a layer's own methods may raise anything
            raise InputError(
                f"the model cannot be sent to the workers, because Keras cannot save it ({keras_reason(error)}): "
                "expected one that model.save('name.keras') accepts; rebuild it from layers of Keras, or scan on this machine"
            ) from error
        model = file.read_bytes()
    images, labels = task.images, task.labels
    if task.rows is not None:  # no other image travels
        images, labels = images[task.rows], None if labels is None else labels[task.rows]
    same = (task.preprocess, images, task.settings, task.upsample_size, task.seed, task.per_frame, labels)
    return PackedTask(__version__, model, task.network.precision, *same, search=task.search, kind=task.kind)


def unpack(parcel: PackedTask) -> Task:
    """Return the search problem that a parcel holds.

    Args:
        parcel: from `pack`.

    Raises:
        InputError: another version packed it, or the model cannot be rebuilt here.
    """
    if parcel.version != __version__:
        raise InputError(
            f"a worker has nc_tf {__version__}, the scan was started with {parcel.version}: "
            "expected the same version on all nodes; install it there"
        )
    with tempfile.TemporaryDirectory(prefix="nc_tf_") as folder:
        file = Path(folder) / "model.keras"
        file.write_bytes(parcel.model)
        try:
            # Safe mode would protect nothing: a sender could as well send a program. The model's own file was checked when it was opened.
            model = keras.models.load_model(file, compile=False, safe_mode=False)
        except Exception as error:
            raise InputError(
                f"a worker cannot rebuild the model ({keras_reason(error)}): expected layers of Keras, or custom ones that can be imported "
                "on every node; install what defines them there, or scan on this machine"
            ) from error
    same = (parcel.images, parcel.settings, parcel.upsample_size, parcel.seed, parcel.per_frame, parcel.labels)
    return Task(model, parcel.preprocess, parcel.precision, *same, search=parcel.search, kind=parcel.kind)


def use_cores(cores: int) -> None:
    """Limit TensorFlow to `cores` cores and the GPU memory it needs.

    Call it before TensorFlow starts its devices.
    """
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # the process that drives the scan may need some of it


class _Inbox(Iterator[Segment]):
    """Tasks that the worker was given.

    The iterator waits for a segment only while none is under way; otherwise it raises StopIteration.
    """

    def __init__(self) -> None:
        self.given: SimpleQueue[Segment] = SimpleQueue()
        self.under_way = 0

    def __next__(self) -> Segment:
        try:
            segment = self.given.get(block=self.under_way == 0)
        except Empty:
            raise StopIteration from None
        self.under_way += 1
        return segment


class Worker:
    """One process of a cluster.

    `search` runs until the process ends, and another thread calls `give` meanwhile.
    """

    def __init__(self, cores: int) -> None:
        """Begin without a segment, on at most `cores` cores."""
        self.cores = cores
        self.inbox = _Inbox()

    def give(self, segments: Sequence[Segment]) -> None:
        """Add segments to run."""
        for segment in segments:
            self.inbox.given.put(segment)

    def search(self, parcel: PackedTask, lanes: int) -> Iterator[Checkpoint | None]:
        """Yield None when the model is loaded, then each segment's last checkpoint.

        The generator never ends.

        Args:
            parcel: the search problem, from `pack`.
            lanes: restarts advanced together.

        Raises:
            InputError: see `unpack`.
        """
        use_cores(self.cores)
        task = unpack(parcel)
        inversion, minibatches = task.inversion, task.minibatches
        yield None
        for progress in advance(inversion, self.inbox, minibatches, lanes=lanes, own_classes=task.own_classes):
            self.inbox.under_way -= 1
            yield progress
