"""The summary a person reads in the terminal: at most fifteen lines."""

from stowplan.report.data import Execution, Summary
from stowplan.report.quantities import human_bytes, human_time, percent

OBJECTIVE_TITLES = {
    "offchip": "non-compulsory bytes",
    "peak": "peak bytes",
    "cycles": "cycles",
    "energy": "pJ",
}
OPERANDS_SHOWN = 4
GROUPS_SHOWN = 2


def summary_lines(summary: Summary, verbose: bool = False) -> tuple[str, ...]:
    """One compilation in at most fifteen lines; with ``verbose`` every group of fused layers."""
    head = f"{summary.model} on {summary.target}: {summary.operators:,} operators"
    body = _plan_lines(summary, verbose) if summary.status == "ok" else _misfit_lines(summary)
    return (head, *body)


def _plan_lines(summary: Summary, verbose: bool) -> tuple[str, ...]:
    peak, offchip = summary.peak_bytes or 0, summary.offchip_bytes or 0
    lines = [
        f"fits         yes: peak {peak:,} of {summary.capacity_bytes:,} bytes "
        f"({percent(peak / summary.capacity_bytes)})",
        f"off-chip     {offchip:,} bytes ({human_bytes(offchip)})",
        f"  compulsory     {summary.compulsory_bytes:,}",
        f"  non-compulsory {summary.noncompulsory_bytes:,}",
        f"objective    {objective_line(summary)}",
        f"planner      {summary.planner} ({summary.method}) in {human_time(summary.plan_s or 0)}; "
        f"checked: {'yes' if summary.checked else 'no'}",
    ]
    if summary.cycles is not None:
        lines += _time_lines(summary)
    lines += _fusion_lines(summary, len(summary.fusion) if verbose else GROUPS_SHOWN)
    if summary.execution is not None:
        lines.append(f"proof        {execution_line(summary.execution)}")
    return tuple(lines)


def objective_line(summary: Summary) -> str:
    """Objective, bound and gap in one line."""
    title = OBJECTIVE_TITLES[summary.objective_name]
    if summary.proven:
        return f"{summary.objective:,} {title}, {verdict(summary)} ({summary.bound_source})"
    return (
        f"{summary.objective:,} {title}, bound {summary.bound:,} ({summary.bound_source}), "
        f"{verdict(summary)}"
    )


def verdict(summary: Summary) -> str:
    """Optimal or by how much perhaps not; of a tiled graph among the plans of its tiling only."""
    found = "proven optimal" if summary.proven else f"gap {percent(summary.gap or 0)}"
    return f"{found} for this tiling" if summary.tiled else found


def execution_line(execution: Execution) -> str:
    """Outcome of the functional proof in one line."""
    verdict = "bit-identical to" if execution.identical else "DIFFERENT from"
    plural = "" if execution.outputs == 1 else "s"
    return (
        f"{execution.operators:,} operators executed in the scratchpad, {execution.outputs} "
        f"output{plural} {verdict} ONNX Runtime's"
    )


def _time_lines(summary: Summary) -> list[str]:
    cycles = summary.cycles or 0
    busy = ", ".join(f"{engine} {percent(share)}" for engine, share in summary.busy)
    return [
        f"time         {cycles:,} cycles, {human_time(cycles / summary.clock_hz)} at "
        f"{summary.clock_hz / 1e6:,.0f} MHz",
        f"utilisation  {percent(summary.utilisation or 0)} of the array's multiply-accumulates",
        f"bound by     {summary.bound_by} (busy: {busy})",
    ]


def _fusion_lines(summary: Summary, most: int) -> list[str]:
    """The first groups of layers that run depth-first."""
    shown = summary.fusion[:most]
    lines = [f"{'' if i else 'fusion':12} {group}" for i, group in enumerate(shown)]
    if len(summary.fusion) > most:
        rest = len(summary.fusion) - most
        lines[-1] += f"; {rest} more group{'' if rest == 1 else 's'} (--verbose)"
    return lines


def _misfit_lines(summary: Summary) -> tuple[str, ...]:
    misfit = summary.misfit
    if misfit is None:
        return ("fits         no",)
    over = misfit.needed_bytes - misfit.capacity_bytes
    enough = "smallest scratchpad" if misfit.smallest_is_exact else "a scratchpad"
    operands = [f"  {size:>12,}  {name}" for name, size in misfit.operands[:OPERANDS_SHOWN]]
    if len(misfit.operands) > OPERANDS_SHOWN:
        operands.append(f"  and {len(misfit.operands) - OPERANDS_SHOWN} more")
    return (
        f"fits         no: operator {misfit.operator} needs {misfit.needed_bytes:,} bytes at once,",
        f"             {over:,} more than the scratchpad's {misfit.capacity_bytes:,}",
        *operands,
        f"{enough} that would do: {misfit.smallest_capacity_bytes:,} bytes",
        f"  --set scratchpad.size={misfit.smallest_capacity_bytes}",
    )
