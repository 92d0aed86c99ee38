"""Ctrl-C as a request to stop with what there is."""

import contextlib
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Context in which the first Ctrl-C asks for the best result so far and the second aborts.

    A solver may hold the main thread inside native code, where Python runs no signal handler.
    The interpreter still writes the signal's number to the wake-up descriptor at once, so
    :meth:`requested`, polled from any thread, sees it. Outside the main thread, where Python
    allows no handlers, the context does nothing.
    """

    def __init__(self) -> None:
        self._requested = False
        self._presses = 0
        self._active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._active:
            self._reader, self._writer = socket.socketpair()
            self._reader.setblocking(False)
            self._writer.setblocking(False)
            self._old_descriptor = signal.set_wakeup_fd(
                self._writer.fileno(), warn_on_full_buffer=False
            )
            self._old_handler = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._old_handler)
            signal.set_wakeup_fd(self._old_descriptor)
            self._reader.close()
            self._writer.close()

    def requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        if self._active and not self._requested:
            with contextlib.suppress(BlockingIOError):
                self._requested = signal.SIGINT in self._reader.recv(64)
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._presses += 1
        if self._presses > 1:
            raise KeyboardInterrupt
        self._requested = True
