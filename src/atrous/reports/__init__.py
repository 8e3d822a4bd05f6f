"""One self-contained HTML page that tells a run to someone who was not there.

`write_report` takes plain data (numbers, arrays, text) and knows neither training nor prediction; `workflows.report`
collects that data from a run folder. `errors` says what two maps differ in, `pictures` draws it; how one map is painted
stands in `atrous.drawing`, which predictions use too.
"""

from atrous.reports.page import ReportContent, write_report
from atrous.reports.pictures import error_map, overlay, paint, to_display
from atrous.reports.views import Panel

__all__ = ["Panel", "ReportContent", "error_map", "overlay", "paint", "to_display", "write_report"]
