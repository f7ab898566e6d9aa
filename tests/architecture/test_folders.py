"""The folders of a package as a picture: few boxes, few arrows, no cycle."""

from graphlib import TopologicalSorter
from pathlib import Path

from tests.architecture.tree import ROOT, imported, packages, shown

from writ_testing.each_case import each_case

EXECUTOR = ROOT / "services/executor/writ_executor"
MOST_BOXES, MOST_ARROWS = 10, 30


def folders() -> list[Path]:
    """Return every folder of a lib or service with parts."""
    inside = (path for package in packages() for path in (package.code, *package.code.rglob("*")) if path.is_dir())
    return [folder for folder in inside if len(parts(folder)) > 1]


def parts(folder: Path) -> list[str]:
    """Return the folders in a folder. Single modules beside them (metrics, configuration) are no parts."""
    return sorted(path.name for path in folder.iterdir() if (path / "__init__.py").exists())


def arrows(folder: Path) -> dict[str, set[str]]:
    """Return the imports of each part, by part."""
    boxes = parts(folder)
    return {box: {other for other in boxes if other != box and _imports(folder, box, other)} for box in boxes}


def _imports(folder: Path, box: str, other: str) -> bool:
    first = next(index for index, name in enumerate(folder.parts) if name.startswith("writ_"))
    name = ".".join((*folder.parts[first:], other))
    found = (one for path in (folder / box).rglob("*.py") for one in imported(path))
    return any(one == name or one.startswith(f"{name}.") for one in found)


@each_case("folder", folders(), ids=shown)
def test_folders_of_a_package_have_no_cycle(folder: Path) -> None:
    assert [*TopologicalSorter(arrows(folder)).static_order()]


def test_folders_of_the_executor_stand_on_the_journal() -> None:
    assert next(iter(TopologicalSorter(arrows(EXECUTOR)).static_order())) == "journal"


def test_folders_of_the_executor_fit_on_one_drawing() -> None:
    found = arrows(EXECUTOR)
    assert 5 <= len(found) <= MOST_BOXES
    assert 10 <= sum(map(len, found.values())) <= MOST_ARROWS
