"""Order rules: the plan runs each operator once, and every read sees the writes it must see.

The reference semantics is replayed byte range by byte range in both orders; no precedence relation
is derived, so none can be wrong.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from stowplan.ir.check_facts import Facts, Touch, Violation
from stowplan.ir.plan import Plan

User = tuple[str, Touch]
"""An operator's name and its touch of the storage at hand."""


def check_order(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """The order is a permutation of the graph's operators, and so are the engines' names."""
    for what, names in (("order", plan.order), ("engine", [name for name, _ in plan.engines])):
        for name, count in Counter(names).items():
            if name not in facts.touches:
                yield Violation("unknown", f"{what}: the graph has no operator {name!r}")
            elif count > 1:
                yield Violation(what, f"operator {name!r} is listed {count} times")
    listed = set(plan.order)
    for name in facts.touches:
        if name not in listed:
            yield Violation("order", f"operator {name!r} is never run")


def check_dataflow(facts: Facts, plan: Plan) -> Iterator[Violation]:
    """Every byte an operator reads, and every output byte, has the writer it has in graph order.

    Needs an order that is a permutation.
    """
    if plan.order == tuple(facts.touches):
        return
    before = _users(facts, facts.touches)
    after = _users(facts, plan.order)
    for storage, reference in before.items():
        planned = after[storage]
        if [name for name, _ in reference] == [name for name, _ in planned]:
            continue
        yield from _check_definition(facts, storage, reference, planned)
        yield from _check_sources(facts, storage, reference, planned)


def _users(facts: Facts, order: Iterable[str]) -> dict[str, list[User]]:
    users: dict[str, list[User]] = {}
    for name in order:
        for touch in facts.touches[name]:
            users.setdefault(touch.storage, []).append((name, touch))
    return users


def _check_definition(
    facts: Facts, storage: str, reference: Sequence[User], planned: Sequence[User]
) -> Iterator[Violation]:
    definer, touch = reference[0]
    if touch.defines and planned[0][0] != definer:
        yield Violation(
            "definition",
            f"operator {planned[0][0]!r} touches storage {storage!r} before "
            f"operator {definer!r}, which defines it",
        )


def _check_sources(
    facts: Facts, storage: str, reference: Sequence[User], planned: Sequence[User]
) -> Iterator[Violation]:
    cuts = sorted(
        {cut for _, touch in reference for pair in (*touch.reads, *touch.writes) for cut in pair}
    )
    expected, expected_last = _replay(reference, cuts)
    found, found_last = _replay(planned, cuts)
    for name, writers in found.items():
        for segment, writer in writers.items():
            if writer != expected[name][segment]:
                yield Violation(
                    "dataflow",
                    f"operator {name!r} reads bytes {_extent(cuts, segment)} of {storage!r} as "
                    f"{_by(writer)}; in graph order they are {_by(expected[name][segment])}",
                )
                break
    if storage in facts.final and found_last != expected_last:
        segment = next(i for i, w in enumerate(found_last) if w != expected_last[i])
        yield Violation(
            "dataflow",
            f"bytes {_extent(cuts, segment)} of output {storage!r} end as "
            f"{_by(found_last[segment])}; in graph order they are {_by(expected_last[segment])}",
        )


def _replay(
    users: Sequence[User], cuts: Sequence[int]
) -> tuple[dict[str, dict[int, str | None]], list[str | None]]:
    """Per operator and segment between cuts it reads, the last writer; and the final writers."""
    index = {cut: i for i, cut in enumerate(cuts)}
    last: list[str | None] = [None for _ in pairwise(cuts)]
    seen: dict[str, dict[int, str | None]] = {}
    for name, touch in users:
        seen[name] = {
            segment: last[segment]
            for lower, upper in touch.reads
            for segment in range(index[lower], index[upper])
        }
        for lower, upper in touch.writes:
            last[index[lower] : index[upper]] = [name] * (index[upper] - index[lower])
    return seen, last


def _extent(cuts: Sequence[int], segment: int) -> str:
    return f"[{cuts[segment]}, {cuts[segment + 1]})"


def _by(writer: str | None) -> str:
    return "nobody wrote them" if writer is None else f"written by {writer!r}"
