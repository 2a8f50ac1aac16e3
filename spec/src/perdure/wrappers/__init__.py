"""Wrappers: backends around backends, on every engine.

An entry point in the group ``perdure.wrappers`` names a function ``wrap(inner, config)`` that returns a
backend; `Forward` is the base to start from, `readonly` a complete example.
"""

from perdure.wrappers._forward import Forward

__all__ = ["Forward"]
