"""Streaming networks in TOML or JSON files.

A file has tables ``process``, ``fifo`` and ``clock`` with the fields of the dataclasses of the
same name; ``takes`` and ``gives`` map FIFOs to tokens per firing, or to runs
``[[repeats, tokens], ...]``. With ``iterations`` at the top, the firings are computed by
the balance equations.
"""

import tomllib
from pathlib import Path

import msgspec

from stowplan.errors import ModelError, UsageError
from stowplan.simulator.streaming_network import (
    Clock,
    Fifo,
    Network,
    Pattern,
    Process,
    Rate,
    iterate,
)


class _Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A process as files write it; the fields are those of ``Process``."""

    name: str
    firings: int | None = None
    takes: dict[str, int | Pattern] = {}
    gives: dict[str, int | Pattern] = {}
    clock: str = "clock"
    interval_cycles: int | Pattern = 1
    latency_cycles: int = 1
    release_cycles: int = 1


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file."""

    process: tuple[_Process, ...]
    fifo: tuple[Fifo, ...] = ()
    clock: tuple[Clock, ...] = (Clock(),)
    iterations: int | None = None


def load_network(path: Path | str) -> Network:
    """Read and verify the network in a ``.toml`` or ``.json`` file.

    Raises:
        UsageError: there is no such file, or it is neither TOML nor JSON.
        ModelError: it does not describe a network that can run.
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise UsageError(f"{path}: streaming networks are read from .toml and .json files")
    try:
        text = path.read_text("utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else msgspec.json.decode(text)
        network = _network(msgspec.convert(raw, _File))
        network.verify()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, ModelError) as error:
        raise ModelError(f"{path}: {error}") from error
    return network


def _network(file: _File) -> Network:
    processes = []
    for each in file.process:
        if (each.firings is None) == (file.iterations is None):
            raise ModelError(
                f"process '{each.name}': give either its firings, or iterations at the top"
            )
        processes.append(
            Process(
                each.name,
                each.firings or 0,
                _rates(each.takes),
                _rates(each.gives),
                each.clock,
                each.interval_cycles,
                each.latency_cycles,
                each.release_cycles,
            )
        )
    network = Network(tuple(processes), file.fifo, file.clock)
    if file.iterations is None:
        return network
    network.verify_wiring()
    return iterate(network, file.iterations)


def _rates(tokens: dict[str, int | Pattern]) -> tuple[Rate, ...]:
    return tuple(Rate(fifo, each) for fifo, each in tokens.items())
