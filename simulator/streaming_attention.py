"""Attention as a streaming dataflow network, one score per cycle.

Each process works on one element of a stream per firing; rows of ``keys`` scores follow each other.

* ``naive``: the row's maximum is subtracted before the exponential, and each exponential divided
  by the row's sum before it weighs its value. Scores wait for the maximum and exponentials for the
  sum, so two FIFOs hold a whole row.
* ``reordered``: the division comes after the sum over the values; only the scores wait.
* ``online``: a running maximum; sums are rescaled whenever it grows, by a factor that travels with
  each exponential. Nothing waits for the end of a row, and all FIFOs are of constant depth.

Source: Sohn, Zhang, Olukotun, "Implementing and Optimizing the Scaled Dot-Product Attention on
Streaming Dataflow", arXiv 2404.16629, 2024; the running maximum: Milakov, Gimelshein, "Online
normalizer calculation for softmax", arXiv 1805.02867, 2018, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from stowplan.errors import UsageError
from stowplan.simulator.streaming_network import (
    Clock,
    Fifo,
    Network,
    Process,
    Rate,
    first_of,
    last_of,
    with_depths,
)

Variant = Literal["naive", "reordered", "online"]


@dataclass(frozen=True, slots=True)
class AttentionStream:
    """Sizes of one attention head and of the hardware it streams through.

    Attributes:
        queries: rows of scores.
        keys: scores per row.
        head_dim: elements of a query, key, value and output vector.
        element_bits: bits of an element of those vectors.
        score_bits: bits of a score, an exponential, a maximum and a sum.
        latency_cycles: pipeline depth of every process.
        depth: depth of every FIFO; by default the least that lets a lone pair run at full rate.
    """

    queries: int
    keys: int
    head_dim: int = 64
    element_bits: int = 16
    score_bits: int = 32
    latency_cycles: int = 1
    depth: int | None = None


def attention_stream(
    stream: AttentionStream, variant: Variant = "online", depths: Mapping[str, int] | None = None
) -> Network:
    """The network of ``variant``; ``depths`` replaces the depth of single FIFOs by name.

    Raises:
        UsageError: an unknown variant or FIFO, or a size below 1.
    """
    if variant not in get_args(Variant):
        raise UsageError(f"no attention variant '{variant}'; choose {', '.join(get_args(Variant))}")
    for name in ("queries", "keys", "head_dim", "element_bits", "score_bits", "latency_cycles"):
        if getattr(stream, name) < 1:
            raise UsageError(f"AttentionStream.{name} is {getattr(stream, name)}; at least 1")
    processes = [*_scores(stream, variant), *_SOFTMAX[variant](stream)]
    fifos = tuple(_fifo(stream, rate.fifo) for process in processes for rate in process.gives)
    unknown = sorted(set(depths or ()) - {fifo.name for fifo in fifos})
    if unknown:
        known = ", ".join(fifo.name for fifo in fifos)
        raise UsageError(f"'{variant}' attention has no fifo '{unknown[0]}'; it has {known}")
    return with_depths(Network(tuple(processes), fifos, (Clock(),)), dict(depths or {}))


def _fifo(stream: AttentionStream, name: str) -> Fifo:
    vectors = ("queries", "keys", "values", "outputs")
    width = stream.score_bits
    if name in vectors:
        width = stream.head_dim * stream.element_bits
    elif name == "weighted_sums":
        width = stream.head_dim * stream.score_bits
    elif name.startswith("rescaled"):
        width = 2 * stream.score_bits
    depth = stream.latency_cycles + 1 if stream.depth is None else stream.depth
    return Fifo(name, depth, width)


def _process(
    stream: AttentionStream, name: str, takes: tuple[Rate, ...], gives: tuple[Rate, ...]
) -> Process:
    """A process that fires once per score."""
    firings = stream.queries * stream.keys
    return Process(name, firings, takes, gives, latency_cycles=stream.latency_cycles)


def _per_row(stream: AttentionStream, name: str, takes: tuple[Rate, ...], *gives: Rate) -> Process:
    """A process that fires once per row."""
    return Process(name, stream.queries, takes, gives, latency_cycles=stream.latency_cycles)


def _scores(stream: AttentionStream, variant: Variant) -> list[Process]:
    """Readers of the operands and the dot product."""
    waiting = () if variant == "online" else (Rate("scores_to_maximum"),)
    once = first_of(stream.keys)
    return [
        _per_row(stream, "read_queries", (), Rate("queries")),
        _process(stream, "read_keys", (), (Rate("keys"),)),
        _process(stream, "read_values", (), (Rate("values"),)),
        _process(stream, "dot", (Rate("queries", once), Rate("keys")), (Rate("scores"), *waiting)),
    ]


def _exponentials(stream: AttentionStream) -> list[Process]:
    """The maximum of each row, and exponentials of what the scores fall short of it."""
    first, last = first_of(stream.keys), last_of(stream.keys)
    return [
        _process(stream, "row_maximum", (Rate("scores_to_maximum"),), (Rate("maxima", last),)),
        _process(
            stream,
            "exponential",
            (Rate("maxima", first), Rate("scores")),
            (Rate("exponentials"), Rate("exponentials_to_sum")),
        ),
    ]


def _naive(stream: AttentionStream) -> list[Process]:
    first, last = first_of(stream.keys), last_of(stream.keys)
    weigh = (Rate("weights"), Rate("values"))
    return [
        *_exponentials(stream),
        _process(stream, "row_sum", (Rate("exponentials_to_sum"),), (Rate("sums", last),)),
        _process(stream, "divide", (Rate("sums", first), Rate("exponentials")), (Rate("weights"),)),
        _process(stream, "weigh_values", weigh, (Rate("outputs", last),)),
        _per_row(stream, "write", (Rate("outputs"),)),
    ]


def _divided_last(stream: AttentionStream, to_sum: str, to_values: str) -> list[Process]:
    """Both sums over a row at the pace of the scores, then one division per row."""
    last = last_of(stream.keys)
    weigh = (Rate(to_values), Rate("values"))
    return [
        _process(stream, "row_sum", (Rate(to_sum),), (Rate("sums", last),)),
        _process(stream, "weigh_values", weigh, (Rate("weighted_sums", last),)),
        _per_row(stream, "divide", (Rate("sums"), Rate("weighted_sums")), Rate("outputs")),
        _per_row(stream, "write", (Rate("outputs"),)),
    ]


def _reordered(stream: AttentionStream) -> list[Process]:
    after = _divided_last(stream, "exponentials_to_sum", "exponentials")
    return [*_exponentials(stream), *after]


def _online(stream: AttentionStream) -> list[Process]:
    gives = (Rate("rescaled_exponentials"), Rate("rescaled_to_sum"))
    running = _process(stream, "running_maximum", (Rate("scores"),), gives)
    return [running, *_divided_last(stream, "rescaled_to_sum", "rescaled_exponentials")]


_SOFTMAX = {"naive": _naive, "reordered": _reordered, "online": _online}
