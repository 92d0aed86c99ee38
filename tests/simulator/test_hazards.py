"""Dependences against a record kept byte by byte."""

from hypothesis import given
from hypothesis import strategies as st

from stowplan.simulator.hazards import Hazards

ranges = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda r: (r[0], r[0] + r[1])),
    max_size=3,
)


@given(st.lists(st.tuples(ranges, ranges), max_size=15))
def test_equals_bytes_tracked_one_by_one(
    accesses: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
) -> None:
    hazards = Hazards()
    writer = [-1] * 50
    readers: list[set[int]] = [set() for _ in range(50)]
    for command, (reads, writes) in enumerate(accesses):
        read = {b for lower, upper in reads for b in range(lower, upper)}
        written = {b for lower, upper in writes for b in range(lower, upper)}
        expected = {writer[b] for b in read}
        for b in written:
            expected |= readers[b] or {writer[b]}
        assert hazards.before(reads, writes) == expected - {-1}
        hazards.record(command, reads, writes)
        for b in read:
            readers[b].add(command)
        for b in written:
            writer[b], readers[b] = command, set()
