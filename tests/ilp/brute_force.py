"""Exhaustive planning of tiny graphs: cheapest path through every reachable machine state.

A state is (operators done, address of every resident storage, storages whose current content DRAM
holds). Moves are: evict a storage (writing it back or not), load one to any address, run an
operator with its results at any addresses. Nothing is assumed about orders, about when moving pays,
or about which addresses are sensible; only dead storages are dropped at once. Written against the
rules of ``ir.plan`` alone, without the planners' helpers.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import product

from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.storage import storage_model

State = tuple[int, tuple[int, ...], int]
"""(mask of operators done, address per storage or -1, mask of storages copied in DRAM)."""


class Machine:
    """The states and moves of one graph on one scratchpad of whole, unaligned bytes."""

    def __init__(self, graph: Graph, memory: MemorySpec) -> None:
        model = storage_model(graph)
        planned = [
            i for i, s in enumerate(model.storages) if not (s.weight and memory.stream_weights)
        ]
        place = {old: new for new, old in enumerate(planned)}
        self.storages = [model.storages[i] for i in planned]
        self.size = [s.size_bytes for s in self.storages]
        self.capacity = memory.capacity_bytes
        self.before = [sum(1 << p for p in before) for before in model.predecessors]
        self.accesses = [
            [(place[a.storage], a) for a in accesses if a.storage in place]
            for accesses in model.accesses
        ]
        self.users = [0] * len(self.size)
        for o, accesses in enumerate(self.accesses):
            for v, _ in accesses:
                self.users[v] |= 1 << o
        self.takes_over = [self._takes_over(graph, o) for o in range(len(graph.operators))]
        written = {v for accesses in self.accesses for v, a in accesses if a.writes}
        self.compulsory = sum(
            s.size_bytes * (s.starts_in_dram + (s.ends_in_dram and v in written))
            for v, s in enumerate(self.storages)
            if self.users[v]
        )

    def _takes_over(self, graph: Graph, o: int) -> set[tuple[int, int]]:
        """(output, input) storages of operator ``o`` that may share an address."""
        names = {s.name: v for v, s in enumerate(self.storages)}
        op = graph.operators[o]
        found = set()
        for output, source in op.in_place:
            new, new_offset = graph.resolve(op.outputs[output])
            old, old_offset = graph.resolve(op.inputs[source])
            readers = {i for i, x in enumerate(op.inputs) if graph.resolve(x)[0] == old}
            legal = {
                s
                for p, s in op.in_place
                if graph.resolve(op.outputs[p])[0] == new
                and graph.resolve(op.outputs[p])[1] == graph.resolve(op.inputs[s])[1]
            }
            if new in names and old in names and new_offset == old_offset and readers <= legal:
                new_index, old_index = names[new], names[old]
                defines = {v for v, a in self.accesses[o] if a.defines}
                writes = {v for v, a in self.accesses[o] if a.writes}
                fits = self.size[new_index] <= self.size[old_index]
                if fits and new_index in defines and old_index not in writes:
                    found.add((new_index, old_index))
        return found

    def start(self) -> State:
        """Nothing has run, nothing is resident, DRAM holds what it holds at first."""
        copied = sum(1 << v for v, s in enumerate(self.storages) if s.starts_in_dram)
        return 0, (-1,) * len(self.size), copied

    def finished(self, state: State) -> bool:
        """Everything has run and DRAM holds the outputs."""
        done, _, copied = state
        outputs = sum(
            1 << v for v, s in enumerate(self.storages) if s.ends_in_dram and self.users[v]
        )
        return done == (1 << len(self.before)) - 1 and outputs & ~copied == 0

    def free(self, addresses: tuple[int, ...], v: int, ignore: int = -1) -> Iterator[int]:
        """Addresses at which ``v`` overlaps nothing but ``ignore``."""
        for address in range(self.capacity - self.size[v] + 1):
            top = address + self.size[v]
            if all(
                u == ignore or a < 0 or top <= a or a + self.size[u] <= address
                for u, a in enumerate(addresses)
            ):
                yield address

    def moves(self, state: State) -> Iterator[tuple[int, State]]:
        """(bytes moved, next state)."""
        done, addresses, copied = state
        for v, address in enumerate(addresses):
            live = bool(self.users[v] & ~done)
            if address >= 0:
                if not copied >> v & 1:
                    yield self.size[v], (done, addresses, copied | 1 << v)
                if copied >> v & 1 or not live:
                    yield 0, (done, _with(addresses, v, -1), copied)
            elif copied >> v & 1 and live:
                for place in self.free(addresses, v):
                    yield self.size[v], (done, _with(addresses, v, place), copied)
        for o, before in enumerate(self.before):
            if not done >> o & 1 and not before & ~done:
                yield from self._run(state, o)

    def _run(self, state: State, o: int) -> Iterator[tuple[int, State]]:
        done, addresses, copied = state
        defined = [v for v, a in self.accesses[o] if a.defines]
        if any(addresses[v] < 0 for v, a in self.accesses[o] if not a.defines):
            return
        for v, a in self.accesses[o]:
            if a.writes:
                copied &= ~(1 << v)
        after = done | 1 << o
        for sources in product(
            *([-1] + [s for p, s in self.takes_over[o] if p == v] for v in defined)
        ):
            chosen = [s for s in sources if s >= 0]
            if len(set(chosen)) == len(chosen):
                for placed in self._place(addresses, defined, sources):
                    for s in chosen:
                        placed = _with(placed, s, -1)
                    yield 0, (after, self._bury(placed, after, copied), copied)

    def _place(
        self, addresses: tuple[int, ...], defined: list[int], sources: tuple[int, ...]
    ) -> Iterator[tuple[int, ...]]:
        if not defined:
            yield addresses
            return
        v, source = defined[0], sources[0]
        places = [addresses[source]] if source >= 0 else self.free(addresses, v)
        for address in places:
            if source < 0 or address in set(self.free(addresses, v, source)):
                yield from self._place(_with(addresses, v, address), defined[1:], sources[1:])

    def _bury(self, addresses: tuple[int, ...], done: int, copied: int) -> tuple[int, ...]:
        """Drop storages nobody needs any more."""
        return tuple(
            -1
            if not self.users[v] & ~done and (copied >> v & 1 or not s.ends_in_dram)
            else addresses[v]
            for v, s in enumerate(self.storages)
        )


def _with(addresses: tuple[int, ...], v: int, address: int) -> tuple[int, ...]:
    return (*addresses[:v], address, *addresses[v + 1 :])


def least_noncompulsory_bytes(
    graph: Graph, memory: MemorySpec, max_states: int = 10**9
) -> int | None:
    """Fewest off-chip bytes beyond the compulsory ones; None when no plan exists.

    Raises:
        MemoryError: more than ``max_states`` states would have to be visited.
    """
    machine = Machine(graph, memory)
    start = machine.start()
    best = {start: 0}
    queue: list[tuple[int, State]] = [(0, start)]
    while queue:
        cost, state = heappop(queue)
        if best[state] < cost:
            continue
        if machine.finished(state):
            return cost - machine.compulsory
        if len(best) > max_states:
            raise MemoryError(f"more than {max_states} states")
        for paid, after in machine.moves(state):
            if cost + paid < best.get(after, 1 << 60):
                best[after] = cost + paid
                heappush(queue, (cost + paid, after))
    return None
