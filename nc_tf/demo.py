"""The embedded default: rendered signs and a small infected network, from scan to repair."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from nc_tf.attacks.patch import patch
from nc_tf.datasets.rendered import signs
from nc_tf.errors import InputError
from nc_tf.mitigation.saving import save_mitigation
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.loading.load import load_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.report.figures import trigger_gallery
from nc_tf.report.report_file import write_report
from nc_tf.results import Mitigation, ScanResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.settings_record import DEMO, model_facts
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.scan import scan
from nc_tf.storage.files import whole_file
from nc_tf.storage.folder_lock import locked

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
        report: path of the page, once scanned.
    """

    def __init__(self, folder: str | Path, seed: int = 0) -> None:
        self.folder, self.seed = ScanFolder(folder, "signs"), seed
        self.repaired_file = self.folder.path / "signs_repaired.keras"

    def prepare(self) -> None:
        """Render the signs, and load the infected network as the stranger's file that it is."""
        self.train, (self.images, self.labels) = signs.load_data(num_train=8600, num_test=4300, seed=self.seed + 1)
        self.model = load_model(shipped_model(INFECTED))

    def scan(self, callbacks: Sequence[ScanCallback] = ()) -> ScanResult:
        """Search every label, save, and keep the verdict."""
        mark = {DEMO: True}
        with locked(self.folder.path):
            self.folder.open(mark)  # refuses the folder of a real scan
            self.folder.open(mark, fresh=True)
            self.result = scan(self.model, self.images, self.labels, seed=self.seed, callbacks=[self.folder, *callbacks])
            what = model_facts(shipped_model(INFECTED), self.model)
            data = {"path": f"rendered signs, seed {self.seed + 1}", "num_images": len(self.images)}
            self.folder.write_samples(self.images, self.labels)
            self.folder.write_verdict(self.result, what, data, signs.CLASS_NAMES)
            self.report = write_report(self.folder.path)
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
