"""A scan and a repair as HTML for a cell of a notebook: `ScanResult` and `Mitigation` show themselves with it.

The HTML has no script and no style sheet of its own, and takes the colours of the notebook around it. Every text in it is escaped.
"""

import math

from nc_tf.mitigation.saving import rates
from nc_tf.report.charts import norm_chart
from nc_tf.report.norms import called
from nc_tf.report.pairs import CALLED
from nc_tf.report.templating import environment
from nc_tf.report.trigger_pictures import trigger_pictures, trigger_words
from nc_tf.results import AllToAllTrigger, ChangeResult, LabelResult, Mitigation, ScanResult, SourceResult, UntargetedResult
from nc_tf.storage.json_file import finite
from nc_tf.storage.verdict_file import scan_verdict
from nc_tf.storage.verdict_schema import LabelRow

# Flagged triggers that are shown; the chart has all labels.
MOST_SHOWN = 3


def scan_html(result: ScanResult) -> str:
    """Return verdict and reason, the chart of norms, and flagged triggers."""
    verdict = scan_verdict(result, {}, {})
    rows: dict[int, LabelRow] = {row.label: row for row in verdict.labels}
    changes = {id(change.trigger): change for change in result.flagged_changes}
    alone = {id(found.trigger): found for found in result.flagged_sources}
    triggers = []
    for trigger in result.triggers[:MOST_SHOWN]:
        found: LabelResult | UntargetedResult | ChangeResult | SourceResult | None
        if id(trigger) in alone:
            found = alone[id(trigger)]
            name, size = f"{called(rows[found.source])} to {called(rows[found.target])}", f"norm {found.trigger.l1_norm:.2f} pixels"
        elif isinstance(trigger, AllToAllTrigger):
            name, found, size = CALLED, result.untargeted, f"norm {trigger.l1_norm:.2f} pixels"
        elif id(trigger) in changes:
            found = changes[id(trigger)]
            name, size = called(rows[trigger.label]), changes[id(trigger)].sized
        else:
            found = next(entry for entry in result.labels if entry.trigger is trigger)
            name, size = called(rows[trigger.label]), f"norm {found.trigger.l1_norm:.2f} pixels"
        rate = None if found is None else finite(found.attack_success_rate)
        shown = {"pictures": trigger_pictures(trigger, name, result.unit), "words": trigger_words(trigger, result.unit)}
        triggers.append({"called": name, "size": size, "rate": rate, **shown})
    template = environment().get_template("notebook_scan.html.j2")
    kind, chart = verdict.verdict.name.lower(), norm_chart(verdict)
    return template.render(verdict=verdict, kind=kind, unit=result.unit, chart=chart, triggers=triggers)


def mitigation_html(mitigation: Mitigation) -> str:
    """Return the table of all rates before and after the repair."""
    rows = [(name, *(None if math.isnan(rate) else rate for rate in pair)) for name, *pair in rates(mitigation)]
    return environment().get_template("notebook_mitigation.html.j2").render(rows=rows)
