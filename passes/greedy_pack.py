"""Offline placement of chosen stays, in-place outputs joined to the input they replace."""

from collections.abc import Sequence

from stowplan.passes.assemble import Stay
from stowplan.passes.greedy_gaps import Kept, Timeline
from stowplan.passes.greedy_place import Placement, split_direct
from stowplan.passes.place import pack_by_size
from stowplan.passes.problem import PlanningProblem

Takeovers = tuple[tuple[tuple[int, int], ...], ...]
"""Per operator, (output, input) storages of equal size that may share an address."""


def takeovers(problem: PlanningProblem) -> Takeovers:
    """In-place pairs worth joining, each storage in one pair of an operator at most.

    The input must not be needed in DRAM at the end: its STORE could not complete in time.
    """
    found = []
    for operator, pairs in enumerate(problem.in_place):
        chosen: list[tuple[int, int]] = []
        taken: set[int] = set()
        for output, source in pairs:
            if not taken & {output, source} and _same_place(problem, operator, output, source):
                chosen.append((output, source))
                taken |= {output, source}
        found.append(tuple(chosen))
    return tuple(found)


def _same_place(problem: PlanningProblem, operator: int, output: int, source: int) -> bool:
    """Whether ``output`` is defined here, ``source`` only read, and both take the same space."""
    return (
        output in problem.defines[operator]
        and source not in problem.updates[operator]
        and problem.size[output] == problem.size[source]
        and problem.storages[output].size_bytes <= problem.storages[source].size_bytes
        and not problem.kept(source)
    )


def place_offline(
    accesses: Timeline, kept: Kept, capacity_bytes: int, pairs: Takeovers
) -> Placement | None:
    """Place the stays of ``kept`` knowing all lifetimes; None when some find no place."""
    stays, direct = split_direct(accesses, accesses.stays(kept))
    chains = _chains(accesses, stays, pairs)
    size = accesses.problem.size
    packing = pack_by_size(
        [size[stays[chain[0]].storage] for chain in chains],
        [stays[chain[0]].start for chain in chains],
        [stays[chain[-1]].end for chain in chains],
        capacity_bytes,
    )
    if packing is None:
        return None
    addresses = [0] * len(stays)
    for chain, address in zip(chains, packing.addresses, strict=True):
        for i in chain:
            addresses[i] = address
    return Placement(
        tuple(stays),
        tuple(addresses),
        tuple(direct),
        sum(accesses.traffic(v, flags) for v, flags in enumerate(kept)),
        packing.height_bytes,
    )


def _chains(accesses: Timeline, stays: Sequence[Stay], pairs: Takeovers) -> list[list[int]]:
    """Indices of stays that share an address, each chain in order of time."""
    first = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    last = {(stay.storage, stay.end): i for i, stay in enumerate(stays)}
    follows: dict[int, int] = {}
    for step, operator in enumerate(accesses.order):
        for output, source in pairs[operator]:
            before, after = last.get((source, step + 1)), first.get((output, step))
            dead = accesses.steps[source][-1] == step
            if dead and before is not None and after is not None:
                follows[before] = after
    followers = set(follows.values())
    chains = []
    for i in range(len(stays)):
        if i in followers:
            continue
        chain = [i]
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        chains.append(chain)
    return chains
