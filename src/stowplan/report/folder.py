"""The folder a compilation leaves behind."""

from pathlib import Path

from stowplan.ir.files import write_atomic
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.ir.text import print_graph
from stowplan.report.data import Report
from stowplan.report.html import render_html
from stowplan.report.svg import render_svg
from stowplan.report.trace import render_trace


def write_folder(folder: Path, graph: Graph, plan: Plan, report: Report) -> Path:
    """Write plan, graph and every view of ``report``; each file appears complete or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    plan.save(folder / "plan.json")
    write_atomic(folder / "report.json", report.to_json())
    write_atomic(folder / "report.html", render_html(report).encode("utf-8"))
    write_atomic(folder / "memory_map.svg", render_svg(report).encode("utf-8"))
    write_atomic(folder / "trace.json", render_trace(report))
    write_atomic(folder / "graph.txt", print_graph(graph).encode("utf-8"))
    return folder
