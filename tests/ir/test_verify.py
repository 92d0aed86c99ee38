"""The verifier accepts valid graphs and names the check that a broken one fails."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph

from stowplan.errors import ModelError
from stowplan.ir.graph import Graph, Role
from stowplan.ir.text import parse_graph
from stowplan.ir.verify import verify, violations

_VALID = """
graph "valid" {
tensors
  x: input int8[1, 8]
  w: weight int8[8]
  a: activation int8[1, 8] view whole + 0
  b: activation int8[1, 4] view whole + 8
  whole: activation int8[1, 12]
  y: output int8[1, 12]
  z: output int8[1, 8]
operators
  first: Conv(x, w) -> (a)
  second: Conv(a, w) -> (b)
  third: Relu(whole) -> (y) attributes {alpha = 1, beta = 2} in_place (0 <- 0)
  fourth: Conv(x) -> (z) workspace 4
}
"""


def _parse(old: str = "", new: str = "") -> Graph:
    assert old in _VALID
    return parse_graph(_VALID.replace(old, new, 1) if old else _VALID)


def test_a_valid_graph_passes() -> None:
    assert violations(_parse()) == ()
    verify(_parse())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25))
def test_graphs_of_the_planner_tests_have_no_structural_fault(seed: int, operators: int) -> None:
    found = violations(random_graph(seed, operators))
    # Views of what is never written are deliberate there; everything else must be clean.
    assert {fault.check for fault in found} <= {"reads-follow-writes"}


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ("  y: out", "  x: input int8[1]\n  y: out", "unique-names", "two tensors are named 'x'"),
        ("fourth: Conv", "third: Conv", "unique-names", "two operators are named 'third'"),
        ("Conv(x, w)", "Conv(x, v)", "operands-exist", "no tensor 'v'"),
        ("-> (z)", "-> (z, z)", "operands-exist", "names an output twice"),
        ("x: input int8[1, 8]", "x: input int8[1, -8]", "sizes-sane", "negative extent"),
        ("workspace 4", "workspace -4", "sizes-sane", "workspace of -4"),
        ("w: weight int8[8]", "w: weight int8[8] region [0:7]", "regions-sane", "have shape"),
        ("w: weight int8[8]", "w: weight int8[8] region [9:1]", "regions-sane", "intervals"),
        ("workspace 4", "region [3:2]", "regions-sane", "no list of intervals"),
        ("{alpha = 1, beta", "{gamma = 1, beta", "attributes-sorted", "sorted and unique"),
        ("view whole + 8", "view whole + 9", "views-in-range", "bytes [9, 13) of 'whole'"),
        ("view whole + 8", "view none + 8", "views-in-range", "'none', which is not there"),
        ("whole: activation int8[1, 12]", "whole: activation int8[1, 12] view y + 0", "", ""),
        ("in_place (0 <- 0)", "in_place (0 <- 1)", "in-place-pairs", "out of range"),
        ("workspace 4", "in_place (0 <- 0)", "", ""),
        ("Conv(x) -> (z) workspace 4", "Conv(w) -> (z) in_place (0 <- 0)", "in-place-pairs", "wei"),
        ("second: Conv(a, w)", "second: Conv(b, w)", "reads-follow-writes", "[8, 12) of storage"),
        ("-> (b)", "-> (z)", "reads-follow-writes", "reads 'whole' before"),
        ("-> (z) workspace 4", "-> ()", "reads-follow-writes", "all of output 'z'"),
        ("-> (z)", "-> (z, x)", "read-only-storages", "writes 'x' into input 'x'"),
        ("-> (z)", "-> (z, w)", "read-only-storages", "into weight 'w'"),
        ("-> (z)", "-> (z, whole, b)", "outputs-disjoint", "'whole' and 'b' overlap"),
    ],
)
def test_each_check_finds_its_fault(old: str, new: str, check: str, message: str) -> None:
    found = violations(_parse(old, new))
    assert {fault.check for fault in found} == ({check} if check else set())
    assert not check or any(message in fault.message for fault in found)


def test_circular_views_are_found() -> None:
    graph = _parse("whole: activation int8[1, 12]", "whole: activation int8[1, 8] view a + 0")
    assert ("views-acyclic", "the views a, whole are circular") in {
        (fault.check, fault.message) for fault in violations(graph)
    }


def test_sizes_of_in_place_pairs_must_agree() -> None:
    graph = _parse("Relu(whole)", "Relu(a)")
    assert [fault.check for fault in violations(graph)] == ["in-place-pairs"]


def test_a_partly_written_storage_may_be_read_where_it_is_written() -> None:
    graph = _parse("third: Relu(whole)", "third: Relu(a)").replace()
    operators = tuple(replace(op, in_place=()) for op in graph.operators)
    assert violations(graph.replace(operators=operators)) == ()


def test_states_may_be_read_and_written() -> None:
    graph = _parse("-> (z)", "-> (z, x)")
    tensors = tuple(replace(t, role=Role.STATE) if t.name == "x" else t for t in graph.tensors)
    assert violations(graph.replace(tensors=tensors)) == ()


def test_the_error_lists_what_was_found() -> None:
    graph = _parse()
    with pytest.raises(ModelError, match="graph 'valid' is not valid:\n  reads-follow-writes: "):
        verify(graph.replace(operators=graph.operators[::-1]))


def test_long_lists_are_cut() -> None:
    graph = _parse()
    many = tuple(replace(graph.operators[3], name=f"o{i}", inputs=("none",)) for i in range(13))
    with pytest.raises(ModelError, match=r"and 3 more$"):
        verify(graph.replace(operators=many))
