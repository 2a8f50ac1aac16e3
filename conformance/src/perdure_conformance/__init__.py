"""Hypothesis strategies and checks for any perdure backend."""

__all__: list[str] = []
