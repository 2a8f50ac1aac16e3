"""The golden vectors of the specification, as the suite carries them."""

from __future__ import annotations

import json
from importlib.resources import files

__all__ = ["value_texts"]


def value_texts() -> dict[str, str]:
    """Canonical texts of values, by name; each is read and written alike by every codec."""
    text = files("perdure_conformance").joinpath("golden_values.json").read_text(encoding="utf-8")
    return {vector["name"]: vector["text"] for vector in json.loads(text)}
