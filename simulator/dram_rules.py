"""Least distances between commands, in clocks, derived from a device's timing parameters.

Source: the command-to-command tables of JEDEC JESD79-4 (DDR4), JESD209-4/-5 and JESD235A; bus
turnaround as the data bus needs it: a read's data ends ``cl + burst`` after its command, a write's
``cwl + burst``.
"""

from stowplan.simulator.dram_kernels import Rules
from stowplan.targets.dram_presets import DramSpec


def rules_of(spec: DramSpec) -> Rules:
    """Numbers the kernel and the clock-by-clock reference work with."""
    timing, controller, organisation = spec.timing, spec.controller, spec.organisation
    read_end = timing.cl + timing.burst
    write_end = timing.cwl + timing.burst
    return Rules(
        ranks=organisation.ranks,
        groups=organisation.ranks * organisation.bank_groups,
        banks=organisation.banks,
        read_queue=controller.read_queue,
        write_queue=controller.write_queue,
        bank_queue=controller.bank_queue,
        drain_above=controller.drain_above,
        row_hit_limit=controller.row_hit_limit,
        read_latency=read_end,
        write_latency=write_end,
        act_column=timing.rcd,
        act_pre=timing.ras,
        act_act=timing.rc,
        act_act_group=timing.rrd_l,
        act_act_rank=timing.rrd_s,
        act_window=timing.faw,
        pre_act=timing.rp,
        pre_pre=timing.ppd,
        read_read_group=max(timing.burst, timing.ccd_l),
        read_read_rank=max(timing.burst, timing.ccd_s),
        read_read_other=timing.burst + timing.rtrs,
        read_write=read_end - timing.cwl + timing.rtrs,
        read_pre=timing.rtp,
        write_read_group=write_end + max(timing.wtr_l, timing.rtrs - timing.cl),
        write_read_rank=write_end + max(timing.wtr_s, timing.rtrs - timing.cl),
        write_read_other=write_end - timing.cl + timing.rtrs,
        write_write_group=max(timing.burst, timing.ccd_l),
        write_write_rank=max(timing.burst, timing.ccd_s),
        write_write_other=timing.burst + timing.rtrs,
        write_pre=write_end + timing.wr,
        ref_act=timing.rfc,
        ref_ref=timing.rfc,
        ref_interval=timing.refi // organisation.ranks,
    )
