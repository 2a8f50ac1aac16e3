"""What came of a run: results, counts, levels and their reasons, in several forms."""

from perdure_conformance.report._document import FORMAT
from perdure_conformance.report._entry import Entry
from perdure_conformance.report._html import to_html
from perdure_conformance.report._junit import to_junit
from perdure_conformance.report._levels import Counts, Verdict
from perdure_conformance.report._report import Report
from perdure_conformance.report._text import clean, masked

__all__ = ["FORMAT", "Counts", "Entry", "Report", "Verdict", "clean", "masked", "to_html", "to_junit"]
