"""Brings pickles and other stores into perdure, inertly and verified."""

__all__: list[str] = []
