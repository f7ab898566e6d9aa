"""The folders of the executor as a picture: few boxes, few arrows, no cycle."""

from graphlib import TopologicalSorter
from pathlib import Path

from tests.architecture.tree import ROOT, imported

EXECUTOR = ROOT / "services/executor/writ_executor"
MOST_BOXES, MOST_ARROWS = 10, 30


def arrows() -> dict[str, set[str]]:
    """The folders that each folder imports. Single modules beside the folders (metrics, configuration) are no boxes."""
    boxes = sorted(path.name for path in EXECUTOR.iterdir() if (path / "__init__.py").exists())
    return {box: {other for other in boxes if other != box and _imports(EXECUTOR / box, other)} for box in boxes}


def _imports(folder: Path, other: str) -> bool:
    return any(name.startswith(f"writ_executor.{other}.") for path in folder.rglob("*.py") for name in imported(path))


def test_folders_of_the_executor_have_no_cycle() -> None:
    order = [*TopologicalSorter(arrows()).static_order()]
    assert order[0] == "journal", "everything stands on the journal"


def test_folders_of_the_executor_fit_on_one_drawing() -> None:
    found = arrows()
    assert 5 <= len(found) <= MOST_BOXES
    assert 10 <= sum(map(len, found.values())) <= MOST_ARROWS
