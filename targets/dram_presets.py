"""DRAM devices and their controllers: the settings of the cycle-accurate memory model.

A preset is a TOML file under ``data/dram``; a user's own file of the same form is read by path.
Every timing is in clocks of the command clock (``clock_hz``), named after the parameter of the
JEDEC standards without its leading ``t``.
"""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from stowplan.errors import TargetError
from stowplan.targets.target import NonNegative, Positive, PositiveFloat, Section

DEFAULT_DRAM = "ddr4-2400"
_DATA = Path(__file__).parent / "data" / "dram"
Milliamperes = Annotated[float, Meta(ge=0)]


class DramOrganisation(Section, frozen=True, kw_only=True):
    """What is addressed; every count is a power of two.

    Attributes:
        channels: independent channels, each with its own command and data bus.
        ranks: ranks per channel.
        bank_groups: bank groups per rank; 1 where the standard has none.
        banks_per_group: banks per bank group.
        rows: rows per bank.
        columns: columns per row, each as wide as the bus.
        bus_bits: data bus of one channel.
        burst_length: beats per access.
        devices: devices per rank (they share commands; energy counts each).
    """

    channels: Positive = 1
    ranks: Positive = 1
    bank_groups: Positive
    banks_per_group: Positive
    rows: Positive
    columns: Positive
    bus_bits: Positive
    burst_length: Positive
    devices: Positive = 1

    @property
    def access_bytes(self) -> int:
        """Bytes one read or write command moves."""
        return self.bus_bits * self.burst_length // 8

    @property
    def banks(self) -> int:
        """Banks per channel, all ranks together."""
        return self.ranks * self.bank_groups * self.banks_per_group

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all channels."""
        return self.channels * self.banks * self.rows * self.columns * self.bus_bits // 8


class DramTiming(Section, frozen=True, kw_only=True):
    """Timing in clocks.

    Attributes:
        cl: read command to first data.
        cwl: write command to first data.
        burst: clocks the data bus is busy per access.
        rcd: activate to read or write.
        rp: precharge to activate.
        ras: activate to precharge.
        rc: activate to activate, same bank.
        ccd_s: column command to column command, other bank group.
        ccd_l: the same, same bank group.
        rrd_s: activate to activate, other bank group.
        rrd_l: the same, same bank group.
        faw: window that holds at most four activates of a rank.
        wr: end of write data to precharge.
        rtp: read to precharge.
        wtr_s: end of write data to read, other bank group.
        wtr_l: the same, same bank group.
        rtrs: idle clocks of the data bus when it turns around or changes rank.
        ppd: precharge to precharge of any bank of the rank.
        refi: average interval of refreshes of a rank.
        rfc: refresh to activate.
    """

    cl: Positive
    cwl: Positive
    burst: Positive
    rcd: Positive
    rp: Positive
    ras: Positive
    rc: Positive
    ccd_s: Positive
    ccd_l: Positive
    rrd_s: Positive
    rrd_l: Positive
    faw: Positive
    wr: Positive
    rtp: Positive
    wtr_s: Positive
    wtr_l: Positive
    rtrs: NonNegative = 1
    ppd: NonNegative = 0
    refi: Positive
    rfc: Positive


class DramController(Section, frozen=True, kw_only=True):
    """How requests are queued and chosen.

    Attributes:
        address_map: fields from the most to the least significant bit, joined by ``-``: ``row``,
            ``channel``, ``rank``, ``bank``, ``bankgroup``, ``column``. A field may be cut in
            pieces with a number of bits each (``row-column-channel-column3``); one piece of every
            field may leave its width out.
        read_queue: reads a channel holds before they go to a bank's queue.
        write_queue: the same for writes.
        bank_queue: requests in the queue of one bank.
        drain_above: writes are drained when the write queue is full, or when it holds more than
            this many and every bank queue is empty.
        row_hit_limit: column accesses after which an open row yields to an older request for
            another row.
    """

    address_map: str = "row-channel-rank-bank-bankgroup-column"
    read_queue: Positive = 32
    write_queue: Positive = 32
    bank_queue: Positive = 8
    drain_above: NonNegative = 8
    row_hit_limit: Positive = 4


class DramRail(Section, frozen=True, kw_only=True):
    """One supply of one device: its voltage and the standard's currents in mA.

    Attributes:
        volts: supply voltage.
        idd0: activate and precharge one bank back to back.
        idd2n: standby, all banks closed.
        idd3n: standby, a bank open.
        idd4r: burst read.
        idd4w: burst write.
        idd5: burst refresh (all banks).
    """

    volts: PositiveFloat
    idd0: Milliamperes
    idd2n: Milliamperes
    idd3n: Milliamperes
    idd4r: Milliamperes
    idd4w: Milliamperes
    idd5: Milliamperes


class DramSpec(Section, frozen=True, kw_only=True):
    """A DRAM with its controller.

    Attributes:
        name: identifier.
        description: one line.
        clock_hz: command clock.
        rails: supplies of one device, for energy by command; empty if unknown.
        sources: table or dotted field -> where the numbers come from.
    """

    name: str
    description: str
    clock_hz: Positive
    organisation: DramOrganisation
    timing: DramTiming
    controller: DramController = DramController()
    rails: tuple[DramRail, ...] = ()
    sources: dict[str, str] = msgspec.field(default_factory=dict)


def list_drams() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.toml")))


def load_dram(name_or_path: str = DEFAULT_DRAM) -> DramSpec:
    """Read a preset by name or a file by path.

    Raises:
        TargetError: no such preset, or a mistake in the file.
    """
    shipped = name_or_path in list_drams()
    path = _DATA / f"{name_or_path}.toml" if shipped else Path(name_or_path)
    if not path.is_file():
        raise TargetError(
            f"no DRAM {name_or_path!r}; presets are {', '.join(list_drams())}, or give the path "
            "of a .toml file"
        )
    try:
        spec = msgspec.convert(tomllib.loads(path.read_text("utf-8")), DramSpec)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"{path}: cannot read the DRAM: {error}") from error
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}: {error}") from error
    check_dram(spec, str(path))
    return spec


def check_dram(spec: DramSpec, where: str) -> None:
    """Refuse counts and timings that contradict each other.

    Raises:
        TargetError: names the field and what would be right.
    """
    organisation, timing = spec.organisation, spec.timing
    for field in organisation.__struct_fields__:
        count = getattr(organisation, field)
        if field != "devices" and count & (count - 1):
            raise TargetError(f"{where}: organisation.{field} is {count}, no power of two")
    if organisation.columns < organisation.burst_length or organisation.access_bytes < 1:
        raise TargetError(f"{where}: a row of {organisation.columns} columns holds no whole burst")
    if timing.rc < timing.ras + timing.rp:
        raise TargetError(f"{where}: timing.rc is below ras + rp = {timing.ras + timing.rp}")
    if timing.refi <= timing.rfc + timing.rc:
        raise TargetError(f"{where}: timing.refi leaves no time between refreshes of {timing.rfc}")
    for short, long in (("ccd_s", "ccd_l"), ("rrd_s", "rrd_l"), ("wtr_s", "wtr_l")):
        if getattr(timing, short) > getattr(timing, long):
            raise TargetError(f"{where}: timing.{short} is above timing.{long}")


def with_channels(name_or_path: str, channels: int) -> DramSpec:
    """A device with another number of channels; 0 keeps its own.

    Raises:
        TargetError: no such device, a mistake in its file, or channels that are no power of two.
    """
    spec = load_dram(name_or_path)
    if not channels:
        return spec
    organisation = msgspec.structs.replace(spec.organisation, channels=channels)
    changed = msgspec.structs.replace(spec, organisation=organisation)
    check_dram(changed, f"dram.channels of {name_or_path}")
    return changed
