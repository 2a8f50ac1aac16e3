"""The value codec: losslessly typed Python values as canonical JSON text.

Normative text: the chapter "Values" of SPEC.md, with golden vectors in `spec/golden/values.json`.
"""

from perdure.values._decode import decode, is_plain
from perdure.values._encode import encode, encode_many
from perdure.values._equal import equal
from perdure.values._limits import DEFAULT_LIMITS, Limits
from perdure.values._opaque import Opaque

__all__ = ["DEFAULT_LIMITS", "Limits", "Opaque", "decode", "encode", "encode_many", "equal", "is_plain"]
