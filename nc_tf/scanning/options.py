"""Options of a scan, as one frozen value."""

from collections.abc import Iterable
from dataclasses import dataclass

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.inversion.step import SearchSettings
from nc_tf.preprocessing import Preprocessing
from nc_tf.scanning.detectors import BESIDE, ONE_LABEL
from nc_tf.scanning.presets import preset_named

BEST = ("norm", "success")


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanOptions:
    """How to scan; `nc_tf.scan` takes the same names as keywords.

    Attributes:
        targets: labels to search, kept as a tuple; None searches all.
        preset: name of one of `PRESETS`.
        settings: search settings that replace the preset's; pre-screening keeps its own.
        starts: restarts a label, of which the smallest working trigger counts; None takes the preset's. Pre-screening keeps its own.
        best: which working trigger of a label counts: that with the smallest "norm", or that with the greatest "success" on held-out
            images. Equal success leaves the smaller one.
        precision: "float32", "bfloat16" or "auto" (bfloat16 where the hardware has it); None takes the preset's.
        intensity_range: range of pixels that the model expects, see `nc_tf.preprocessing`; "auto" tries all and measures accuracy.
        upsample_size: side of the mask's super-pixels, pixels.
        per_frame: on clips, one trigger a frame instead of one that all frames share.
        seed: of restarts, minibatches and the held-out part.
        lanes: restarts advanced together at most; None takes `Preset.lanes_for`. Fewer run where memory does not suffice
            (`nc_tf.runtime.memory.allow`). No result depends on it.
        engine: "local" searches in this process, "ray" on a cluster; results are the same.
        detectors: names of the detectors that run beside "one-label", which always runs, kept as a tuple: "all-to-all", "hardening",
            "source-specific", "picture" and "warp". None takes all that preset, classes and inputs allow.

    Raises:
        InputError: a value is out of its range, or two contradict each other.
    """

    targets: Iterable[int] | None = None
    preset: str = "robust"
    settings: SearchSettings | None = None
    starts: int | None = None
    best: str = "norm"
    precision: str | None = None
    intensity_range: str | Preprocessing | RangeChoice = AUTO
    upsample_size: int = 1
    per_frame: bool = False
    seed: int = 0
    lanes: int | None = None
    engine: str = "local"
    detectors: Iterable[str] | None = None

    def __post_init__(self) -> None:
        """Check every value, and keep targets and detectors as tuples."""
        object.__setattr__(self, "targets", None if self.targets is None else tuple(self.targets))
        if isinstance(self.detectors, str):
            raise InputError(f"detectors {self.detectors!r}: expected a list of names; write [{self.detectors!r}]")
        object.__setattr__(self, "detectors", None if self.detectors is None else tuple(self.detectors))
        preset = preset_named(self.preset)
        if self.starts is not None and self.starts < 1:
            raise InputError(f"{self.starts} restarts: expected 1 or more; the paper makes 1")
        if self.lanes is not None and self.lanes < 1:
            raise InputError(f"{self.lanes} lanes: expected 1 or more; leave them out for the preset's")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected 0 or more; choose one")
        known = (ONE_LABEL, *BESIDE)
        for name in self.detectors or ():
            if name not in known:
                raise InputError(f"detector {name!r}: expected some of {', '.join(known)}; choose from these")
        if self.best not in BEST:
            raise InputError(f"best {self.best!r}: expected one of {', '.join(BEST)}; choose one")
        if self.best == "success" and preset.cuts:
            raise InputError(f"preset {self.preset} drops restarts before they end: expected --preset paper, to choose one by its success")
