"""Which tensors share which bytes, while a pass is still deciding: a state machine with undo.

Invariant of a layout without ``frozen`` storages: every byte of a storage has one value in the
whole run, because only tensors with equal bytes have been laid over each other.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from stowplan.ir.graph import Alias, Graph, Role, Tensor

_FIXED = frozenset({Role.INPUT, Role.WEIGHT, Role.STATE})
_EXACT = _FIXED | {Role.OUTPUT}


def rewritten_storages(graph: Graph) -> frozenset[str]:
    """Storages with a byte that changes its value: written twice, or a state that is written."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for tensor in graph.by_role(Role.STATE):
        root, offset = graph.resolve(tensor.name)
        spans.setdefault(root, []).append((offset, offset + tensor.size_bytes))
    for name in (name for op in graph.operators for name in op.outputs):
        root, offset = graph.resolve(name)
        size = graph.tensor[name].size_bytes
        if size:
            spans.setdefault(root, []).append((offset, offset + size))
    return frozenset(
        root
        for root, found in spans.items()
        if any(right[0] < left[1] for left, right in pairwise(sorted(found)))
    )


def unstable_tensors(graph: Graph) -> frozenset[str]:
    """Tensors whose bytes a later operator may change, so that no read of them may move."""
    storages = rewritten_storages(graph)
    return frozenset(t.name for t in graph.tensors if graph.resolve(t.name)[0] in storages)


def viewed_tensors(graph: Graph) -> frozenset[str]:
    """Tensors that are views, or that views lie in: more than their consumers may read them."""
    views = [tensor for tensor in graph.tensors if tensor.alias is not None]
    bases = {tensor.alias.base for tensor in views if tensor.alias is not None}
    return frozenset(bases | {tensor.name for tensor in views})


@dataclass(frozen=True, slots=True)
class _Step:
    """What a placement changed: the storage moved, and what its new root was before."""

    moved: str
    root: str
    roles: set[Role]
    writers: set[str]
    readers: set[str]


class ByteLayout:
    """Union of tensors into storages, with byte offsets.

    A tensor that starts and fills its storage is *whole*. Placing moves a whole tensor, and all
    that lies in it, into another storage.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent: dict[str, tuple[str, int]] = {
            tensor.name: (tensor.alias.base, tensor.alias.offset_bytes)
            for tensor in graph.tensors
            if tensor.alias is not None
        }
        self._size = {tensor.name: tensor.size_bytes for tensor in graph.tensors}
        self._roles: dict[str, set[Role]] = {}
        for tensor in graph.tensors:
            self._roles.setdefault(self.position(tensor.name)[0], set()).add(tensor.role)
        self._writers: dict[str, set[str]] = {}
        self._readers: dict[str, set[str]] = {}
        self._frozen = rewritten_storages(graph)
        for op in graph.operators:
            for name in op.outputs:
                self._writers.setdefault(self.position(name)[0], set()).add(op.name)
            for name in op.inputs:
                self._readers.setdefault(self.position(name)[0], set()).add(op.name)
        self._journal: list[_Step] = []

    def position(self, name: str) -> tuple[str, int]:
        """Storage and offset of a tensor."""
        offset = 0
        while (up := self._parent.get(name)) is not None:
            name, offset = up[0], offset + up[1]
        return name, offset

    def whole(self, name: str) -> bool:
        """The tensor starts and fills its storage."""
        root, offset = self.position(name)
        return offset == 0 and self._size[name] == self._size[root]

    def roles(self, name: str) -> frozenset[Role]:
        """Roles of all tensors in the storage of ``name``."""
        return frozenset(self._roles[self.position(name)[0]])

    def readers(self, name: str) -> frozenset[str]:
        """Operators that read the storage's current value."""
        return frozenset(self._readers.get(self.position(name)[0], ()))

    def place(self, part: str, whole: str, offset: int, eliding: str = "") -> bool:
        """Make ``part`` the bytes of ``whole`` from ``offset`` on; False if it cannot be moved.

        Args:
            part: tensor to move with its whole storage.
            whole: tensor whose storage receives it.
            offset: byte offset in ``whole``; the range must lie inside the storage.
            eliding: operator about to disappear, whose writes do not count.
        """
        root, start = self.position(whole)
        moved, _ = self.position(part)
        start += offset
        if self.position(part) == (root, start):
            return True
        if moved == root or not self.whole(part) or self._roles[moved] & _EXACT:
            return False
        if {moved, root} & self._frozen or start < 0:
            return False
        if start + self._size[moved] > self._size[root]:
            return False
        if Role.STATE in self._roles[root]:
            return False
        writers = self._writers.get(moved, set()) - {eliding}
        if self._roles[root] & _FIXED and writers:
            return False
        self._merge(moved, root, start)
        return True

    def overwrite(self, replaced: str, by: str) -> bool:
        """Give whole tensors ``replaced`` and ``by`` one storage, ``by`` being the later value.

        The storage of ``by`` must have one writer. Whatever lies in ``replaced`` must have no other
        reader than that operator; the caller has made sure.
        """
        old, new = self.position(replaced)[0], self.position(by)[0]
        if old == new or not (self.whole(replaced) and self.whole(by)):
            return False
        if self._size[old] != self._size[new] or self._roles[old] & _EXACT:
            return False
        if self._roles[new] & _FIXED or len(self._writers.get(new, ())) != 1:
            return False
        current = self._readers.get(new, set())
        moved, root = (old, new) if Role.OUTPUT in self._roles[new] else (new, old)
        self._merge(moved, root, 0)
        self._readers[root] = current
        return True

    def _merge(self, moved: str, root: str, offset: int) -> None:
        writers, readers = self._writers.get(root, set()), self._readers.get(root, set())
        self._journal.append(_Step(moved, root, self._roles[root], writers, readers))
        self._roles[root] = self._roles[root] | self._roles[moved]
        self._writers[root] = writers | self._writers.get(moved, set())
        self._readers[root] = readers | self._readers.get(moved, set())
        self._parent[moved] = (root, offset)

    def mark(self) -> int:
        """A point to return to with :meth:`undo`."""
        return len(self._journal)

    def undo(self, mark: int) -> None:
        """Take back every placement since ``mark``."""
        while len(self._journal) > mark:
            step = self._journal.pop()
            del self._parent[step.moved]
            self._roles[step.root] = step.roles
            self._writers[step.root] = step.writers
            self._readers[step.root] = step.readers

    def forget(self, operator: str, outputs: tuple[str, ...], inputs: tuple[str, ...]) -> None:
        """Note that ``operator`` has been elided and touches nothing any more."""
        for names, users in ((outputs, self._writers), (inputs, self._readers)):
            for name in names:
                users.get(self.position(name)[0], set()).discard(operator)

    def tensors(self) -> tuple[Tensor, ...]:
        """The graph's tensors, views pointing straight at their storage."""
        return tuple(self._placed(tensor) for tensor in self._graph.tensors)

    def _placed(self, tensor: Tensor) -> Tensor:
        if tensor.name not in self._parent:
            return tensor
        return replace(tensor, alias=Alias(*self.position(tensor.name)))
