"""The embedded default engine of perdure."""

__all__: list[str] = []
