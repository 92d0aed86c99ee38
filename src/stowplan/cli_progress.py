"""The live line on stderr while a planner works."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stowplan.passes.planner import Progress
from stowplan.report.quantities import human_time, percent
from stowplan.targets.target import DramMode, Target

QUIET_S = 2.0
REFRESHES_PER_SECOND = 8


class LiveLine:
    """Shows incumbent, bound and elapsed time once the work has lasted two seconds.

    Nothing is shown unless stderr is a terminal. Mutable: :meth:`update` may be called from any
    thread; rich draws from its own.
    """

    def __init__(self, console: Console | None = None, quiet_s: float = QUIET_S) -> None:
        self._console = console or Console(file=sys.stderr)
        self._began = time.monotonic()
        self._stage = "working"
        self._progress: Progress | None = None
        self._live = Live(
            get_renderable=self._line,
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )
        self._timer = threading.Timer(quiet_s, self._live.start)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        self._live.stop()

    def stage(self, name: str) -> None:
        """Begin a stage that reports no progress of its own."""
        self._stage, self._progress = name, None

    def update(self, progress: Progress) -> None:
        """Take the state of a planner."""
        self._progress = progress

    def _line(self) -> Text:
        elapsed = time.monotonic() - self._began
        return Text(f"{progress_text(self._stage, self._progress)}   {human_time(elapsed)}")


def note_compilation(target: Target, mode: DramMode) -> None:
    """Say on stderr that the first simulation takes longer, where it does."""
    from stowplan.simulator.compiled import needs_compiling
    from stowplan.simulator.machine import machine_of

    if needs_compiling(machine_of(target, mode)):
        print(
            "note: compiling the simulator, once for this installation: up to a minute",
            file=sys.stderr,
            flush=True,
        )


def progress_text(stage: str, progress: Progress | None) -> str:
    """What a planner has so far, in one line."""
    if progress is None:
        return stage
    doing = f"{stage}: {progress.stage.removeprefix(stage).strip()}"
    if progress.incumbent is None:
        return f"{doing}   no plan yet   bound {progress.bound:,}"
    gap = (progress.incumbent - progress.bound) / progress.incumbent if progress.incumbent else 0.0
    return f"{doing}   best {progress.incumbent:,}   bound {progress.bound:,}   gap {percent(gap)}"
