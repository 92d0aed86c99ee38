"""DRAM presets and address maps."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from tests.simulator.dram_cases import DDR4, MAPS, specs, with_controller, with_timing

from stowplan.errors import TargetError
from stowplan.simulator import dram_kernels as kernels
from stowplan.simulator.dram import pieces_of
from stowplan.simulator.dram_address import FIELDS, address_map
from stowplan.targets import dram_presets
from stowplan.targets.dram_presets import DramSpec, check_dram, list_drams, load_dram

PEAK_GBPS = {"ddr4-2400": 19.2, "hbm2": 256.0, "lpddr4-3200": 12.8, "lpddr5-6400": 51.2}


def test_the_presets_are_those_the_documentation_names() -> None:
    assert list_drams() == tuple(sorted(PEAK_GBPS))


@pytest.mark.parametrize("name", list_drams())
def test_presets_have_their_bandwidth_currents_and_sources(name: str) -> None:
    spec = load_dram(name)
    organisation = spec.organisation
    seconds = spec.timing.burst / spec.clock_hz
    peak = organisation.access_bytes * organisation.channels / seconds / 1e9
    assert peak == pytest.approx(PEAK_GBPS[name])
    assert spec.rails
    assert {"organisation", "timing", "rails"} <= set(spec.sources)
    # A refresh interval of 7.8 or 3.9 microseconds, less rounding.
    assert spec.timing.refi / spec.clock_hz == pytest.approx(7.8e-6, rel=0.01) or (
        spec.timing.refi / spec.clock_hz == pytest.approx(3.9e-6, rel=0.01)
    )


@settings(max_examples=60, deadline=None)
@given(specs())
def test_address_maps_reach_every_place_once(spec: DramSpec) -> None:
    mapped = address_map(spec)
    blocks = np.arange(mapped.blocks)
    fields = mapped.decode(blocks * mapped.access_bytes)
    assert mapped.blocks * mapped.access_bytes == spec.organisation.capacity_bytes
    assert len(set(zip(*(field.tolist() for field in fields), strict=True))) == mapped.blocks
    place = dict(zip(FIELDS, fields, strict=True))
    organisation = spec.organisation
    group = place["rank"] * organisation.bank_groups + place["bankgroup"]
    bank = group * organisation.banks_per_group + place["bank"]
    pieces = pieces_of(spec)
    for block in range(0, 2 * mapped.blocks, 37):
        own = block % mapped.blocks
        found = kernels.decode(
            pieces, organisation.bank_groups, organisation.banks_per_group, block
        )
        assert found == (place["channel"][own], own, bank[own], place["row"][own])


@pytest.mark.parametrize("text", MAPS)
def test_maps_with_pieces_fit_real_devices(text: str) -> None:
    assert address_map(with_controller(load_dram("hbm2"), address_map=text)).blocks == 1 << 26


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("row-bank-column", "bits of bankgroup"),
        ("row-channel-rank-bank-bankgroup-column-column", "bits of column"),
        ("row-channel-rank-bank-bankgroup-column9-column", "bits of column"),
        ("row-lane-column", "expected fields"),
        ("", "expected fields"),
    ],
)
def test_wrong_maps_are_refused(text: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        address_map(with_controller(DDR4, address_map=text))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [("rc", 20, "rc is below"), ("refi", 430, "refi leaves"), ("ccd_s", 9, "ccd_s is above")],
)
def test_contradicting_timings_are_refused(field: str, value: int, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        check_dram(with_timing(DDR4, **{field: value}), "here")


@pytest.mark.parametrize(
    ("field", "value", "says"), [("ranks", 3, "power of two"), ("columns", 4, "whole burst")]
)
def test_impossible_organisations_are_refused(field: str, value: int, says: str) -> None:
    organisation = msgspec.structs.replace(DDR4.organisation, **{field: value})
    with pytest.raises(TargetError, match=says):
        check_dram(msgspec.structs.replace(DDR4, organisation=organisation), "here")


def test_files_are_read_by_path_and_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (Path(dram_presets.__file__).parent / "data/dram/ddr4-2400.toml").read_text("utf-8")
    path.write_text(text, "utf-8")
    assert load_dram(str(path)) == DDR4
    path.write_text(text.replace("rcd = 16", "rcd = 0"), "utf-8")
    with pytest.raises(TargetError, match="rcd"):
        load_dram(str(path))
    path.write_text(text.replace("rcd = 16", "trcd = 16"), "utf-8")
    with pytest.raises(TargetError, match="trcd"):
        load_dram(str(path))
    path.write_text("name = ", "utf-8")
    with pytest.raises(TargetError, match="cannot read"):
        load_dram(str(path))
    with pytest.raises(TargetError, match="no DRAM 'ddr9'; presets are ddr4-2400"):
        load_dram("ddr9")
