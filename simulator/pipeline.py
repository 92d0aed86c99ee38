"""Operators of a model as a pipeline: all at once on units of their own, joined by bounded FIFOs.

Every operator becomes a process of a streaming network (``simulator.streaming_network``) that fires
once per token (``simulator.pipeline_tokens``). Its firings share the cycles that the target's cost
model gives the operator, as evenly as whole cycles allow, at least one each; a result is readable,
and what a firing took is free, once the longest of them has passed. Each has an array and a vector
unit of its own, and its weights beside them. Tensors from outside are read from DRAM and results
written there, each as a stream of its own at the DRAM's bandwidth; the first token read comes after
the DRAM's latency.

Between a writer and each reader of a tensor is one FIFO. *Sequential* execution, with which a
pipeline is compared, is the same work without overlap: all reads, operators and writes in turn.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph, Operator, Role
from stowplan.simulator.pipeline_tokens import Tokens
from stowplan.simulator.streaming_network import (
    Fifo,
    Network,
    Process,
    Rate,
    last_of,
    pattern_of,
    pattern_sum,
    phases,
)
from stowplan.targets.cost import operator_cost
from stowplan.targets.target import Target

READ, WRITE = "read ", "write "
"""What names of processes for the transfers of a tensor begin with."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline, ready to be simulated.

    Attributes:
        network: one process per operator and per tensor read or written; FIFOs of the least depth
            that each can work with.
        work_cycles: (process, cycles its firings of one inference take) in the network's order.
        sequential_cycles: cycles of one inference after the other, everything in turn.
        inferences: how often everything runs.
    """

    network: Network
    work_cycles: tuple[tuple[str, int], ...]
    sequential_cycles: int
    inferences: int


@dataclass(frozen=True, slots=True)
class _Edge:
    """A tensor between two processes: ``written`` tokens, taken as ``takes`` says."""

    written: str
    writer: str
    reader: str
    takes: tuple[int, ...]


def select_operators(
    graph: Graph, first: str | None = None, last: str | None = None
) -> tuple[Operator, ...]:
    """The operators from ``first`` to ``last`` in the graph's order, both included.

    Raises:
        UsageError: no such operator, nothing between them, or tiles among them.
    """
    names = [operator.name for operator in graph.operators]
    for name in (first, last):
        if name is not None and name not in names:
            near = [known for known in names if name.lower() in known.lower()][:5] or names[:5]
            raise UsageError(f"no operator '{name}'; there are {', '.join(near)}, ...")
    begin = names.index(first) if first is not None else 0
    end = names.index(last) + 1 if last is not None else len(names)
    chosen = graph.operators[begin:end]
    if not chosen:
        raise UsageError(f"'{last}' comes before '{first}'; nothing lies between them")
    if tile := next((operator for operator in chosen if operator.parent is not None), None):
        raise UsageError(
            f"operator '{tile.name}' is a tile; compile with --tile never to get whole operators"
        )
    return chosen


def build_pipeline(
    graph: Graph, operators: Iterable[Operator], target: Target, inferences: int = 1
) -> Pipeline:
    """The pipeline of ``operators``, which are in the graph's order.

    Raises:
        UsageError: fewer than one inference.
    """
    if inferences < 1:
        raise UsageError(f"{inferences} inferences; at least 1")
    chosen = [op for op in operators if graph.tensor[op.outputs[0]].elements]
    builder = _Builder(graph, chosen, target)
    edges = list(builder.edges())
    readers: dict[str, int] = {}
    for edge in edges:
        readers[edge.written] = readers.get(edge.written, 0) + 1
    named = {
        (edge.writer, edge.reader, edge.written): edge.written
        if readers[edge.written] == 1
        else f"{edge.written} to {edge.reader}"
        for edge in edges
    }
    fifos = tuple(
        Fifo(named[edge.writer, edge.reader, edge.written], 1, builder.token_bits(edge.written))
        for edge in edges
    )
    processes = tuple(builder.processes(edges, named))
    work = tuple((process.name, _work(process)) for process in processes)
    waits = sum(p.latency_cycles for p in processes if p.name.startswith(READ) and not p.takes)
    repeated = tuple(replace(p, firings=p.firings * inferences) for p in processes)
    sequential = inferences * (sum(cycles for _, cycles in work) + waits)
    return Pipeline(_least(Network(repeated, fifos)), work, sequential, inferences)


class _Builder:
    """Finds the edges and processes of a pipeline."""

    def __init__(self, graph: Graph, operators: list[Operator], target: Target) -> None:
        self.graph, self.target, self.operators = graph, target, operators
        self.tokens = Tokens(graph)
        self.flows = {operator.name: self.tokens.flow(operator) for operator in operators}
        self._inside = {operator.name for operator in operators}
        self._place = {operator.name: n for n, operator in enumerate(graph.operators)}
        self._writers: dict[str, list[tuple[str, str]]] = {}
        for operator in graph.operators:
            for name in operator.outputs:
                root = graph.resolve(name)[0]
                self._writers.setdefault(root, []).append((operator.name, name))

    def token_bits(self, name: str) -> int:
        """Bits of a token, rounded up."""
        return max(1, -(-8 * self.graph.tensor[name].size_bytes // self.tokens.count(name)))

    def edges(self) -> Iterator[_Edge]:
        """Every tensor that one process hands to another."""
        for operator in self.operators:
            flow = self.flows[operator.name]
            found: dict[tuple[str, str], list[int]] = {}
            for name, need in flow.needs:
                if not self.graph.tensor[name].elements:
                    continue
                until = [need(r) for r in range(flow.firings)]
                for writer, written in self._sources(operator, name):
                    count = self.tokens.count(written)
                    alike = self.tokens.like(written, name)
                    own = until if alike else [count] * flow.firings
                    known = found.setdefault((writer, written), own)
                    found[writer, written] = list(map(max, known, own))
            for (writer, written), until in found.items():
                takes = _differences(until, self.tokens.count(written))
                yield _Edge(written, writer, operator.name, takes)
        for operator in self.operators:
            for name in operator.outputs:
                if self._leaves(name):
                    yield _Edge(name, operator.name, WRITE + name, (1,))

    def _sources(self, reader: Operator, name: str) -> Iterator[tuple[str, str]]:
        """Processes that write the bytes of ``name``, and the tensor each writes them as."""
        writers = [
            (writer, written)
            for writer, written in self._writers.get(self.graph.resolve(name)[0], ())
            if self._place[writer] < self._place[reader.name] and self._overlap(written, name)
        ]
        inside = [pair for pair in writers if pair[0] in self._inside]
        yield from inside
        if len(inside) < len(writers) or not writers:
            yield READ + name, name

    def _overlap(self, one: str, other: str) -> bool:
        begins = [self.graph.resolve(name)[1] for name in (one, other)]
        sizes = [self.graph.tensor[name].size_bytes for name in (one, other)]
        return begins[0] < begins[1] + sizes[1] and begins[1] < begins[0] + sizes[0]

    def _leaves(self, name: str) -> bool:
        """Whether a tensor is used outside the pipeline."""
        if not self.graph.tensor[name].elements:
            return False
        root = self.graph.resolve(name)[0]
        if self.graph.tensor[root].role is Role.OUTPUT:
            return True
        return any(
            operator.name not in self._inside
            and any(
                self.graph.resolve(read)[0] == root and self._overlap(name, read)
                for read in operator.inputs
            )
            for operator in self.graph.operators
        )

    def processes(
        self, edges: list[_Edge], named: Mapping[tuple[str, str, str], str]
    ) -> Iterator[Process]:
        """Reads, operators in order, writes."""
        gives: dict[str, list[tuple[str, str]]] = {}
        takes: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        for edge in edges:
            fifo = named[edge.writer, edge.reader, edge.written]
            gives.setdefault(edge.writer, []).append((edge.written, fifo))
            takes.setdefault(edge.reader, []).append((fifo, edge.takes))
        for writer, given in gives.items():
            if writer not in self._inside:
                rates = tuple(Rate(fifo) for _, fifo in given)
                yield self._transfer(writer, given[0][0], gives=rates)
        for operator in self.operators:
            flow = self.flows[operator.name]
            yield self._process(
                operator,
                tuple(Rate(fifo, phases(*taken)) for fifo, taken in takes.get(operator.name, ())),
                tuple(
                    Rate(fifo, self._given(flow.firings, flow.results_every, name))
                    for name, fifo in gives.get(operator.name, ())
                ),
            )
        for edge in edges:
            if edge.reader not in self._inside:
                rate = Rate(named[edge.writer, edge.reader, edge.written])
                yield self._transfer(edge.reader, edge.written, takes=(rate,))

    def _given(self, firings: int, every: int, name: str) -> tuple[tuple[int, int], ...]:
        count = self.tokens.count(name)
        if count * every == firings:
            return last_of(every)
        return last_of(firings, count)

    def _process(
        self, operator: Operator, takes: tuple[Rate, ...], gives: tuple[Rate, ...]
    ) -> Process:
        firings = self.flows[operator.name].firings
        cycles = operator_cost(self.graph, operator, self.target).compute_cycles
        shares = [
            max(1, cycles * (r + 1) // firings - cycles * r // firings) for r in range(firings)
        ]
        longest = max(shares)
        return Process(
            name=operator.name,
            firings=firings,
            takes=takes,
            gives=gives,
            interval_cycles=phases(*shares),
            latency_cycles=longest,
            release_cycles=longest,
        )

    def _transfer(
        self, process: str, name: str, takes: tuple[Rate, ...] = (), gives: tuple[Rate, ...] = ()
    ) -> Process:
        """Read or write of a tensor, a token per firing."""
        dram = self.target.dram
        interval = -(-self.token_bits(name) // (8 * dram.bytes_per_cycle))
        return Process(
            name=process,
            firings=self.tokens.count(name),
            takes=takes,
            gives=gives,
            interval_cycles=interval,
            latency_cycles=interval + (dram.latency_cycles if gives else 0),
            release_cycles=interval,
        )


def _differences(until: list[int], count: int) -> tuple[int, ...]:
    """Tokens each firing takes, the last one all that are left."""
    taken, found = 0, []
    for firing, needed in enumerate(until):
        upto = count if firing == len(until) - 1 else max(taken, min(needed, count))
        found.append(upto - taken)
        taken = upto
    return tuple(found)


def _work(process: Process) -> int:
    return pattern_sum(pattern_of(process.interval_cycles), process.firings)


def _least(network: Network) -> Network:
    """The network with FIFOs that hold what one firing gives or takes."""
    most: dict[str, int] = {}
    for process in network.processes:
        for rate in (*process.takes, *process.gives):
            largest = max(value for _, value in pattern_of(rate.tokens))
            most[rate.fifo] = max(most.get(rate.fifo, 1), largest)
    return replace(
        network, fifos=tuple(replace(fifo, depth=most[fifo.name]) for fifo in network.fifos)
    )
