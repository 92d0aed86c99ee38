"""Numbers and names as people read them."""

from pathlib import PurePath

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def human_bytes(count: int) -> str:
    """``count`` bytes in the largest binary unit that keeps it at or above one."""
    power = min(max(count, 1).bit_length() - 1, 49) // 10
    value, unit = count / 1024**power, _BINARY_UNITS[power]
    digits = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def human_time(seconds: float) -> str:
    """``seconds`` in s, ms or µs."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def percent(share: float) -> str:
    """A share as a percentage: one decimal, more for small shares, none for 0 and 1."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def model_title(model: str) -> str:
    """A model's name without folder and ``.onnx``."""
    return PurePath(model).name.removesuffix(".onnx") or model
