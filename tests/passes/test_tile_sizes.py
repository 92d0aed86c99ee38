"""Tile sizes given by the caller: their text, what they cut, and what is wrong with them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stowplan
from stowplan.errors import UsageError
from stowplan.ir.graph import Operator
from stowplan.passes.pipeline import parse_pipeline, print_pipeline
from stowplan.passes.tiling.sizes import FIELDS, SizeRule, parse_rule, parse_rules, print_rules
from stowplan.passes.tiling.tile import Tile

MODEL = "light:squeezenet"
SMALL = ("scratchpad.size=64KiB",)

fields = st.dictionaries(st.sampled_from(FIELDS), st.integers(1, 999), min_size=1, max_size=3)
patterns = st.text("abc/:*?.0_", min_size=1, max_size=8).filter(lambda text: text.strip() == text)
rules = st.builds(lambda name, sizes: SizeRule(name, tuple(sizes.items())), patterns, fields)


def compiled(*sizes: str, tile: str = "auto") -> stowplan.Compiled:
    return stowplan.compile(
        MODEL,
        planner="greedy",
        precision="int8",
        overrides=SMALL,
        tile=tile,
        tile_sizes=sizes,
    )


def tiles(found: stowplan.Compiled, parent: str) -> list[Operator]:
    return [op for op in found.graph.operators if op.parent == parent]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rules, min_size=1, max_size=3))
def test_texts_of_rules_come_back(given_rules: list[SizeRule]) -> None:
    text = print_rules(given_rules)
    assert list(parse_rules(text)) == given_rules
    assert [parse_rule(str(rule)) for rule in given_rules] == given_rules
    one = Tile(capacity=1_024, sizes=text)
    assert parse_pipeline(print_pipeline((one,))) == (one,)


@pytest.fixture(scope="module")
def sized() -> stowplan.Compiled:
    return compiled("n22:rows=5,channels=16", "n62:channels=40,terms=128")


def test_tiles_have_the_sizes_given(sized: stowplan.Compiled) -> None:
    for op in tiles(sized, "n22"):
        _, channels, rows, columns = [upper - lower for lower, upper in op.region or ()]
        assert channels <= 16 and rows <= 5 and columns == 27
    assert len(tiles(sized, "n22")) == 8 * 6
    parts = tiles(sized, "n62")
    assert len(parts) == 25 * 4
    assert {op.attribute("tile_terms") for op in parts} == {
        (lower, lower + 128, 512) for lower in range(0, 512, 128)
    }


def test_a_saved_plan_makes_the_same_tiles_and_is_proved(
    sized: stowplan.Compiled, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    path = sized.save(tmp_path) / "plan.json"
    again = stowplan.reopen(MODEL, stowplan.Plan.load(path))
    assert again.graph.hash == sized.graph.hash
    assert again.prove().passed


def test_what_fits_is_tiled_all_the_same_where_sizes_are_given() -> None:
    found = stowplan.compile(MODEL, planner="greedy", precision="int8", tile_sizes=("n0:rows=37",))
    assert len(tiles(found, "n0")) == 3


def test_a_pattern_cuts_what_can_be_cut_so() -> None:
    found = compiled("n2?:rows=4")
    rows = {op.parent: op.region for op in found.graph.operators if op.parent in ("n22", "n25")}
    assert rows and all(region and region[2][1] - region[2][0] <= 4 for region in rows.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n22", "expected OPERATOR:rows=8"),
        ("n22:", "expected OPERATOR:rows=8"),
        ("n22:height=2", "'height' is no dimension"),
        ("n22:rows=0", "rows=0: a tile has at least one"),
        ("n22:rows=2.5", r"rows=2\.5: a tile has at least one"),
        ("n22:rows=2,rows=3", "rows is given twice"),
        ("n222:rows=2", "no operator is named 'n222'.*n22"),
        ("n65:columns=2", "operator 'n65' .* has no columns that tiles could cut"),
        ("n{22}:rows=2", "write . for each of the signs"),
    ],
)
def test_mistakes_name_the_operator_and_the_field(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compiled(text)


def test_tiles_too_large_for_the_scratchpad_are_named() -> None:
    with pytest.raises(UsageError, match=r"tile 'n0.*' of operator 'n0' needs .* bytes"):
        compiled("n0:rows=111")


def test_sizes_without_tiling_are_refused() -> None:
    with pytest.raises(UsageError, match="tile sizes need tiling"):
        compiled("n22:rows=2", tile="never")
    with pytest.raises(UsageError, match="effort searches tile sizes"):
        stowplan.compile(MODEL, tile_sizes=("n22:rows=2",), effort=1)
