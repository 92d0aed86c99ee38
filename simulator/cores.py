"""Which core runs an operator: the one the plan names, else the one that can start it first."""

import re

from stowplan.errors import UsageError

_NAME = re.compile(r"(array|vector)([0-9]*)")


def parse_engine(text: str) -> tuple[str, int | None]:
    """Kind of unit and core that an engine's name in a plan stands for: ``array``, ``vector1``.

    Raises:
        UsageError: no such name.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(
            f"the plan names an engine {text!r}; engines are array and vector, with "
            "the number of a core where there are several: array0, vector1"
        )
    return match[1], int(match[2]) if match[2] else None


class CoreClock:
    """Estimated ends of commands, to spread operators over cores; mutable.

    The estimate takes every command at full speed: good enough to choose a core, and no result of
    a simulation depends on it otherwise.
    """

    def __init__(self, queues: int) -> None:
        self._free = [0] * queues
        self._end: list[int] = []

    def ready(self, waits: set[int]) -> int:
        """When the last of ``waits`` ends."""
        return max((self._end[wait] for wait in waits), default=0)

    def earliest(self, engines: tuple[int, ...], cores: int, waits: set[int]) -> int:
        """The core that can start first a command on these units; the first of equals."""
        ready = self.ready(waits)
        starts = [
            max(ready, *(self._free[engine + 2 * core] for engine in engines))
            for core in range(cores)
        ]
        return starts.index(min(starts))

    def record(self, queues: tuple[int, ...], waits: set[int], cycles: int) -> None:
        """Enter the next command."""
        end = max(self.ready(waits), *(self._free[queue] for queue in queues)) + cycles
        self._end.append(end)
        for queue in queues:
            self._free[queue] = end
