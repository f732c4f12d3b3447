"""JSON as the journal stores it: ASCII, no spaces, what is no JSON as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder
from typing import Any, Final


def encoding(*, sort_keys: bool = False) -> Callable[[Any], str]:
    """A function from a value to its JSON. The standard library makes its C encoder anew for every value, which takes
    longer than encoding a record does; here it is made once.
    """
    plain: Final = json.JSONEncoder(sort_keys=sort_keys, separators=(",", ":"), default=str)
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:
        return plain.encode
    quote = encoder.encode_basestring_ascii
    chunks = make(None, plain.default, quote, None, ":", ",", sort_keys, False, True)

    def encode(value: Any) -> str:
        return "".join(chunks(value, 0))

    return encode
