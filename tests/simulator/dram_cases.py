"""Random DRAM devices and request traces for the tests of the memory model."""

from dataclasses import dataclass

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from stowplan.targets.dram_presets import (
    DramController,
    DramOrganisation,
    DramSpec,
    DramTiming,
    check_dram,
    load_dram,
)

MAPS = (
    "row-channel-rank-bank-bankgroup-column",
    "row-rank-bank-column-bankgroup-channel-column1",
    "channel-row-column-rank-bankgroup-bank",
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests: byte addresses, which of them write, and arrival clocks, all [N]."""

    addresses: NDArray[np.int64]
    writes: NDArray[np.bool_]
    arrivals: NDArray[np.int64]


def trace(addresses: list[int], writes: str = "", arrivals: list[int] | None = None) -> Trace:
    """Requests at these addresses; ``writes`` holds a ``W`` or another letter for each."""
    count = len(addresses)
    return Trace(
        np.array(addresses, dtype=np.int64),
        np.array([letter == "W" for letter in writes.ljust(count)], dtype=np.bool_),
        np.array(arrivals or [0] * count, dtype=np.int64),
    )


def random_trace(seed: int, count: int, span: int, writing: float, gap: int) -> Trace:
    """``count`` requests below ``span`` bytes, ``gap`` clocks apart on average."""
    rng = np.random.default_rng(seed)
    return Trace(
        rng.integers(0, span, count),
        rng.random(count) < writing,
        np.cumsum(rng.integers(0, 2 * gap + 1, count)),
    )


def with_timing(spec: DramSpec, **fields: int) -> DramSpec:
    """``spec`` with other timing parameters."""
    return msgspec.structs.replace(spec, timing=msgspec.structs.replace(spec.timing, **fields))


def with_controller(spec: DramSpec, **fields: int | str) -> DramSpec:
    """``spec`` with another controller."""
    controller = msgspec.structs.replace(spec.controller, **fields)
    return msgspec.structs.replace(spec, controller=controller)


@st.composite
def timings(draw: st.DrawFn) -> DramTiming:
    """Timing parameters in the ranges of real devices, without their usual relations."""

    def clocks(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    burst, ras, rp = clocks(1, 8), clocks(3, 40), clocks(1, 20)
    ccd, rrd, wtr, rfc = clocks(1, 8), clocks(1, 8), clocks(1, 8), clocks(5, 120)
    rc = ras + rp + clocks(0, 4)
    return DramTiming(
        cl=clocks(1, 20),
        cwl=clocks(1, 20),
        burst=burst,
        rcd=clocks(1, 20),
        rp=rp,
        ras=ras,
        rc=rc,
        ccd_s=ccd,
        ccd_l=ccd + clocks(0, 4),
        rrd_s=rrd,
        rrd_l=rrd + clocks(0, 4),
        faw=clocks(1, 60),
        wr=clocks(1, 20),
        rtp=clocks(1, 12),
        wtr_s=wtr,
        wtr_l=wtr + clocks(0, 8),
        rtrs=clocks(0, 3),
        ppd=clocks(0, 4),
        refi=rfc + rc + clocks(150, 900),
        rfc=rfc,
    )


@st.composite
def specs(draw: st.DrawFn) -> DramSpec:
    """Small devices with short queues, so that every limit is reached soon."""

    def power(most: int) -> int:
        return 1 << draw(st.integers(0, most))

    spec = DramSpec(
        name="random",
        description="a random device",
        clock_hz=1_000_000_000,
        organisation=DramOrganisation(
            channels=power(1),
            ranks=power(1),
            bank_groups=power(2),
            banks_per_group=power(2),
            rows=8,
            columns=32,
            bus_bits=32,
            burst_length=8,
        ),
        timing=draw(timings()),
        controller=DramController(
            address_map=draw(st.sampled_from(MAPS)),
            read_queue=draw(st.integers(1, 8)),
            write_queue=draw(st.integers(1, 8)),
            bank_queue=draw(st.integers(1, 4)),
            drain_above=draw(st.integers(0, 6)),
            row_hit_limit=draw(st.integers(1, 4)),
        ),
    )
    check_dram(spec, "random")
    return spec


@st.composite
def traces(draw: st.DrawFn, most: int = 90) -> Trace:
    """Requests from all over the device down to a few rows and blocks."""
    return random_trace(
        draw(st.integers(0, 1 << 30)),
        draw(st.integers(0, most)),
        draw(st.sampled_from((256, 4096, 1 << 16))),
        draw(st.sampled_from((0.0, 0.3, 0.7, 1.0))),
        draw(st.sampled_from((0, 1, 4, 30))),
    )


DDR4 = load_dram("ddr4-2400")
