"""docs/policy-peers.png: p50 of a decision over the number of rules, both on logarithmic scales."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.engine import module
from bench.peers.figures import Figures, Row

FILE = Path(__file__).parents[2] / "docs/policy-peers.png"
OURS = "#0072b2"
COLOURS = ("#009e73", "#56b4e9", "#7f7f7f", "#d55e00", "#cc79a7", "#8c564b")
"""Colours that colour-blind readers can distinguish, too."""
MARKS = "s^Dvp*"


def draw(figures: Figures) -> None:
    """Draw the plot. Raises Missing."""
    module("matplotlib").use("Agg")
    pyplot = module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12.5, 5.2), width_ratios=(1.25, 1), layout="constrained")
    _panel(left, figures.in_process, "In process", "Writ")
    _panel(right, figures.over_wire, "As a service, one request at a time", "Writ over NATS")
    figure.suptitle("One decision, p50: lower is better", fontsize=13)
    figure.savefig(FILE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _panel(axes: Any, rows: Sequence[Row], title: str, ours: str) -> None:
    others = [engine for engine in dict.fromkeys(row.engine for row in rows) if engine != ours]
    for engine in (ours, *others):
        mine = [row for row in rows if row.engine == engine]
        place = others.index(engine) if engine != ours else 0
        looks = {"color": COLOURS[place], "marker": MARKS[place], "linewidth": 1.6}
        if engine == ours:
            looks = {"color": OURS, "marker": "o", "linewidth": 3.2, "zorder": 3}
        axes.plot([row.rules for row in mine], [row.p50 for row in mine], label=engine, **looks)
    axes.set(xscale="log", yscale="log", title=title, xlabel="rules", ylabel="p50, µs")
    sizes = sorted({row.rules for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.yaxis.set_major_locator(module("matplotlib.ticker").LogLocator(subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    if rows:
        axes.set_ylim(min(row.p50 for row in rows) / 2, max(row.p50 for row in rows) * 2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, frameon=False)
