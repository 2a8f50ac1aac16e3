"""What every SQL engine of perdure shares."""

__all__: list[str] = []
