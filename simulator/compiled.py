"""Whether the simulator's kernels still have to be compiled."""

from typing import Any

from stowplan.simulator.machine import Machine


def needs_compiling(machine: Machine) -> bool:
    """Whether simulating on ``machine`` compiles first because no cache holds its kernel yet."""
    if machine.detailed:
        from stowplan.simulator.detail_kernels import run
    else:
        from stowplan.simulator.kernels import run
    return not _known(run)


def _known(dispatcher: Any) -> bool:
    """Whether a function is compiled in this process or cached on disk.

    Numba offers no public question for its cache. Should its insides change, the answer is yes: a
    note less, nothing worse.
    """
    if dispatcher.signatures:
        return True
    cached = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    load = getattr(cached, "_load_index", None)
    return bool(load()) if load is not None else True
