"""Which layers a plan runs depth-first, found in the plan itself and told in words.

A layer is an untiled operator; its tiles carry its name. Layers whose tiles interleave in the order
are a *group*: the next begins before the one before has finished, so that what passes between them
never exists as a whole. The group's *stripes* are the rounds it makes: how often the layer that is
entered most often is entered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stowplan.ir.graph import Graph, Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, TransferKind
from stowplan.ir.weight_ring import fetches

RESIDENT = "resident"
RELOADED = "reloaded"
STREAMED = "streamed"
NO_WEIGHTS = "none"


@dataclass(frozen=True, slots=True)
class FusionGroup:
    """Layers that run depth-first.

    Attributes:
        layers: names, in the order in which they begin.
        start: first step.
        end: one past the last step.
        stripes: rounds the group makes.
        weights: ``resident`` (each loaded once), ``reloaded`` (some more than once), ``streamed``
            past the scratchpad, or ``none``.
        weight_bytes: of the group's weights, each once.
        weight_again_bytes: bytes of weights read beyond that.
        kept_bytes: results made in the group that are never moved, and no outputs of the model.
        moved_bytes: bytes moved between DRAM and chip for results made in the group.
    """

    layers: tuple[str, ...]
    start: int
    end: int
    stripes: int
    weights: str
    weight_bytes: int
    weight_again_bytes: int
    kept_bytes: int
    moved_bytes: int

    def __str__(self) -> str:
        """``conv1..conv3 run depth-first in 14 stripes, weights resident``."""
        names = f"{self.layers[0]}..{self.layers[-1]} ({len(self.layers)} layers)"
        rounds = f"{self.stripes} stripe{'' if self.stripes == 1 else 's'}"
        return f"{names} run depth-first in {rounds}, {self._weights()}, {self._results()}"

    def _weights(self) -> str:
        if self.weights == NO_WEIGHTS:
            return "no weights"
        if self.weights == RESIDENT:
            return "weights resident"
        again = f"{self.weight_again_bytes:,} bytes of them again"
        if not self.weight_again_bytes:
            return f"weights {self.weights} once"
        return f"weights {self.weights}, {again}"

    def _results(self) -> str:
        if not self.moved_bytes:
            return "all results stay on chip"
        return f"{self.kept_bytes:,} bytes of results stay on chip, {self.moved_bytes:,} moved"


def fusion_groups(graph: Graph, plan: Plan, memory: MemorySpec) -> tuple[FusionGroup, ...]:
    """The groups of two and more layers of a valid plan, in order of time."""
    layer_at = [graph.operator[name].parent or name for name in plan.order]
    moves = _moves(plan)
    streamed = _streamed(graph, plan, memory)
    return tuple(_group(graph, plan, layer_at, span, moves, streamed) for span in _spans(layer_at))


def _streamed(graph: Graph, plan: Plan, memory: MemorySpec) -> list[int] | None:
    """Per step, bytes of weights that stream for it; None where the scratchpad holds weights."""
    if plan.track_weights or not memory.stream_weights:
        return None
    names = [
        frozenset(n for n in graph.operator[op].inputs if graph.tensor[n].role is Role.WEIGHT)
        for op in plan.order
    ]
    sizes = [sum(graph.tensor[name].size_bytes for name in each) for each in names]
    needed = fetches(zip(names, sizes, strict=True), memory.kept_weights_bytes)
    return [size * fetched for size, fetched in zip(sizes, needed, strict=True)]


def _spans(layer_at: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Half-open steps over which layers interleave."""
    last = {layer: step for step, layer in enumerate(layer_at)}
    start = reached = 0
    for step, layer in enumerate(layer_at):
        if step > reached:
            if len(set(layer_at[start:step])) > 1:
                yield start, step
            start = step
        reached = max(reached, last[layer])
    if len(set(layer_at[start:])) > 1:
        yield start, len(layer_at)


def _moves(plan: Plan) -> dict[str, list[TransferKind]]:
    """Transfers of each storage."""
    found: dict[str, list[TransferKind]] = {}
    for transfer in plan.transfers:
        found.setdefault(transfer.storage, []).append(transfer.kind)
    return found


def _group(
    graph: Graph,
    plan: Plan,
    layer_at: Sequence[str],
    span: tuple[int, int],
    moves: dict[str, list[TransferKind]],
    streamed: list[int] | None,
) -> FusionGroup:
    start, end = span
    inside = layer_at[start:end]
    entered: dict[str, int] = {}
    for i, layer in enumerate(inside):
        entered[layer] = entered.get(layer, 0) + (i == 0 or inside[i - 1] != layer)
    weights, again = _weights(graph, plan, span, moves, streamed)
    results = {
        graph.resolve(name)[0]
        for step in range(start, end)
        for name in graph.operator[plan.order[step]].outputs
    }
    size = {name: graph.tensor[name].size_bytes for name in results}
    outputs = {graph.resolve(tensor.name)[0] for tensor in graph.by_role(Role.OUTPUT)}
    kind = STREAMED if streamed is not None else RELOADED if again else RESIDENT
    return FusionGroup(
        layers=tuple(dict.fromkeys(inside)),
        start=start,
        end=end,
        stripes=max(entered.values()),
        weights=kind if weights else NO_WEIGHTS,
        weight_bytes=weights,
        weight_again_bytes=again,
        kept_bytes=sum(size[v] for v in results if v not in moves and v not in outputs),
        moved_bytes=sum(size[v] * len(moves.get(v, ())) for v in results),
    )


def _weights(
    graph: Graph,
    plan: Plan,
    span: tuple[int, int],
    moves: dict[str, list[TransferKind]],
    streamed: list[int] | None,
) -> tuple[int, int]:
    """Bytes of the weights read in a span of steps, each once, and those read again."""
    reads: dict[str, int] = {}
    for step in range(*span):
        for name in dict.fromkeys(graph.operator[plan.order[step]].inputs):
            if graph.tensor[name].role is Role.WEIGHT:
                storage = graph.resolve(name)[0] if streamed is None else name
                reads[storage] = reads.get(storage, 0) + 1
    once = sum(graph.tensor[name].size_bytes for name in reads)
    if streamed is not None:
        # Where others left them in the buffer, a group may stream fewer than it has.
        return once, max(0, sum(streamed[slice(*span)]) - once)
    again = {name: len(moves.get(name, ())) - 1 for name in reads}
    return once, sum(graph.tensor[name].size_bytes * max(0, n) for name, n in again.items())
