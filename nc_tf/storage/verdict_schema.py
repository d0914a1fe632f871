"""The fields of `verdict.json` as types, which writer, reader and report share, and the JSON Schema made from them.

`verdict.schema.json` beside this file is that schema. After a change of a field, write it again:

    python -c 'from nc_tf.storage.verdict_schema import schema_text; print(schema_text(), end="")' > nc_tf/storage/verdict.schema.json

A field with a default came later than the first files of its schema number, and may be missing in them.
"""

import json
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError

from nc_tf.results import Status, Verdict

# The number goes up when a field is renamed, dropped or given another meaning; a new field leaves it.
SCHEMA = 1
# These words stand for the path of a model, and of images, that a Python caller had in memory.
NO_MODEL_FILE, NO_DATA_FILE = "MODEL", "DATA"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Count = Annotated[int, Meta(ge=0)]
Number = float | None
Length = Annotated[float, Meta(ge=0)] | None
Rate = Annotated[float, Meta(ge=0, le=1)] | None


def _says(words: str) -> Meta:
    return Meta(description=words)


class LabelRow(Struct, frozen=True, kw_only=True):
    """One searched label."""

    label: Annotated[Count, _says("the target class")]
    l1_norm: Annotated[Length, _says("sum of the mask of its trigger, pixels")]
    anomaly_index: Annotated[Number, _says("|norm - median| / MAD; null where the norm was not compared")]
    log_index: Annotated[Number, _says("index of the logarithm of the norm; null where the rule does not use it")] = None
    attack_success_rate: Annotated[Rate, _says("share of held-out inputs of other classes that the trigger sends to the label")]
    zero_trigger_rate: Annotated[Rate, _says("the same share without a trigger")]
    status: Annotated[Status, _says("how the search ended")]
    starts: Annotated[Count, _says("searches run, each from another start")]
    rounds: Annotated[Count, _says("rounds run, over all starts")]
    num_measured: Annotated[Count | None, _says("inputs that the two rates are measured on")] = None
    broke_down: Annotated[bool, _says("whether a search, or the model with the trigger, came to NaN or infinity")] = False
    by_patch: Annotated[bool, _says("whether the trigger is an opaque patch, smaller than what any search found")] = False
    name: Annotated[str | UnsetType, _says("the name of the class, where names are known")] = UNSET


class DetectionRow(Struct, frozen=True, kw_only=True):
    """The verdict of one detector."""

    name: Annotated[str, _says("the detector")]
    looked_for: Annotated[str, _says("the kind of backdoor that it can see")]
    statistic: Annotated[Number, _says("the number that it judges, larger where more is suspicious")]
    p_value: Annotated[Rate, _says("probability that a clean network shows as much; null where it is not known")]
    flagged: Annotated[bool, _says("whether it suspects a backdoor")]
    verdict: Annotated[Verdict, _says("what it says by itself")]
    reason: Annotated[str, _says("the ground of that, in one sentence")]
    labels: Annotated[list[Count], _says("labels that it suspects, most anomalous first")] = msgspec.field(default_factory=list)


class ChangeRow(Struct, frozen=True, kw_only=True):
    """The smallest change of the whole image that sends inputs to one label."""

    detector: Annotated[str, _says("the detector that judges its size: picture or warp")]
    label: Annotated[Count, _says("the target class")]
    size: Annotated[Length, _says("opacity of a picture, from 0 to 1, or length of a warp, pixels")]
    chance: Annotated[Rate, _says("probability that a clean network shows as small a size; null where none worked")]
    attack_success_rate: Annotated[Rate, _says("share of held-out inputs of other classes that the change sends to the label")]
    zero_trigger_rate: Annotated[Rate, _says("the same share without a change")]
    num_measured: Annotated[Count, _says("inputs that the two rates are measured on")]
    status: Annotated[Status, _says("how the search ended")]
    name: Annotated[str | UnsetType, _says("the name of the class, where names are known")] = UNSET


class PairRow(Struct, frozen=True, kw_only=True):
    """A source class, and the label that its images are sent to."""

    source: Annotated[Count, _says("the class of the images")]
    target: Annotated[Count, _says("the label that most of them get")]
    attack_success_rate: Annotated[Rate, _says("share of held-out inputs of the source that get the label by the trigger")]


class SourceRow(Struct, frozen=True, kw_only=True):
    """The smallest trigger that takes one class away from itself and leaves the others alone."""

    source: Annotated[Count, _says("the class of the images")]
    target: Annotated[Count, _says("the label that most of them get; the source itself where they stay")]
    l1_norm: Annotated[Length, _says("sum of the mask of its trigger, pixels")]
    again: Annotated[Status | None, _says("how the search on a copy ended that ignores the trigger; null where there was none")]
    norm_after: Annotated[Length, _says("norm of the smallest trigger that works on that copy; null without one")]
    left_rate: Annotated[Rate, _says("share of the same inputs of the source that the trigger still sends to the target there")]
    attack_success_rate: Annotated[Rate, _says("share of held-out inputs of the source that get the target by the trigger")]
    kept_rate: Annotated[Rate, _says("share of held-out inputs of other classes that keep their class")]
    num_measured: Annotated[Count, _says("inputs of the source that the first rate is measured on")]
    status: Annotated[Status, _says("how the search ended")]
    starts: Annotated[Count, _says("searches run, each from another start")]
    rounds: Annotated[Count, _says("rounds run, over all starts")]
    flagged: Annotated[bool, _says("whether its trigger is suspicious")]


class UntargetedRow(Struct, frozen=True, kw_only=True):
    """The smallest trigger that takes every class away from itself."""

    l1_norm: Annotated[Length, _says("sum of its mask, pixels")]
    attack_success_rate: Annotated[Rate, _says("share of held-out inputs that get another class than their own")]
    status: Annotated[Status, _says("how the search ended")]
    starts: Annotated[Count, _says("searches run, each from another start")]
    rounds: Annotated[Count, _says("rounds run, over all starts")]
    labels: Annotated[list[Count], _says("classes of the inputs that the rate is measured on")]
    answers: Annotated[list[int], _says("the model's answer for each with the trigger; negative where it is not finite")]


class ModelFields(Struct):
    """The scanned model: the fields that are read again; others may stand beside them."""

    path: Annotated[str, _says(f"the model file, as the scan was given it; {NO_MODEL_FILE} without one")]
    sha256: Annotated[str | UnsetType | None, _says("hash of the file or folder, where there is one")] = UNSET
    num_classes: Annotated[Count | UnsetType, _says("classes that the model tells apart")] = UNSET
    input_shape: Annotated[list[Count | None] | UnsetType, _says("(H, W, C) of an image, (T, H, W, C) of a clip")] = UNSET
    own_input_shape: Annotated[list[Count | None] | UnsetType, _says("the input of the model itself, where images are reshaped")] = UNSET
    adapted: Annotated[str | UnsetType, _says("how the model was made a classifier of images, in words")] = UNSET
    output: Annotated[str | UnsetType, _says("the output that was scanned, of several")] = UNSET
    weights_of: Annotated[str | UnsetType, _says("the network whose weights the file holds, where it holds nothing else")] = UNSET


class DataFields(Struct):
    """The data that the model was scanned with: the fields that are read again; others may stand beside them."""

    path: Annotated[str, _says(f"the data file or folder, as the scan was given it; {NO_DATA_FILE} without one")]


class CostFields(Struct):
    """The cost schedule: the fields that are read again; others may stand beside them."""

    threshold: Annotated[Number, _says("success rate that a trigger must reach")] = None


class SettingsFields(Struct):
    """The settings of the scan: the fields that are read again; others may stand beside them."""

    seed: Annotated[int | UnsetType, _says("seed of starts and minibatches")] = UNSET
    cost: Annotated[CostFields | UnsetType, _says("the cost schedule")] = UNSET
    upsample_size: Annotated[Count | UnsetType, _says("side of a super-pixel, pixels")] = UNSET
    labels_ranked: Annotated[Count | UnsetType, _says("labels that a pre-screening ranked")] = UNSET


class OpenRecord(dict[str, Any]):
    """An object with some known fields, which are checked, and any others.

    Attributes:
        field: its name in `verdict.json`.
        known: the known fields and their types.
    """

    field: ClassVar[str]
    known: ClassVar[type[Struct]]


class ModelFacts(OpenRecord):
    """The scanned model."""

    field, known = "model", ModelFields


class DataFacts(OpenRecord):
    """The data that the model was scanned with."""

    field, known = "data", DataFields


class ScanSettings(OpenRecord):
    """The settings of the scan."""

    field, known = "settings", SettingsFields


class ScanVerdict(Struct, frozen=True, kw_only=True):
    """The verdict of a scan, with all that it rests on; null stands for a number that does not exist."""

    schema: Annotated[int, Meta(ge=1, le=SCHEMA, description="number of this schema")]
    verdict: Annotated[Verdict, _says("what the scan says")]
    reason: Annotated[str, _says("the ground of the verdict, in one sentence")]
    flagged: Annotated[list[Count], _says("suspicious labels, most anomalous first")]
    anomaly_index: Annotated[Number, _says("index of the smallest norm that was compared")]
    anomaly_index_interval: Annotated[
        tuple[Number, Number] | None, _says("where the index lies in 90 % of a bootstrap over the labels; null at the end: no limit")
    ] = (None, None)
    chance: Annotated[Rate, _says("probability that a clean network shows as small a norm")] = None
    median: Annotated[Length, _says("median norm of the labels with a working trigger, pixels")]
    mad: Annotated[Length, _says("1.4826 times the median absolute deviation from it, pixels")]
    flagging_norm: Annotated[Number, _says("labels with a smaller norm are suspicious, pixels")] = None
    model_accuracy: Annotated[Rate, _says("share of the given inputs that the model classifies right")] = None
    warnings: Annotated[list[str], _says("what else has to be known to read the verdict, one sentence each")] = msgspec.field(
        default_factory=list
    )
    labels: Annotated[list[LabelRow], _says("the searched labels, in ascending order")]
    detectors: Annotated[list[DetectionRow], _says("what was looked for, and what each detector says")] = msgspec.field(
        default_factory=list
    )
    pairs: Annotated[list[PairRow], _says("suspicious pairs of source and label")] = msgspec.field(default_factory=list)
    untargeted: Annotated[UntargetedRow | None, _says("the trigger that takes every class away from itself, if it was searched")] = None
    sources: Annotated[list[SourceRow], _says("triggers of one class alone, by class, if searched")] = msgspec.field(default_factory=list)
    changes: Annotated[list[ChangeRow], _says("changes of the whole image, by detector and label, if searched")] = msgspec.field(
        default_factory=list
    )
    settings: Annotated[ScanSettings, _says("what the scan was run with")]
    model: ModelFacts
    data: DataFacts
    versions: Annotated[dict[str, str], _says("version of each package that took part")]
    seconds: Annotated[Length, _says("wall time over all parts of the scan")]

    def content(self) -> dict[str, Any]:
        """Return the verdict as plain JSON values, in the order of the fields."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


def verdict_from(content: Any) -> ScanVerdict:
    """Return the typed verdict of plain JSON values, as `json.loads` returns them.

    Raises:
        ValueError: a field is missing or of another type or range, a label is there or flagged twice, or an unknown one is flagged.
    """
    number = content.get("schema") if isinstance(content, dict) else None
    if isinstance(number, int) and number > SCHEMA:
        raise ValueError(f"it has schema {number}, and this nc_tf knows those up to {SCHEMA}")
    verdict: ScanVerdict = msgspec.convert(content, ScanVerdict, dec_hook=_checked_record)
    labels = {row.label for row in verdict.labels}
    if not labels or len(labels) < len(verdict.labels):
        raise ValueError("it has no labels, or one of them twice")
    if len(set(verdict.flagged)) < len(verdict.flagged):
        raise ValueError("it flags a label twice")
    unknown = [label for label in verdict.flagged if label not in labels]
    if unknown:
        raise ValueError(f"it flags {unknown[:10]}, which it does not list")
    return verdict


def schema_text() -> str:
    """Return the text of `verdict.schema.json`."""
    types = [ScanVerdict, *(kind.known for kind in (ModelFacts, DataFacts, ScanSettings))]
    references, definitions = msgspec.json.schema_components(types, schema_hook=_record_schema, ref_template="#/$defs/{name}")
    schema = {"$schema": SCHEMA_DIALECT, "title": "verdict.json of nc_tf", **references[0], "$defs": definitions}
    return json.dumps(schema, indent=1) + "\n"


def _checked_record(kind: type, value: Any) -> OpenRecord:
    """Return an open record with its known fields checked.

    An error gives the place of the wrong field in the whole verdict.
    """
    try:
        msgspec.convert(value, kind.known)  # type: ignore[attr-defined]
    except ValidationError as error:
        words, _, place = str(error).partition(" - at `$")
        raise ValidationError(f"{words} - at `$.{kind.field}{place or '`'}") from None  # type: ignore[attr-defined]
    return kind(value)


def _record_schema(kind: type[OpenRecord]) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{kind.known.__name__}"}
