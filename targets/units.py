"""Quantities with units, as target files and the command line write them."""

import re
from fractions import Fraction

_QUANTITY = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_BYTES = {
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}
_HERTZ = {"hz": 1, "khz": 10**3, "mhz": 10**6, "ghz": 10**9}
_UNITS = {"_bytes": _BYTES, "_hz": _HERTZ}
_EXAMPLES = {"_bytes": '"256KiB", "8MiB" or "1MB"', "_hz": '"200MHz" or "1GHz"'}


def unit_suffix(field: str) -> str | None:
    """The suffix of ``field`` whose values may carry a unit, or None."""
    return next((suffix for suffix in _UNITS if field.endswith(suffix)), None)


def parse_quantity(field: str, text: str) -> int:
    """Value of ``text`` (``256KiB``, ``1GHz``) in the unit ``field`` is named after.

    Powers of 1024 are written KiB, MiB, GiB, powers of 1000 kB, MB, GB; case does not matter.

    Raises:
        ValueError: not a quantity of that unit, or not a whole number of it.
    """
    suffix = unit_suffix(field)
    if suffix is None:
        raise ValueError(f"{text!r} is a text, expected a number")
    match = _QUANTITY.fullmatch(text)
    scale = _UNITS[suffix].get(match[2].lower()) if match and match[2] else 1
    if match is None or scale is None:
        raise ValueError(f"{text!r} is not a quantity like {_EXAMPLES[suffix]}")
    value = Fraction(match[1].replace("_", "")) * scale
    if value.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of {suffix[1:]}")
    return value.numerator
