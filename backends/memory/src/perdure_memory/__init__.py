"""The in-memory engine of perdure, for tests and short-lived agents."""

__all__: list[str] = []
