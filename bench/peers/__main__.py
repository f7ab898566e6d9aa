"""`python -m bench.peers [report]`: measure, store the figures, write table and plot; `report`: only write table and
plot again.
"""

import os
import platform
import sys
from importlib import metadata

import uvloop

from bench.peers import by_cerbos, figures, in_process, over_wire, plot, report
from bench.peers.engine import FOLDER, Missing

SIZES = (10, 100, 1_000, 10_000)
PEERS = ("cedarpy", "gordon-to-regorus", "casbin", "cerbos")


def main() -> None:
    """Run the measurement. The machine should have nothing else to do."""
    if sys.argv[1:] == ["report"]:
        found = figures.saved()
    else:
        found = run(SIZES)
        figures.save(found)
    report.write(found)
    try:
        plot.draw(found)
    except Missing as error:
        print(f"no plot: {error}")
    print(report.tables(found))


def run(sizes: tuple[int, ...]) -> figures.Figures:
    """Measure all engines at these numbers of rules."""
    in_rows: list[figures.Row] = []
    wire_rows: list[figures.Row] = []
    gaps: dict[figures.Gap, None] = {}
    for size in sizes:
        for into, measured in ((in_rows, in_process.measure(size)), (wire_rows, uvloop.run(over_wire.measure(size)))):
            into += measured[0]
            gaps |= dict.fromkeys(measured[1])
    return figures.Figures(
        python=platform.python_version(),
        cores=os.cpu_count() or 0,
        answers={**{engine.name: engine.answer for engine in in_process.ENGINES}, **over_wire.ANSWERS},
        versions=_versions(),
        in_process=in_rows,
        over_wire=wire_rows,
        gaps=list(gaps),
    )


def _versions() -> dict[str, str]:
    every = metadata.distributions(path=[str(FOLDER / "python")])
    found = {one.metadata["Name"].lower(): one.version for one in every}
    versions = {name: found[name] for name in PEERS if name in found}
    return versions | ({"Cerbos": by_cerbos.version()} if by_cerbos.BINARY.exists() else {})


if __name__ == "__main__":
    main()
