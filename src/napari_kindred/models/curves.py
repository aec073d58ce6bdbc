"""Learning curves of a training run as one SVG image, drawn from its ``log.csv``."""

from __future__ import annotations

import csv
from html import escape
from pathlib import Path

WIDTH, HEIGHT, GAP, TITLE = 240, 120, 28, 16
"""Size of a panel, the space between panels and the height of a title, in pixels."""

COLUMNS = 3


def read_log(log: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Return the values of a run's log as (step, value) by name, in the order of the log.

    A resumed run logs the steps since its last checkpoint again; the later values count.  A run
    that was too short to log anything has no file.
    """
    values: dict[str, dict[int, float]] = {}
    if not Path(log).exists():
        return {}
    with Path(log).open(newline="", encoding="utf-8") as file:
        for step, _, name, value in csv.reader(file):
            values.setdefault(name, {})[int(step)] = float(value)
    return {name: sorted(of_name.items()) for name, of_name in values.items()}


def draw_curves(log: str | Path) -> str:
    """Return an SVG image with a panel for every value of a run's log.

    Parameters
    ----------
    log : path
        ``log.csv`` with rows of step, minutes, name and value.

    Returns
    -------
    str
        Every panel has its own range, written at its left, and all share the axis of steps.
    """
    curves = {name: points for name, points in read_log(log).items() if len(points) > 1}
    last = max((points[-1][0] for points in curves.values()), default=1)
    rows = -(-len(curves) // COLUMNS)
    width, height = COLUMNS * (WIDTH + 2 * GAP), max(rows, 1) * (HEIGHT + TITLE + GAP)
    panels = [
        _panel(name, points, last, number) for number, (name, points) in enumerate(curves.items())
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
    )
    sheet = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([head, sheet, *panels, "</svg>\n"])


def _panel(name: str, points: list[tuple[int, float]], last: int, number: int) -> str:
    low, high = min(value for _, value in points), max(value for _, value in points)
    left = (number % COLUMNS) * (WIDTH + 2 * GAP) + GAP
    top = (number // COLUMNS) * (HEIGHT + TITLE + GAP) + TITLE
    line = " ".join(
        f"{left + WIDTH * step / last:.1f},"
        f"{top + HEIGHT * (high - value) / ((high - low) or 1):.1f}"
        for step, value in points
    )
    right, bottom = left + WIDTH, top + HEIGHT
    title = f"{escape(name)}: {high:.4g} to {low:.4g}, last {points[-1][1]:.4g}"
    frame = f'x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"'
    lines = [
        f'<text x="{left}" y="{top - 4}">{title}</text>',
        f'<rect {frame} fill="none" stroke="#ccc"/>',
        f'<polyline points="{line}" fill="none" stroke="#1f77b4"/>',
        f'<text x="{right}" y="{bottom + 12}" text-anchor="end">step {last}</text>',
    ]
    return "\n".join(lines)
