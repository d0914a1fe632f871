"""The commands that a report suggests, made from `verdict.json`: repair, search again, repeat."""

import re
import shlex
import string
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from nc_tf.storage.verdict_schema import NO_DATA_FILE, NO_MODEL_FILE, ScanVerdict

# The options of `nc-tf scan` for settings of a search that differ from those of a preset.
_OPTIONS = {
    "loss": "--loss",
    "max_rounds": "--rounds",
    "batches_per_round": "--batches-per-round",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
}
_COST_OPTIONS = {
    "init_cost": "--init-cost",
    "multiplier": "--cost-multiplier",
    "patience": "--patience",
    "threshold": "--threshold",
}


@dataclass(frozen=True)
class Command:
    """A line for a shell, its purpose, and whether it opens the scanned model."""

    purpose: str
    line: str
    opens_model: bool = False


def commands(verdict: ScanVerdict, folder: str, *, demo: bool = False) -> list[Command]:
    """Return commands to run after a scan: repair, search again, repeat.

    A scan that pre-screened some of the labels of the model lists only the finished ones. Scanning these alone would be another scan, so
    that such a scan has no command to repeat it. A command cannot open a model or images that have no file.

    Args:
        verdict: the content of `verdict.json`.
        folder: the scan folder, as a command would name it.
        demo: the folder is that of `nc-tf demo`, which makes its own data and repairs its own network.

    Returns:
        The commands, the most useful one first.
    """
    folder = _path(folder)
    seed, other = int(verdict.settings.get("seed", 0)), folder.rstrip("/")
    again = f"{other}_seed_{seed + 1}"
    if demo:
        scan = ["nc-tf", "demo"]
        found = [
            Command("Search and repair again from another seed", _line([*scan, "--out", again, "--seed", str(seed + 1)])),
            Command("Repeat this demo", _line([*scan, "--out", folder, "--seed", str(seed)])),
        ]
    elif verdict.model["path"] == NO_MODEL_FILE or verdict.data["path"] == NO_DATA_FILE:
        found = []
    else:
        files, found = [_path(part["path"]) for part in (verdict.model, verdict.data)], []
        if verdict.flagged or verdict.pairs:
            repaired = PurePath(files[0]).stem + "_repaired.keras"
            how = [*_model_options(verdict), *_data_options(verdict)]
            unlearn = ["nc-tf", "unlearn", *files, "--scan", folder, "--out", repaired, *how]
            found.append(Command("Unlearn the flagged triggers", _line(unlearn), opens_model=True))
        labels = _labels(verdict)
        if labels is not None:
            options = [*_scan_options(verdict), *labels, *_model_options(verdict), *_data_options(verdict)]
            for purpose, end in (
                ("Search again from another seed", ["--out", again, *options, "--seed", str(seed + 1)]),
                ("Repeat this scan", ["--out", folder, *options, "--seed", str(seed), "--fresh"]),
            ):
                found.append(Command(purpose, _line(["nc-tf", "scan", *files, *end]), opens_model=True))
    return [*found, Command("Make this page again", _line(["nc-tf", "report", folder]))]


def _scan_options(verdict: ScanVerdict) -> list[str]:
    settings = verdict.settings
    given: dict[str, Any] = {}
    if settings.get("preset") == "custom":
        # The overruled preset is not written down. One preset pre-screens labels, though, and only two drop starts early.
        given["--preset"] = "low-cost" if "labels_ranked" in settings else "robust" if settings.get("cuts") else "paper"
        given |= {option: settings.get(key) for key, option in _OPTIONS.items()}
        given |= {option: settings.get("cost", {}).get(key) for key, option in _COST_OPTIONS.items()}
    else:
        given["--preset"] = settings.get("preset")
    several = "--trials" if settings.get("best") == "success" else "--starts"
    given |= {several: settings.get("starts"), "--precision": settings.get("precision"), "--images": verdict.data.get("num_images")}
    if settings.get("upsample_size", 1) != 1:
        given["--upsample"] = settings["upsample_size"]
    if settings.get("detectors"):
        given["--detectors"] = ",".join(map(str, settings["detectors"]))
    flags = ["--per-frame"] if settings.get("per_frame") else []
    return [str(word) for option, value in given.items() if value is not None for word in (option, value)] + flags


def _labels(verdict: ScanVerdict) -> list[str] | None:
    """Return the option that names the requested labels.

    It is empty for all labels, and None where they are not known.
    """
    searched, ranked = [row.label for row in verdict.labels], verdict.settings.get("labels_ranked")
    if max(len(searched), ranked or 0) >= verdict.model.get("num_classes", 0):
        return []
    return None if ranked else ["--labels", ",".join(map(str, searched))]


def _model_options(verdict: ScanVerdict) -> list[str]:
    """Return the options for a file without a whole image classifier."""
    model = verdict.model
    options = []
    if "output" in model:
        options.append(f"--output={model['output']}")  # with "=", because a stranger's name may begin with a minus
    if "own_input_shape" in model or "weights_of" in model:
        options += ["--image-shape", "x".join(map(str, model.get("input_shape", ())))]
    return [*options, "--weights-of", str(model["weights_of"])] if "weights_of" in model else options


def _data_options(verdict: ScanVerdict) -> list[str]:
    """Return the options for intensity range and order of the classes."""
    name = str(verdict.settings.get("intensity_range", "raw"))
    normalised = re.fullmatch(r"mean \[(.*)\] std \[(.*)\]", name)
    if normalised:
        mean, std = (numbers.replace(" ", "") for numbers in normalised.groups())
        # With "=", because a mean may begin with a minus.
        options = [f"--mean={mean}", f"--std={std}"]
    else:
        options = ["--intensity-range", name]
    order = verdict.data.get("label_order")
    return [*options, "--label-order", str(order)] if order else options


def _path(name: str) -> str:
    """Return a path as an argument.

    A path that begins with a minus must not look like an option.
    """
    return f"./{name}" if name.startswith("-") else name


def _line(words: list[str]) -> str:
    r"""Return the words as a shell reads them.

    Characters that cannot be shown are escaped as in `$'\xff'`, which bash and zsh understand.
    """
    return " ".join(shlex.quote(word) if word.isprintable() else f"$'{_escaped(word)}'" for word in words)


def _escaped(word: str) -> str:
    word = re.sub("[\ud800-\udc7f\udd00-\udfff]", "?", word)  # half a surrogate pair, which is no byte of a name
    plain = set(string.ascii_letters + string.digits + string.punctuation + " ") - set("'\\")
    return "".join(chr(byte) if chr(byte) in plain else f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogateescape"))
