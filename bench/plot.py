"""docs/scale.png: the gain of more agents, and the cost of more targets and a longer journal.

`python -m bench.plot` reads the results of `python -m bench scale growth`. matplotlib comes with `make bench-peers`.
"""

from pathlib import Path
from typing import Any

from bench.figures import kept
from bench.growth import Grown
from bench.peers.engine import module
from bench.peers.plot import COLOURS, OURS
from bench.scale import DELAY, SLOTS, Scaled

FILE = Path(__file__).parents[1] / "docs/scale.png"


def draw() -> None:
    """Draw the plot. Raises Missing if matplotlib is not installed."""
    module("matplotlib").use("Agg")
    pyplot = module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12.5, 4.6), layout="constrained")
    _agents(left, kept("scale", Scaled))
    _growth(right, kept("growth", Grown))
    figure.savefig(FILE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _agents(axes: Any, found: Scaled) -> None:
    numbers = sorted(found.agents)
    most = [number * SLOTS / DELAY for number in numbers]
    axes.plot(numbers, most, label="what their slots allow", color=COLOURS[2], linestyle="--")
    measured = [found.agents[number].rate for number in numbers]
    axes.plot(numbers, measured, label="measured", color=OURS, marker="o", linewidth=3)
    axes.set(title="Target-bound work", xlabel="agents", ylabel="operations a second", xticks=numbers, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _growth(axes: Any, found: Grown) -> None:
    for (label, samples), colour in zip(
        {"operations on record": found.operations, "targets": found.targets}.items(), (OURS, COLOURS[3]), strict=True
    ):
        numbers = sorted(samples)
        axes.plot(numbers, [samples[one].p50 for one in numbers], label=label, color=colour, marker="o", linewidth=2.4)
    axes.set(title="test_noop, one in flight", xscale="log", xlabel="how many", ylabel="p50, ms", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


if __name__ == "__main__":
    draw()
