"""The memory map as a stand-alone SVG picture: address over steps, light and dark."""

from html import escape

from stowplan.report.data import Block, Report
from stowplan.report.quantities import human_bytes, model_title, percent

WIDTH, HEIGHT = 1000, 400
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 44, 34
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
LABEL_MIN_WIDTH, LABEL_MIN_HEIGHT = 74, 15
CHARACTER_WIDTH = 6.4
TICKS = 6

_STYLE = """
  svg { --page: #ffffff; --ink: #14181f; --soft: #5b6675; --grid: #e4e8ee; }
  .input { fill: #0e9f9a } .weight { fill: #d98e04 } .output { fill: #c2417f }
  .state { fill: #7a5af0 } .activation { fill: #3b74d8 } .workspace { fill: #8b95a3 }
  .reload { fill: #d9482b }
  @media (prefers-color-scheme: dark) {
    svg { --page: #0f1319; --ink: #e8ecf2; --soft: #97a3b4; --grid: #29313c; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--soft) }
  .title { font-size: 14px; font-weight: 600; fill: var(--ink) }
  .name { fill: #ffffff; font-size: 11px }
  .grid { stroke: var(--grid) } .limit { stroke: #d92d20; stroke-width: 1.5 }
  rect.block { stroke: var(--page); stroke-width: .8 } rect.reserved { fill-opacity: .45 }
"""


def render_svg(report: Report) -> str:
    """Memory map of ``report``; each block carries its name as a tooltip."""
    summary = report.summary
    steps = max(1, len(report.operators))
    peak = max(1, summary.peak_bytes or 0)
    top = max(peak, min(summary.capacity_bytes, round(peak * 1.06)))
    title = (
        f"{model_title(summary.model)} on {summary.target}: peak {human_bytes(peak)}, "
        f"{percent(peak / summary.capacity_bytes)} of {human_bytes(summary.capacity_bytes)}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--page)"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *_axes(steps, top),
        *(_block(block, steps, top) for block in report.blocks),
    ]
    if summary.capacity_bytes <= top:
        y = _y(summary.capacity_bytes, top)
        parts.append(f'<path class="limit" d="M{LEFT} {y:.1f}h{PLOT_WIDTH}"/>')
    return "\n".join([*parts, "</svg>\n"])


def _x(step: int, steps: int) -> float:
    return LEFT + step / steps * PLOT_WIDTH


def _y(address: int, top: int) -> float:
    return TOP + PLOT_HEIGHT - address / top * PLOT_HEIGHT


def _axes(steps: int, top: int) -> list[str]:
    interval = 1
    while top / interval > TICKS:
        interval *= 2
    parts = []
    for address in range(0, top + 1, interval):
        y = _y(address, top)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}h{PLOT_WIDTH}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{human_bytes(address)}</text>'
        )
    stride = max(1, -(-steps // 10))
    for step in range(0, steps + 1, stride):
        x = _x(step, steps)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{LEFT - 8}" y="{HEIGHT - 14}" text-anchor="end">step</text>')
    return parts


def _block(block: Block, steps: int, top: int) -> str:
    x0, x1 = _x(block.reserved_from, steps), _x(block.end, steps)
    y, height = (
        _y(block.address + block.size_bytes, top),
        block.size_bytes / top * PLOT_HEIGHT,
    )
    hint = escape(
        f"{block.storage}: {block.size_bytes:,} bytes at {block.address:,}, "
        f"steps {block.start} to {block.end}"
    )
    valid = _x(block.start, steps)
    parts = []
    if valid > x0:
        parts.append(_rectangle(f"{block.category} reserved", x0, y, valid - x0, height))
    parts.append(_rectangle(block.category, valid, y, x1 - valid, height))
    if x1 - valid >= LABEL_MIN_WIDTH and height >= LABEL_MIN_HEIGHT:
        room = int((x1 - valid - 10) / CHARACTER_WIDTH)
        parts.append(
            f'<text class="name" x="{valid + 5:.1f}" y="{y + height / 2 + 4:.1f}">'
            f"{escape(_short(block.storage, room))}</text>"
        )
    return f"<g><title>{hint}</title>{''.join(parts)}</g>"


def _rectangle(css: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="block {css}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{max(width, 0.5):.1f}" height="{max(height, 0.5):.1f}"/>'
    )


def _short(name: str, room: int) -> str:
    return name if len(name) <= room else name[: max(1, room - 1)] + "…"
