"""The text form of graphs prints and parses back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph

from stowplan.errors import ModelError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Attribute, Graph, Operator, Role, Tensor
from stowplan.ir.text import parse_graph, print_graph

_NAMES = st.one_of(
    st.sampled_from(("x", "view", "operators", "inf", "", "a b", '"', "\\", "#", "1", "conv/w:0")),
    st.text(max_size=6),
)
_TUPLE_OF_NAMES = st.lists(_NAMES, max_size=3).map(tuple)
_INTEGERS = st.integers(-(2**63), 2**64)
_FLOATS = st.floats(allow_nan=False)
_VALUES: st.SearchStrategy[Attribute] = st.one_of(
    _INTEGERS,
    _FLOATS,
    _NAMES,
    st.lists(_INTEGERS, max_size=3).map(tuple),
    st.lists(_FLOATS, max_size=3).map(tuple),
    _TUPLE_OF_NAMES,
)
_INTERVALS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3).map(tuple)
_TENSORS = st.builds(
    Tensor,
    name=_NAMES,
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    dtype=st.sampled_from(DType),
    role=st.sampled_from(Role),
    alias=st.none() | st.builds(Alias, _NAMES, st.integers(-1, 99)),
    parent=st.none() | _NAMES,
    region=st.none() | _INTERVALS,
)
_OPERATORS = st.builds(
    Operator,
    name=_NAMES,
    kind=_NAMES,
    inputs=_TUPLE_OF_NAMES,
    outputs=_TUPLE_OF_NAMES,
    attributes=st.lists(st.tuples(_NAMES, _VALUES), max_size=3).map(tuple),
    epilogue=_TUPLE_OF_NAMES,
    prologue=_TUPLE_OF_NAMES,
    nodes=_TUPLE_OF_NAMES,
    workspace_bytes=st.integers(0, 99),
    in_place=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=2).map(tuple),
    domain=_NAMES,
    parent=st.none() | _NAMES,
    region=st.none() | _INTERVALS,
)
_GRAPHS = st.builds(
    Graph,
    _NAMES,
    st.lists(_TENSORS, max_size=4).map(tuple),
    st.lists(_OPERATORS, max_size=4).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(_GRAPHS)
def test_any_graph_round_trips(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text)
    assert again == graph
    assert print_graph(again) == text
    assert again.hash == graph.hash


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_planners_graphs_round_trip(seed: int) -> None:
    graph = random_graph(seed, 15)
    assert parse_graph(print_graph(graph)) == graph


def test_the_form_people_write() -> None:
    graph = parse_graph(
        """
        graph "tiny" {  # a comment
        tensors
          x: input float32[1, 4]
          y: output int8[] view base + 3
        operators
          c: Conv(x) -> (y) attributes {group = 1, scale = (0.5, -inf)} epilogue (Relu)
        }
        """
    )
    assert graph.tensor["x"] == Tensor("x", (1, 4), DType.FLOAT32, Role.INPUT)
    assert graph.tensor["y"].alias == Alias("base", 3)
    attributes = graph.operator["c"].attributes
    assert attributes == (("group", 1), ("scale", (0.5, float("-inf"))))
    assert graph.operator["c"].epilogue == ("Relu",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file:1: expected 'graph', found the end"),
        ("graph g {\ntensors\n x: inputs int8[]", "file:3: expected one of input, weight"),
        ("graph g {\ntensors\n x: input int9[]", "file:3: expected an element type"),
        ("graph g {\ntensors\n x: input int8[1.5]", "file:3: expected an integer, found '1.5'"),
        ("graph g {\ntensors\n x: input int8[1", "file:3: expected ',', found the end"),
        ("graph g {\ntensors\noperators\n}\nmore", "file:5: expected the end, found 'more'"),
        ("graph g {\ntensors\noperators\n c: A(1) -> ()", "file:4: expected a name, found '1'"),
        ("graph g {\ntensors\noperators\n c: A() -> () attributes {a = ;}", "file:4: no token"),
        ('graph "\\q" {', "file:1: expected a JSON string"),
        (
            "graph g {\ntensors\noperators\n c: A() -> () attributes {a = (1, 2.0)}",
            "of one type",
        ),
        ("graph g {\ntensors\noperators\n c: A() -> () attributes {a = b}", "a number, a string"),
    ],
)
def test_syntax_errors_tell_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_graph(text, "file")
    assert message in str(caught.value)
