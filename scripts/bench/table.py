"""Rows → the table for people, JSON, and a plot."""

import json
from html import escape


def number(value):
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def text_of(rows):
    """A Markdown table, which reads well on a terminal too."""
    lines = ["| what | measured | beside | ratio | goal |", "|---|---|---|---|---|"]
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f"| **{group}** | | | | |")
        beside = f"{row.baseline} {number(row.baseline_value)}" if row.baseline_value else ""
        ratio = f"{row.ratio:.2f}" if row.ratio else ""
        goal = f"{row.goal}: {'yes' if row.met else '**no**'}" if row.goal else ""
        lines.append(f"| {row.name} | {number(row.value)} {row.unit} | {beside} | {ratio} | {goal} |")
    return "\n".join(lines) + "\n"


def json_of(machine, rows):
    return json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1) + "\n"


def svg_of(machine, rows):
    """A bar for each time with a baseline: ours beside it, by their ratio."""
    shown = [row for row in rows if row.ratio and row.unit in ("ms", "ns", "µs")]
    height, left, unit = 22, 470, 90
    longest = max((row.ratio for row in shown), default=1)
    scale = min(unit, 420 / longest)
    parts = [text(8, 18, f"Times as multiples of their baselines, same run — {machine}", "bold")]
    for at, row in enumerate(shown):
        top = 34 + at * height
        fill = "#c44" if row.met is False else "#3a7"
        parts.append(text(8, top + 14, f"{row.group}: {row.name}"[:76]))
        parts.append(f'<rect x="{left}" y="{top + 3}" width="{row.ratio * scale:.1f}" height="14" fill="{fill}"/>')
        label = f"{number(row.value)} {row.unit}, {row.ratio:.2f} × {row.baseline}"
        parts.append(text(left + row.ratio * scale + 6, top + 14, label))
    bottom = 34 + len(shown) * height
    parts.append(f'<line x1="{left + scale:.1f}" y1="28" x2="{left + scale:.1f}" y2="{bottom}" stroke="#888" stroke-dasharray="3"/>')
    size = f'width="1180" height="{bottom + 12}" viewBox="0 0 1180 {bottom + 12}"'
    style = "<style>text{font:12px sans-serif;fill:#222}.bold{font-weight:bold}</style>"
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{background}{"".join(parts)}</svg>\n'


def text(x, y, content, kind=""):
    return f'<text x="{x:.1f}" y="{y}" class="{kind}">{escape(content)}</text>'
