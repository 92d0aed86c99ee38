"""Reading options, and the pieces the commands share."""

import pytest

from stowplan.cli_options import (
    byte_count,
    complete_planners,
    complete_targets,
    dimensions,
    pairs,
)
from stowplan.cli_output import columns
from stowplan.errors import UsageError


def test_dimensions_are_read_and_later_ones_win() -> None:
    assert dimensions(["batch=1", "seq = 128", "batch=2"]) == {"batch": 2, "seq": 128}
    assert dimensions(None) == {}


@pytest.mark.parametrize("item", ["batch", "=1", "batch=", "batch=0", "batch=-1", "batch=1.5"])
def test_malformed_dimension_is_a_usage_error(item: str) -> None:
    with pytest.raises(UsageError, match="--dim"):
        dimensions([item])


def test_only_the_first_equals_sign_splits() -> None:
    assert pairs("--set", ["a.b=c=d"]) == (("a.b", "c=d"),)


@pytest.mark.parametrize(
    ("text", "count"), [("1048576", 1 << 20), ("256KiB", 256 << 10), ("1.5 MiB", 3 << 19)]
)
def test_sizes_carry_units(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "many", "8 MiX", "-3"])
def test_malformed_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        byte_count(text)


def test_completion_offers_what_exists() -> None:
    assert "edge-npu" in complete_targets("edge")
    assert complete_targets("no-such") == []
    assert "greedy" in complete_planners("gr")


def test_columns_align_and_leave_no_trailing_blanks() -> None:
    assert columns([("a", "long"), ("longer", "b")]) == ["a       long", "longer  b"]
