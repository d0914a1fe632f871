"""The embedded default: rendered signs and a small infected network, from scan to repair."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from nc_tf.attacks.patch import patch
from nc_tf.datasets.labelled import LabelledImages
from nc_tf.datasets.rendered import signs
from nc_tf.errors import InputError
from nc_tf.folder_scan import Around, directly, scan_to_folder
from nc_tf.mitigation.saving import save_mitigation
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.loading.load import load_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.report.figures import trigger_gallery
from nc_tf.results import Mitigation, ScanResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.options import ScanOptions
from nc_tf.storage.files import whole_file

TARGET = 33
INFECTED = "signs_infected.keras"
# Stronger than the paper's unlearning: with that recipe the small network forgets the reversed trigger but still obeys the true one,
# which is larger, on many images.
UNLEARNING: dict[str, Any] = {"fraction": 1.0, "ratio": 0.5, "learning_rate": 5e-3, "epochs": 2}


def shipped_model(name: str) -> Path:
    """Return the path of a network that ships inside the package.

    Raises:
        InputError: the file is missing.
    """
    path = Path(str(files("nc_tf.models") / "weights" / name))
    if not path.is_file():
        raise InputError(f"{name} is missing in {path.parent}: expected a network that ships with nc_tf; install nc_tf again")
    return path


class Demo:
    """One run of the story; each step is a method, in order.

    Attributes:
        images, labels: clean test images (N, 32, 32, 3) uint8 and their classes, once prepared.
        report: path of the page, which the scan writes.
    """

    def __init__(self, folder: str | Path, seed: int = 0) -> None:
        self.folder, self.seed = ScanFolder(folder, "signs"), seed
        self.repaired_file, self.report = self.folder.path / "signs_repaired.keras", self.folder.path / "report.html"

    def prepare(self) -> None:
        """Render the signs, and load the infected network as the stranger's file that it is."""
        self.train, (self.images, self.labels) = signs.load_data(num_train=8600, num_test=4300, seed=self.seed + 1)
        self.model = load_model(shipped_model(INFECTED))

    def scan(self, callbacks: Sequence[ScanCallback] = (), around: Around = directly) -> ScanResult:
        """Search every label, save, and return the result; `around` as `scan_to_folder` takes it."""
        self.result = scan_to_folder(
            self.folder.path,
            self.model,
            LabelledImages(self.images, self.labels, signs.CLASS_NAMES),
            # The planted patch leads to one label. The other detectors would take more time than the rest of the demo.
            options=ScanOptions(seed=self.seed, detectors=()),
            fresh=True,
            callbacks=callbacks,
            model_file=shipped_model(INFECTED),
            data_file=f"rendered signs, seed {self.seed + 1}",
            name=self.folder.name,
            demo=True,
            around=around,
        )
        return self.result

    def overview(self) -> Path:
        """Draw the triggers of the labels with the smallest norms, stamped on signs; returns the picture's path."""
        path = self.folder.path / "triggers.png"
        with whole_file(path) as temporary:
            trigger_gallery(self.result, self.images, self.labels, class_names=signs.CLASS_NAMES).savefig(temporary)
        return path

    def unlearn(self) -> Mitigation:
        """Repair the network, save it, and measure the saved file with the reversed and with the true trigger."""
        test, known = (self.images, self.labels), {"true": patch(self.images.shape[1:], TARGET)}
        mitigation = unlearn(
            self.model, *self.train, self.result.triggers, test=test, known_triggers=known, seed=self.seed, verbose=0, **UNLEARNING
        )
        return save_mitigation(mitigation, self.repaired_file, test, Preprocessing())
