"""The time line of the dashboard's parts, as an SVG."""

from __future__ import annotations

from .dashboard import Dashboard
from .texts import seconds as in_words

WIDTH, LEFT, RIGHT = 880, 176, 24
TOP, LANE, BAR = 92, 25, 15
#: Steps of the axis, in seconds: the first one that gives no more than nine marks is used.
STEPS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60)
#: Characters that a label beside a bar may take, as a share of the plot's width.
LABEL = 0.1

STYLE = """
.paper { fill: #ffffff; } .text { fill: #1f2328; } .soft { fill: #59636e; }
.waiting { fill: #e3e6ea; } .there { fill: #2a78d6; } .line { stroke: #d1d9e0; }
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
.title { font-size: 17px; font-weight: 600; } .on { fill: #ffffff; font-size: 12px; }
.beside { font-size: 12px; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117; } .text { fill: #f0f6fc; } .soft { fill: #9198a1; }
  .waiting { fill: #2a313c; } .there { fill: #4b92e8; } .line { stroke: #3d444d; }
  .on { fill: #0d1117; }
}
"""


def draw(found: Dashboard, kind: str) -> str:
    """The picture: a lane for the blocking response, and one for each part of the walk.

    A lane is grey while a visitor waits, and coloured from when the data is there.
    """
    blocking, walk = found.blocking[0], found.walk
    title = "When the dashboard's data is there"
    subtitle = (
        f"One response after {in_words(blocking.total)}, or the same data in a walk of "
        f"{len(walk.chunks)} requests. {kind}, {found.orders:,} orders."
    )
    end = max(blocking.total, walk.total) * 1.06
    scale = (WIDTH - LEFT - RIGHT) / end
    lanes = [("one blocking response", blocking.total), *walk.parts.items()]
    bottom = TOP + LANE * len(lanes) + 10
    height = bottom + 44
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'<title id="title">{title} {subtitle}</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="text title" x="{RIGHT}" y="32">{title}</text>',
        f'<text class="soft" x="{RIGHT}" y="54">{subtitle}</text>',
        *_legend(),
        *_axis(end, scale, bottom),
    ]
    for number, (name, seconds) in enumerate(lanes):
        # The blocking lane stands apart.
        pieces += _lane(name, seconds, TOP + LANE * number + (6 if number else 0), scale, end)
    return "\n".join([*pieces, "</svg>"]) + "\n"


def _legend() -> list[str]:
    x, y = LEFT, 70
    return [
        f'<rect class="waiting" x="{x}" y="{y}" width="{BAR}" height="{BAR}" rx="2"/>',
        f'<text class="soft" x="{x + 18}" y="{y + 11}">waiting</text>',
        f'<rect class="there" x="{x + 88}" y="{y}" width="{BAR}" height="{BAR}" rx="2"/>',
        f'<text class="soft" x="{x + 106}" y="{y + 11}">the data is there</text>',
    ]


def _lane(name: str, seconds: float, y: float, scale: float, end: float) -> list[str]:
    start, stop = LEFT + seconds * scale, LEFT + end * scale
    top = y + (LANE - BAR) / 2
    text = y + LANE / 2 + 4.5
    label = in_words(seconds)
    pieces = [
        f'<text class="text" x="{LEFT - 12}" y="{text:.1f}" text-anchor="end">{name}</text>',
        f'<rect class="waiting" x="{LEFT}" y="{top:.1f}" width="{start - LEFT:.1f}" '
        f'height="{BAR}" rx="2"/>',
        f'<rect class="there" x="{start:.1f}" y="{top:.1f}" width="{stop - start:.1f}" '
        f'height="{BAR}" rx="2"/>',
    ]
    if seconds > end * LABEL:  # There is room for it where it is grey.
        pieces.append(
            f'<text class="text beside" x="{start - 6:.1f}" y="{text - 0.5:.1f}" '
            f'text-anchor="end">{label}</text>'
        )
    else:
        pieces.append(f'<text class="on" x="{start + 6:.1f}" y="{text - 0.5:.1f}">{label}</text>')
    return pieces


def _axis(end: float, scale: float, bottom: float) -> list[str]:
    step = next((step for step in STEPS if end / step <= 9), STEPS[-1])
    pieces = []
    for number in range(int(end / step) + 1):
        x = LEFT + number * step * scale
        pieces += [
            f'<line class="line" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>',
            f'<text class="soft" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{number * step:g} s</text>",
        ]
    return pieces
