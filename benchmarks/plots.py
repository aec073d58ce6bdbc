"""Plots of measured numbers, as small SVG files that come out the same from the same numbers.

A benchmark that has a plot draws it with :func:`keep_plot` when it has run; ``tables.py`` renews
tables only.  Needs matplotlib: ``pip install -e ".[benchmarks]"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

IMAGES = Path(__file__).parents[1] / "docs" / "images"

STYLE: dict[str, Any] = {
    # Names of parts are hashed with this; it is random otherwise.
    "svg.hashsalt": "napari-kindred",
    # Text stays text: smaller, sharper, and can be searched.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    # A page may be dark, and a plot without a background is not readable on all of them.
    "figure.facecolor": "white",
    "axes.axisbelow": True,
}

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f", "#e69f00")
"""Okabe and Ito's, which colour-blind readers tell apart too; ours comes first."""

MARKERS = "os^Dvx"


def new_figure(panels: int, width: float = 3.6, height: float = 3.0) -> tuple[Figure, list[Any]]:
    """Return a figure with panels next to each other, and these."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width * panels, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def lines(
    axes: Any,
    places: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    xlabel: str,
    ylabel: str,
) -> None:
    """Draw lines over places, both on logarithmic axes, with a tick at every place."""
    for number, (label, values) in enumerate(series.items()):
        there = [(x, y) for x, y in zip(places, values, strict=True) if y is not None]
        axes.plot(
            [x for x, _ in there],
            [y for _, y in there],
            color=COLOURS[number],
            marker=MARKERS[number],
            markersize=5,
            label=label,
        )
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    plain(axes.yaxis)


def bars(axes: Any, values: Mapping[str, float], title: str, xlabel: str) -> None:
    """Draw horizontal bars from zero, each with its number; those of ours in its colour."""
    names = list(values)
    colours = [COLOURS[0] if name.startswith("ours") else COLOURS[1] for name in names]
    axes.barh(names, list(values.values()), color=colours, height=0.65)
    for place, value in enumerate(values.values()):
        axes.annotate(f" {value:.3g}", (value, place), va="center")
    axes.set(xlabel=xlabel, title=title)
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def plain(axis: Any) -> None:
    """Write a logarithmic axis in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Any) -> None:
    """Put one legend below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def keep_plot(name: str, figure: Figure, out: Path | None = None) -> Path:
    """Write a figure into the pages' images; next to ``out``, when numbers go there instead."""
    from matplotlib import rc_context

    path = IMAGES / f"{name}.svg" if out is None else out.with_suffix(".svg")
    with rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    # Editors and git would otherwise find blanks at ends of lines.
    text = path.read_text("utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", "utf-8")
    print(f"Plot: {path}")
    return path


def shown(name: str, alternative: str) -> str:
    """Return what shows a kept plot in a page of docs, to be put below the table."""
    return f"![{alternative}](images/{name}.svg)"
