"""nc_tf: find, show and remove backdoors in Keras classifiers (Neural Cleanse, IEEE S&P 2019)."""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nc_tf._version import __version__

if TYPE_CHECKING:
    from nc_tf.errors import InputError
    from nc_tf.folder_scan import scan_to_folder
    from nc_tf.inversion.cost_schedule import CostSchedule
    from nc_tf.inversion.step import SearchSettings
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.adapting import adapt
    from nc_tf.models.loading.load import load_model
    from nc_tf.results import LabelResult, Measurement, Mitigation, ScanResult, Status, Trigger, Verdict
    from nc_tf.scanning.callbacks import ScanCallback
    from nc_tf.scanning.options import ScanOptions
    from nc_tf.scanning.scan import scan
    from nc_tf.visualizer import Visualizer

# Imported when first asked for: TensorFlow takes seconds, and `nc-tf --help` has to set up its log before it loads.
_HOMES = {
    "CostSchedule": "inversion.cost_schedule",
    "InputError": "errors",
    "LabelResult": "results",
    "Measurement": "results",
    "Mitigation": "results",
    "ScanCallback": "scanning.callbacks",
    "ScanOptions": "scanning.options",
    "ScanResult": "results",
    "SearchSettings": "inversion.step",
    "Status": "results",
    "Trigger": "results",
    "Verdict": "results",
    "Visualizer": "visualizer",
    "adapt": "models.adapting",
    "load_model": "models.loading.load",
    "scan": "scanning.scan",
    "scan_to_folder": "folder_scan",
    "unlearn": "mitigation.unlearning",
}
# Module paths of before that the documentation named; they lead to the same module.
_MOVED = {
    "nc_tf.clip_training": "nc_tf.training.clips",
    "nc_tf.command": "nc_tf.cli.command",
    "nc_tf.datasets.augmentation": "nc_tf.training.augmentation",
    "nc_tf.datasets.files": "nc_tf.datasets.read",
    "nc_tf.datasets.hdf5_stream": "nc_tf.datasets.formats.hdf5_stream",
    "nc_tf.datasets.signs": "nc_tf.datasets.rendered.signs",
    "nc_tf.lanes": "nc_tf.scanning.memory_plan",
    "nc_tf.memory": "nc_tf.runtime.memory",
    "nc_tf.models.cnn_lstm": "nc_tf.models.networks.cnn_lstm",
    "nc_tf.outliers": "nc_tf.detection.outliers",
}
__all__ = [
    "CostSchedule",
    "InputError",
    "LabelResult",
    "Measurement",
    "Mitigation",
    "ScanCallback",
    "ScanOptions",
    "ScanResult",
    "SearchSettings",
    "Status",
    "Trigger",
    "Verdict",
    "Visualizer",
    "__version__",
    "adapt",
    "load_model",
    "scan",
    "scan_to_folder",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


class _MovedModules(MetaPathFinder, Loader):
    """Find the modules of `_MOVED` under their new names; one module object serves both."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__ and module.__spec__.loader_state  # the import system has put the old name's there


sys.meta_path.append(_MovedModules())
