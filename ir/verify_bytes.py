"""Where tensors lie in their storages, and which bytes have been written: for the verifier."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from stowplan.ir.graph import Graph, Interval, Role

StorageMap = Mapping[str, tuple[str, int]]
"""Tensor name -> (storage name, byte offset in it)."""


def storage_map(graph: Graph) -> StorageMap:
    """Storage and offset of every tensor. The views must be acyclic."""
    places: dict[str, tuple[str, int]] = {}
    for tensor in graph.tensors:
        path = []
        current = tensor
        while current.name not in places and current.alias is not None:
            path.append(current)
            current = graph.tensor[current.alias.base]
        root, offset = places.setdefault(current.name, (current.name, 0))
        for view in reversed(path):
            offset += view.alias.offset_bytes if view.alias else 0
            places[view.name] = (root, offset)
    return places


class Coverage:
    """Bytes written so far, per storage, as sorted disjoint intervals; a state machine."""

    def __init__(self, graph: Graph, places: StorageMap) -> None:
        self._size_bytes = graph.size_bytes
        self._places = places
        self._written: dict[str, list[Interval]] = {}
        for tensor in graph.tensors:
            if tensor.role in (Role.INPUT, Role.WEIGHT, Role.STATE):
                root = places[tensor.name][0]
                self._written[root] = [(0, graph.size_bytes[root])]

    def _range(self, name: str) -> tuple[str, int, int]:
        root, lower = self._places[name]
        return root, lower, lower + self._size_bytes[name]

    def write(self, name: str) -> None:
        """Note that all bytes of tensor ``name`` are written."""
        root, lower, upper = self._range(name)
        if lower == upper:
            return
        spans = self._written.setdefault(root, [])
        first = bisect_left(spans, lower, key=lambda span: span[1])
        last = bisect_right(spans, upper, key=lambda span: span[0])
        if first < last:
            lower = min(lower, spans[first][0])
            upper = max(upper, spans[last - 1][1])
        spans[first:last] = [(lower, upper)]

    def missing(self, name: str) -> Interval | None:
        """The first byte range of tensor ``name`` that nothing has written, if any."""
        root, lower, upper = self._range(name)
        spans = self._written.get(root, [])
        if lower == upper or (len(spans) == 1 and spans[0][0] <= lower and upper <= spans[0][1]):
            return None
        index = bisect_right(spans, lower, key=lambda span: span[0]) - 1
        start = max(lower, spans[index][1]) if index >= 0 else lower
        if start >= upper:
            return None
        following = spans[index + 1][0] if index + 1 < len(spans) else upper
        return start, min(following, upper)
