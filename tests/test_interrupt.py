"""Ctrl-C asks for the best result so far; a second one aborts."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from stowplan.interrupt import Interrupt


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Python's own handler, whatever the process inherited: a background job ignores Ctrl-C."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def test_first_signal_is_a_request_and_the_second_aborts() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.requested()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_sees_the_request_while_the_main_thread_runs_no_python() -> None:
    seen = threading.Event()

    def poll(interrupt: Interrupt) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not interrupt.requested():
            time.sleep(0.005)
        if interrupt.requested():
            seen.set()

    with Interrupt() as interrupt:
        poller = threading.Thread(target=poll, args=(interrupt,))
        poller.start()
        os.kill(os.getpid(), signal.SIGINT)
        poller.join()
        assert seen.is_set()


def test_handlers_are_restored() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != handler
    assert signal.getsignal(signal.SIGINT) == handler
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_outside_the_main_thread_it_stays_out_of_the_way() -> None:
    handler = signal.getsignal(signal.SIGINT)
    found: list[bool] = []

    def use() -> None:
        with Interrupt() as interrupt:
            found.append(interrupt.requested())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) == handler
