"""Streaming networks: operators that run at once and hand tokens on through bounded FIFOs.

>>> from stowplan.simulator.streaming import AttentionStream, attention_stream, simulate
>>> result = simulate(attention_stream(AttentionStream(queries=64, keys=64), "naive"))
>>> print(result.deadlock)  # the row of scores does not fit in two tokens
deadlock: ...

``Network`` says what a network is and what happens in each cycle; ``simulate`` runs one, event by
event; ``minimum_depths`` sizes its FIFOs; ``repetitions`` and ``iterate`` balance it;
``load_network`` reads one from a file; ``step_through`` is the same model stepped clock edge by
clock edge, for those who want to check.
"""

from stowplan.simulator.streaming_attention import AttentionStream, attention_stream
from stowplan.simulator.streaming_depths import DepthReport, minimum_depths
from stowplan.simulator.streaming_engine import Effort, simulate, simulate_with_effort
from stowplan.simulator.streaming_file import load_network
from stowplan.simulator.streaming_network import (
    Clock,
    Fifo,
    Network,
    Process,
    Rate,
    first_of,
    iterate,
    last_of,
    phases,
    repetitions,
    with_depths,
)
from stowplan.simulator.streaming_reference import step_through
from stowplan.simulator.streaming_result import (
    Deadlock,
    FifoActivity,
    ProcessActivity,
    StreamResult,
    Wait,
)

__all__ = [
    "AttentionStream",
    "Clock",
    "Deadlock",
    "DepthReport",
    "Effort",
    "Fifo",
    "FifoActivity",
    "Network",
    "Process",
    "ProcessActivity",
    "Rate",
    "StreamResult",
    "Wait",
    "attention_stream",
    "first_of",
    "iterate",
    "last_of",
    "load_network",
    "minimum_depths",
    "phases",
    "repetitions",
    "simulate",
    "simulate_with_effort",
    "step_through",
    "with_depths",
]
