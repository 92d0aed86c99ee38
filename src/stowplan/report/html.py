"""The report as one self-contained HTML page: no network, no other files."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from stowplan.report.data import OperatorRow, Report, Span, Summary
from stowplan.report.quantities import human_bytes, human_time, model_title, percent
from stowplan.report.simulation import simulation_page
from stowplan.report.text import OBJECTIVE_TITLES, execution_line, verdict
from stowplan.version import VERSION

CATEGORIES = ("input", "weight", "activation", "output", "state", "workspace", "reload")


@dataclass(frozen=True, slots=True)
class Pill:
    """A short verdict beside the title; ``tone`` is ``good``, ``warn``, ``bad`` or empty."""

    text: str
    tone: str
    hint: str


@dataclass(frozen=True, slots=True)
class Part:
    """One coloured part of a tile's bar."""

    percent: float
    colour: str
    hint: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure with its label, small print and an optional bar."""

    label: str
    value: str
    notes: tuple[str, ...]
    parts: tuple[Part, ...] = ()


def render_html(report: Report) -> str:
    """The page for ``report``."""
    templates = resources.files("stowplan.report") / "templates"
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((templates / "report.html").read_text("utf-8"))
    return template.render(
        version=VERSION,
        summary=report.summary,
        title=model_title(report.summary.model),
        subtitle=_subtitle(report.summary),
        pills=_pills(report.summary),
        tiles=_tiles(report.summary),
        categories=[c for c in CATEGORIES if any(b.category == c for b in report.blocks)],
        loaded=any(block.loaded for block in report.blocks),
        engines=bool(report.spans),
        simulation=simulation_page(report.simulation) if report.simulation else None,
        groups=report.groups,
        facts=_facts(report),
        data=_embedded(report),
        style=Markup((templates / "report.css").read_text("utf-8")),
        script=Markup((templates / "report.js").read_text("utf-8")),
    )


def _subtitle(summary: Summary) -> str:
    weights = "weights planned in the scratchpad" if summary.track_weights else "weights streamed"
    precision = f", planned at {summary.precision}" if summary.precision else ""
    return f"{summary.operators:,} operators{precision}, {weights}, planner {summary.planner}"


def _pills(summary: Summary) -> list[Pill]:
    pills = [Pill("fits", "good", "every byte has a place within the scratchpad's capacity")]
    if summary.checked:
        pills.append(Pill("checked", "good", "the independent checker found no violation"))
    if summary.proven:
        text = "optimal for this tiling" if summary.tiled else "optimal"
        pills.append(Pill(text, "good", "the proven bound meets the plan's objective"))
    else:
        pills.append(Pill(f"gap {percent(summary.gap or 0)}", "warn", "distance to the bound"))
    if summary.execution is not None:
        tone = "good" if summary.execution.identical else "bad"
        text = "proved by execution" if summary.execution.identical else "proof failed"
        pills.append(Pill(text, tone, execution_line(summary.execution)))
    return pills


def _tiles(summary: Summary) -> list[Tile]:
    tiles = [_peak_tile(summary), _offchip_tile(summary), _objective_tile(summary)]
    if summary.cycles is not None:
        tiles += [_time_tile(summary), _utilisation_tile(summary)]
    return tiles


def _peak_tile(summary: Summary) -> Tile:
    peak = summary.peak_bytes or 0
    share = peak / summary.capacity_bytes
    return Tile(
        "Peak scratchpad",
        human_bytes(peak),
        (f"{percent(share)} of {human_bytes(summary.capacity_bytes)}", f"{peak:,} bytes"),
        (Part(100 * share, "activation", f"{peak:,} bytes in use at the peak"),),
    )


def _offchip_tile(summary: Summary) -> Tile:
    total = max(1, summary.offchip_bytes or 0)
    extra = summary.noncompulsory_bytes or 0
    return Tile(
        "Off-chip traffic",
        human_bytes(summary.offchip_bytes or 0),
        (f"{summary.compulsory_bytes:,} compulsory", f"{extra:,} non-compulsory"),
        (
            Part(100 * summary.compulsory_bytes / total, "input", "compulsory"),
            Part(100 * extra / total, "output", "non-compulsory"),
        ),
    )


def _objective_tile(summary: Summary) -> Tile:
    return Tile(
        "Objective",
        f"{summary.objective:,}",
        (
            OBJECTIVE_TITLES[summary.objective_name],
            f"bound {summary.bound:,}: {verdict(summary)}",
            f"bound from {summary.bound_source}",
        ),
    )


def _time_tile(summary: Summary) -> Tile:
    cycles = summary.cycles or 0
    return Tile(
        "Time",
        human_time(cycles / summary.clock_hz),
        (f"{cycles:,} cycles", f"at {summary.clock_hz / 1e6:,.0f} MHz"),
    )


def _utilisation_tile(summary: Summary) -> Tile:
    share = summary.utilisation or 0.0
    busy = ", ".join(f"{engine} {percent(part)}" for engine, part in summary.busy)
    return Tile(
        "Array utilisation",
        percent(share),
        (f"bound by {summary.bound_by}", f"busy: {busy}"),
        (Part(100 * share, "activation", "multiply-accumulate slots used"),),
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    summary = report.summary
    facts = [
        ("planner", f"{summary.planner}, {summary.method}"),
        ("planning time", human_time(summary.plan_s or 0)),
        ("whole run", human_time(summary.wall_s)),
        ("bound from", summary.bound_source or ""),
    ]
    if summary.execution is not None:
        facts.append(("functional proof", execution_line(summary.execution)))
    if summary.energy_pj is not None:
        facts.append(("energy", f"{summary.energy_pj / 1e6:,.1f} µJ"))
    facts += list(report.origin)
    return facts + [("warning", warning) for warning in summary.warnings]


def _embedded(report: Report) -> Markup:
    """The page's data as JSON that cannot end its script element."""
    names = list(dict.fromkeys(block.storage for block in report.blocks))
    index = {name: i for i, name in enumerate(names)}
    labels = list(dict.fromkeys(span.label for span in report.spans))
    data = {
        "capacity": report.summary.capacity_bytes,
        "peak": report.summary.peak_bytes or 0,
        "cycles": report.summary.cycles or 0,
        "storages": names,
        "categories": CATEGORIES,
        "blocks": [
            (
                *(index[b.storage], b.address, b.size_bytes, b.reserved_from, b.start, b.end),
                *(b.loaded, b.load_cycles, CATEGORIES.index(b.category)),
            )
            for b in report.blocks
        ],
        "operators": [_operator(row) for row in report.operators],
        "labels": labels,
        "causes": [{"engine": engine, "cycles": dict(row)} for engine, row in report.causes],
        "engines": _lanes(report.spans, {label: i for i, label in enumerate(labels)}),
    }
    text = msgspec.json.encode(data).decode("utf-8")
    return Markup(text.replace("<", "\\u003c"))


def _operator(row: OperatorRow) -> dict[str, object]:
    return {
        "step": row.step,
        "name": row.name,
        "kind": row.kind,
        "engine": row.engine,
        "shape": "×".join(map(str, row.output_shape)) or "scalar",
        "macs": row.macs,
        "start": row.start_cycle,
        "end": row.end_cycle,
        "live": row.live_bytes,
        "offchip": row.offchip_bytes,
    }


def _lanes(spans: Sequence[Span], label: dict[str, int]) -> list[dict[str, object]]:
    engines = list(dict.fromkeys(span.engine for span in spans))
    return [
        {
            "name": engine,
            "spans": [
                (s.start_cycle, s.end_cycle, label[s.label], s.step, s.size_bytes)
                for s in spans
                if s.engine == engine
            ],
        }
        for engine in engines
    ]
