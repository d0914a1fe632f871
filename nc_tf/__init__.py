"""nc_tf: find, show and remove backdoors in Keras classifiers (Neural Cleanse, IEEE S&P 2019)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nc_tf._version import __version__

if TYPE_CHECKING:
    from nc_tf.callbacks import ScanCallback
    from nc_tf.errors import InputError
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.adapting import adapt
    from nc_tf.models.loading import load_model
    from nc_tf.results import LabelResult, Measurement, Mitigation, ScanResult, Status, Trigger, Verdict
    from nc_tf.scanning import scan
    from nc_tf.visualizer import Visualizer

# Imported when first asked for: TensorFlow takes seconds, and `nc-tf --help` has to set up its log before it loads.
_HOMES = {
    "InputError": "errors",
    "LabelResult": "results",
    "Measurement": "results",
    "Mitigation": "results",
    "ScanCallback": "callbacks",
    "ScanResult": "results",
    "Status": "results",
    "Trigger": "results",
    "Verdict": "results",
    "Visualizer": "visualizer",
    "adapt": "models.adapting",
    "load_model": "models.loading",
    "scan": "scanning",
    "unlearn": "mitigation.unlearning",
}
__all__ = [
    "InputError",
    "LabelResult",
    "Measurement",
    "Mitigation",
    "ScanCallback",
    "ScanResult",
    "Status",
    "Trigger",
    "Verdict",
    "Visualizer",
    "__version__",
    "adapt",
    "load_model",
    "scan",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
