"""Rare garbage collection: thresholds change inside only, and cycles are still collected."""

import gc

import pytest

from stowplan.collector import YOUNG_OBJECTS, seldom_collected


def test_thresholds_are_put_back_after_an_error() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="inside"), seldom_collected():
        assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])
        raise ValueError("inside")
    assert gc.get_threshold() == before


def test_contexts_nest() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        with seldom_collected():
            pass
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_threshold() == before


def test_a_collector_switched_off_stays_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with seldom_collected():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


def test_cycles_are_still_collected() -> None:
    with seldom_collected():
        gc.collect()
        collections = gc.get_stats()[0]["collections"]
        kept: list[list[object]] = []
        for _ in range(YOUNG_OBJECTS + 10_000):
            kept.append([])
        assert gc.get_stats()[0]["collections"] > collections
