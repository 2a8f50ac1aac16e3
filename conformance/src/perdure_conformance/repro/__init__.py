"""A program for each failure: public calls only, run before it is shown, and needing nothing of the suite."""

from perdure_conformance.repro._attach import attach, file_name

__all__ = ["attach", "file_name"]
