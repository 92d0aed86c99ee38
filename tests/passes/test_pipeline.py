"""The pass manager, and that every pass keeps graphs valid and their outputs the same."""

from dataclasses import dataclass
from time import process_time
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.passes.graph_language import GraphBuilder, Interpreter, random_order, sampled_model

from stowplan.errors import InternalError, ModelError, UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Role
from stowplan.ir.verify import verify
from stowplan.passes.base import Pass, PassResult
from stowplan.passes.elide_views import ElideViews
from stowplan.passes.fuse_conv import FuseConv
from stowplan.passes.pipeline import (
    PASSES,
    PassEvent,
    default_pipeline,
    parse_pipeline,
    print_pipeline,
    run_passes,
    run_pipeline,
)

_SAME_SIZES = sorted(set(PASSES) - {"precision", "tile"})
_PASS = st.one_of(
    st.sampled_from(_SAME_SIZES),
    st.sampled_from(
        (
            "elide-views{concat=false}",
            "elide-views{split=false}",
            "fuse-conv{residual=false}",
            "fuse-elementwise{residual=true}",
            "fuse-matmul{residual=false}",
            "in-place{share=false}",
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(0, 10**6))
def test_the_usual_passes_keep_every_output(seed: int, operators: int, order_seed: int) -> None:
    model = sampled_model(seed, operators)
    changed = run_pipeline(model, default_pipeline())
    interpreter = Interpreter(model)
    expected = interpreter.run(model)
    assert expected
    assert interpreter.run(changed) == expected
    assert interpreter.run(changed, random_order(changed, order_seed)) == expected


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.lists(_PASS, min_size=1, max_size=6), st.integers(0, 10**6))
def test_passes_in_any_sequence_keep_every_output(
    seed: int, names: list[str], order_seed: int
) -> None:
    model = sampled_model(seed, 25)
    changed = run_pipeline(model, ",".join(names))
    interpreter = Interpreter(model)
    assert interpreter.run(changed, random_order(changed, order_seed)) == interpreter.run(model)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_precision_quarters_float_storages_wherever_it_stands(seed: int) -> None:
    model = sampled_model(seed, 20)
    floats = {t.name: t for t in model.tensors if t.dtype is DType.FLOAT32}
    for text in ("precision", "precision,elide-views,in-place", "elide-views,precision,in-place"):
        changed = run_pipeline(model, text)
        for tensor in changed.tensors:
            if tensor.name in floats and tensor.role is not Role.WEIGHT:
                assert tensor.size_bytes * 4 == floats[tensor.name].size_bytes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_usual_passes_find_nothing_more_the_second_time(seed: int) -> None:
    once = run_pipeline(sampled_model(seed, 25), default_pipeline())
    again = run_pipeline(once, "canonicalise,dead-code,elide-views")
    assert len(again.operators) == len(once.operators)


def test_pipeline_text_round_trips() -> None:
    text = "canonicalise,fuse-conv{residual=false},precision{dtype=float16},elide-views"
    assert print_pipeline(parse_pipeline(text)) == text


def test_defaults_and_spaces_are_left_out_of_the_text() -> None:
    passes = parse_pipeline(" elide-views{ concat = true , split=false } , fuse-conv{} ")
    assert passes == (ElideViews(split=False), FuseConv())
    assert print_pipeline(passes) == "elide-views{split=false},fuse-conv"


def test_an_empty_text_has_no_passes() -> None:
    assert parse_pipeline("") == parse_pipeline("  ") == ()


@pytest.mark.parametrize("name", sorted(PASSES))
def test_every_pass_is_in_a_file_of_its_name(name: str) -> None:
    assert PASSES[name].__module__.rpartition(".")[2] == name.replace("-", "_")
    assert print_pipeline(parse_pipeline(name)) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fuse", "there is no pass 'fuse'"),
        ("canonicalise,,dead-code", "position 13"),
        ("canonicalise,", "position 13"),
        (",canonicalise", "position 0"),
        ("canonicalise dead-code", "position 0"),
        ("elide-views{concat=1}", "true or false"),
        ("elide-views{concat}", "no option of its own"),
        ("elide-views{flat=true}", "options: concat, split"),
        ("elide-views{concat=true,concat=false}", "no option of its own"),
        ("dead-code{all=true}", "options: none"),
        ("precision{dtype=int7}", "choose one of"),
        ("fuse-conv{residual=true", "position 0"),
    ],
)
def test_errors_in_pipeline_texts_say_where(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pipeline(text)
    assert message in str(caught.value)


@dataclass(frozen=True, slots=True)
class _Saboteur:
    """A pass that drops the first operator."""

    name: ClassVar[str] = "saboteur"

    def apply(self, graph: Graph) -> PassResult:
        return PassResult(graph.replace(operators=graph.operators[1:]), True)


def _chain(length: int) -> Graph:
    built = GraphBuilder()
    built.tensor("t0", (1, 8), Role.INPUT)
    for i in range(length):
        last = Role.OUTPUT if i == length - 1 else Role.ACTIVATION
        built.unary("Softmax", f"t{i}", f"t{i + 1}", last)
    return built.build()


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    saboteur: Pass = _Saboteur()
    with pytest.raises(InternalError, match=r"'saboteur' broke the graph[^$]*reads-follow-writes"):
        run_passes(_chain(2), (saboteur,))


def test_an_invalid_graph_is_refused_before_the_first_pass() -> None:
    graph = _chain(2)
    with pytest.raises(ModelError, match="reads-follow-writes"):
        run_pipeline(graph.replace(operators=graph.operators[::-1]), "canonicalise")


def test_the_callback_sees_each_pass() -> None:
    events: list[PassEvent] = []
    built = GraphBuilder()
    built.tensor("x", (1, 8), Role.INPUT)
    built.unary("Identity", "x", "y")
    built.unary("Softmax", "y", "z", Role.OUTPUT)
    result = run_pipeline(built.build(), "dead-code,elide-views", events.append)
    assert [event.text for event in events] == ["dead-code", "elide-views"]
    assert [event.result.modified for event in events] == [False, True]
    assert events[1].result.graph is result
    assert all(event.wall_s >= 0 for event in events)


def test_five_thousand_operators_take_less_than_two_seconds() -> None:
    model = sampled_model(7, 5000)
    began = process_time()
    changed = run_pipeline(model, default_pipeline("int8"))
    cpu_s = process_time() - began
    verify(changed)
    assert len(changed.operators) < len(model.operators)
    # A shared test machine gets some slack over the two seconds it takes at worst.
    assert cpu_s < 8
