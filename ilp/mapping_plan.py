"""From a solution of the mapping program to a plan with addresses.

Stays are the maximal runs of accesses on chip that the program keeps together; a result whose
operand ends where it begins takes its place. All are packed as rectangles of address x time, with
the windows in which the program lets transfers run. Where that fails, those are made shorter; then
what finds no place is shortened or accessed in DRAM.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stowplan.ilp import allocate_pack
from stowplan.ilp.mapping import Choice, MappingBound
from stowplan.ilp.mapping_instance import MappingInstance
from stowplan.ir.plan import DirectAccess, Plan, Proof, Residency, Transfer, TransferKind
from stowplan.passes.assemble import plan_in_order
from stowplan.passes.place import Rectangle, pack_by_size
from stowplan.passes.problem import PlanningProblem
from stowplan.targets.target import Target

PACKING_NODES = 200_000
"""Nodes of the exact packer before stays are shortened."""
PACKING_S = 2.0
WINDOWS = (1 << 30, 8, 4, 2, 1, 0)
"""Most steps before its use for which a LOAD holds its place, tried in turn."""


@dataclass(frozen=True, slots=True)
class _Stay:
    """Accesses on chip without a gap, the step from which its place is held, and until which."""

    accesses: tuple[int, ...]
    reserved: int
    end: int


Chain = tuple[_Stay, ...]
"""Stays that lie one after another in the same place."""


def mapping_plan(
    problem: PlanningProblem,
    target: Target,
    order: Sequence[int],
    instance: MappingInstance,
    bound: MappingBound,
    proof: Proof,
    planner: str,
) -> Plan:
    """A valid plan close to the choices of ``bound``; how fast it is, is for the caller to find.

    Args:
        problem: the planning problem that ``instance`` describes.
        target: the machine.
        order: operator indices in execution order.
        instance: the mapping problem.
        bound: a solution; without choices, all is accessed in DRAM.
        proof: what is known of the objective.
        planner: registry name of the planner.
    """
    builder = _Builder(problem, tuple(order), instance)
    placed = builder.place(builder.chains(builder.stays(bound)))
    residencies, transfers = [], []
    on_chip = {a for chain, _ in placed for stay in chain for a in stay.accesses}
    for chain, address in placed:
        for n, stay in enumerate(chain):
            residencies.append(builder.residency(stay, address))
            transfers += builder.transfers(stay, overwritten=n + 1 < len(chain))
    direct = [
        DirectAccess(problem.storages[access.storage].name, access.step)
        for a, access in enumerate(instance.accesses)
        if a not in on_chip
    ]
    return plan_in_order(problem, target, order, residencies, transfers, direct, proof, planner)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Looks things up."""

    problem: PlanningProblem
    order: tuple[int, ...]
    instance: MappingInstance

    def stays(self, bound: MappingBound) -> list[_Stay]:
        """Runs of accesses on chip."""
        open_: dict[int, list[int]] = {}
        runs: list[list[int]] = []
        for a, (access, choice) in enumerate(
            zip(self.instance.accesses, bound.choices, strict=False)
        ):
            if choice is Choice.DROP:
                open_.pop(access.storage, None)
            elif choice is Choice.NOCOPY and access.storage in open_:
                open_[access.storage].append(a)
            else:
                open_[access.storage] = [a]
                runs.append(open_[access.storage])
        loaded: dict[int, int] = {}
        found = []
        for run in reversed(runs):
            storage = self.instance.accesses[run[0]].storage
            # A copy that waits for its STORE is gone before the storage is loaded again.
            end = min(bound.ends[run[-1]], loaded.get(storage, len(self.instance.steps)))
            loaded[storage] = self._issue(run[0], bound.issues[run[0]])
            found.append(_Stay(tuple(run), loaded[storage], end))
        return found[::-1]

    def _issue(self, a: int, wanted: int) -> int:
        """Step from which a stay that begins with access ``a`` holds its place."""
        access = self.instance.accesses[a]
        if access.defines:
            return access.step
        earliest = self.step(access.before) + 1 if access.before >= 0 else 0
        return min(access.step, max(wanted, earliest))

    def chains(self, stays: Sequence[_Stay]) -> list[Chain]:
        """Join results to the operands they replace."""
        first = {stay.accesses[0]: n for n, stay in enumerate(stays)}
        last = {stay.accesses[-1]: n for n, stay in enumerate(stays)}
        follows: dict[int, int] = {}
        for t, step in enumerate(self.instance.steps):
            at = {self.instance.accesses[a].storage: a for a in step.accesses}
            for out, source in self.problem.in_place[self.order[t]]:
                old, new = last.get(at[source]), first.get(at[out])
                if old is None or new is None or old in follows or new in follows.values():
                    continue
                if self._gives_way(stays[old], stays[new]):
                    follows[old] = new
        found = []
        for n in sorted(set(range(len(stays))) - set(follows.values())):
            chain = [n]
            while chain[-1] in follows:
                chain.append(follows[chain[-1]])
            found.append(tuple(stays[m] for m in chain))
        return found

    def _gives_way(self, old: _Stay, new: _Stay) -> bool:
        """Whether the result may take the operand's place: what must be stored has been before."""
        shared = self.step(new.accesses[0])
        if not self.instance.accesses[new.accesses[0]].defines or self.size(new) > self.size(old):
            return False
        if self.instance.accesses[old.accesses[-1]].writes:
            return False
        if old.end > shared + 1:
            return False
        return not self.stored(old) or self.written(old) + 1 <= shared

    def place(self, chains: Sequence[Chain]) -> list[tuple[Chain, int]]:
        """Addresses of all, or of what finds a place; parts that never meet are placed apart."""
        found: list[tuple[Chain, int]] = []
        part: list[Chain] = []
        reached = 0
        for chain in sorted(chains, key=lambda chain: chain[0].reserved):
            if part and chain[0].reserved >= reached:
                found += self._place(part)
                part = []
            part.append(chain)
            reached = max(reached, self._box(chain).end)
        return found + self._place(part)

    def _place(self, chains: Sequence[Chain]) -> list[tuple[Chain, int]]:
        unit = self.problem.memory.alignment_bytes
        space = self.problem.memory.capacity_bytes // unit
        for window in WINDOWS:
            chosen = [self._late(chain, window) for chain in chains]
            boxes = [self._box(chain) for chain in chosen]
            packing = allocate_pack.pack(
                [box.start for box in boxes],
                [box.end for box in boxes],
                [box.size_bytes // unit for box in boxes],
                space,
                time_limit_s=PACKING_S,
                node_limit=PACKING_NODES,
            )
            if packing.offsets is not None:
                offsets = packing.offsets.tolist()
                placed = [(chain, unit * n) for chain, n in zip(chosen, offsets, strict=True)]
                return self._early(placed, chains)
        known = list(chains)

        def split(number: int) -> list[Rectangle]:
            parts = self._parts(known[number])
            known.extend(parts)
            return [self._box(part) for part in parts]

        packed = pack_by_size([self._box(chain) for chain in chains], space * unit, split)
        return [(known[n], address) for n, address in packed.addresses] if packed else []

    def _late(self, chain: Chain, window: int) -> Chain:
        """A chain whose transfers hold its place for ``window`` steps more than uses at most."""
        first = chain[0]
        latest = max(first.reserved, self.step(first.accesses[0]) - window)
        chain = (replace(first, reserved=latest), *chain[1:])
        last = chain[-1]
        return (*chain[:-1], replace(last, end=min(last.end, self.left(last) + window)))

    def _early(
        self, placed: Sequence[tuple[Chain, int]], wanted: Sequence[Chain]
    ) -> list[tuple[Chain, int]]:
        """The same addresses, held by LOADs from the step wanted or as soon as they are free."""
        boxes = [self._box(chain) for chain, _ in placed]
        lows = [address for _, address in placed]
        found = []
        for n, ((chain, low), wish) in enumerate(zip(placed, wanted, strict=True)):
            begins, high = chain[0].reserved, low + boxes[n].size_bytes
            free = wish[0].reserved
            for m, box in enumerate(boxes):
                if lows[m] < high and low < lows[m] + box.size_bytes and box.start < begins:
                    free = max(free, box.end)
            first = replace(chain[0], reserved=min(begins, free))
            found.append(((first, *chain[1:]), low))
            boxes[n] = self._box(found[-1][0])
        return found

    def _parts(self, chain: Chain) -> list[Chain]:
        """What to place instead of a chain that finds no place; nothing if it has to be dropped."""
        stay, *others = chain
        if others:
            return [(each,) for each in chain]
        begins = self.step(stay.accesses[0])
        if stay.reserved < begins:
            return [(replace(stay, reserved=begins),)]
        if stay.end > self.left(stay):
            return [(replace(stay, end=self.left(stay)),)]
        steps = [self.step(a) for a in stay.accesses]
        if len(steps) == 1:
            return []
        cut = max(range(1, len(steps)), key=lambda n: steps[n] - steps[n - 1])
        parts = stay.accesses[:cut], stay.accesses[cut:]
        # What is loaded for a single access may as well be accessed in DRAM.
        return [
            (_Stay(part, self._issue(part[0], self.step(part[0]) - 1), self.step(part[-1]) + 1),)
            for part in parts
            if self.instance.accesses[part[0]].defines or len(part) > 1
        ]

    def _box(self, chain: Chain) -> Rectangle:
        size = max(self.size(stay) for stay in chain)
        first, last = chain[0], chain[-1]
        return Rectangle(size, first.reserved, last.end)

    def residency(self, stay: _Stay, address: int) -> Residency:
        """The stay at its address."""
        begins = self.step(stay.accesses[0])
        return Residency(self.name(stay), begins, stay.end, address, stay.reserved)

    def transfers(self, stay: _Stay, overwritten: bool) -> list[Transfer]:
        """Its LOAD and STORE."""
        found = []
        first = self.instance.accesses[stay.accesses[0]]
        if not first.defines:
            found.append(Transfer(TransferKind.LOAD, self.name(stay), stay.reserved, first.step))
        if self.stored(stay):
            until = stay.end - overwritten
            issue = self.written(stay) + 1
            found.append(Transfer(TransferKind.STORE, self.name(stay), issue, until))
        return found

    def stored(self, stay: _Stay) -> bool:
        """Whether DRAM must have what was written on chip."""
        last = self.instance.accesses[stay.accesses[-1]]
        ends = self.instance.storages[last.storage].ends_in_dram
        return self.written(stay) >= 0 and (last.after >= 0 or ends)

    def written(self, stay: _Stay) -> int:
        """Last step that writes it on chip, -1 for none."""
        writes = (self.step(a) for a in stay.accesses if self.instance.accesses[a].writes)
        return max(writes, default=-1)

    def step(self, access: int) -> int:
        """Step of an access."""
        return self.instance.accesses[access].step

    def left(self, stay: _Stay) -> int:
        """One past the last step that accesses it."""
        return self.step(stay.accesses[-1]) + 1

    def size(self, stay: _Stay) -> int:
        """Bytes of its place."""
        return self.problem.size[self.instance.accesses[stay.accesses[0]].storage]

    def name(self, stay: _Stay) -> str:
        """Its storage."""
        return self.problem.storages[self.instance.accesses[stay.accesses[0]].storage].name
