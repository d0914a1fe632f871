"""A scan and a repair as HTML for a cell of a notebook: `ScanResult` and `Mitigation` show themselves with it.

The HTML has no script and no style sheet of its own, and takes the colours of the notebook around it. Every text in it is escaped.
"""

import math

from nc_tf.mitigation.saving import rates
from nc_tf.report.all_to_all import CALLED
from nc_tf.report.charts import norm_chart
from nc_tf.report.norms import called
from nc_tf.report.templating import environment
from nc_tf.report.trigger_pictures import colour_words, mask_words, trigger_pictures
from nc_tf.results import Mitigation, ScanResult, Trigger
from nc_tf.storage.verdict_file import scan_verdict
from nc_tf.storage.verdict_schema import LabelRow

# Flagged triggers that are shown; the chart has all labels.
MOST_SHOWN = 3


def scan_html(result: ScanResult) -> str:
    """Return verdict and reason, the chart of norms, and flagged triggers."""
    verdict = scan_verdict(result, {}, {})
    rows: dict[int, LabelRow] = {row.label: row for row in verdict.labels}
    triggers = []
    for trigger in result.triggers[:MOST_SHOWN]:
        row = rows[trigger.label] if isinstance(trigger, Trigger) else verdict.untargeted
        name = called(rows[trigger.label]) if isinstance(trigger, Trigger) else CALLED
        words = f"{mask_words(trigger, result.unit)}; {colour_words(trigger)}"
        triggers.append({"row": row, "called": name, "pictures": trigger_pictures(trigger, name, result.unit), "words": words})
    template = environment().get_template("notebook_scan.html.j2")
    kind, chart = verdict.verdict.name.lower(), norm_chart(verdict)
    return template.render(verdict=verdict, kind=kind, unit=result.unit, chart=chart, triggers=triggers)


def mitigation_html(mitigation: Mitigation) -> str:
    """Return the table of all rates before and after the repair."""
    rows = [(name, *(None if math.isnan(rate) else rate for rate in pair)) for name, *pair in rates(mitigation)]
    return environment().get_template("notebook_mitigation.html.j2").render(rows=rows)
