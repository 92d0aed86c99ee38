"""The clock of time limits: seconds of planning, without those that Numba spends compiling.

Kernels are compiled once for an installation, for up to a minute; a limit that counted that would
end the first plan before it began.
"""

import time

from numba.core import event


class _Compilation(event.TimingListener):  # type: ignore[misc]
    """Adds up the seconds of all compilations so far."""

    @property
    def seconds(self) -> float:
        """Seconds of finished compilations."""
        return float(self.duration) if self.done else 0.0


_compilation = _Compilation()
event.register("numba:compile", _compilation)


def planning_seconds() -> float:
    """A monotonic clock, in seconds, that stands still while Numba compiles."""
    return time.monotonic() - _compilation.seconds
