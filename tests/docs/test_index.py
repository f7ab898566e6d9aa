"""The indexes are complete: README.md and docs/README.md list every document, README.md every package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEXES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/README.md")}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
TARGET = re.compile(r"`make ([a-z-]+)|^\$ make ([a-z-]+)", re.MULTILINE)
PACKAGES = [
    str(folder.relative_to(ROOT))
    for top in ("libs", "services")
    for folder in sorted((ROOT / top).iterdir())
    if (folder / f"writ_{folder.name}").is_dir()
]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def linked(index: str) -> set[Path]:
    return {((ROOT / index).parent / link).resolve() for link in LINK.findall(INDEXES[index])}


def documents() -> set[Path]:
    """Return the required entries of an index: each document, and the index of a folder for its pages."""
    pages = {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.yaml"), *ROOT.glob("docs/*/README.md")}
    return {page.resolve() for page in pages | {ROOT / "deploy/README.md", ROOT / "tests/lab/README.md"}}


@pytest.mark.parametrize("index", INDEXES)
def test_index_links_every_document(index: str) -> None:
    missing = documents() - linked(index) - {(ROOT / name).resolve() for name in ("README.md", index)}
    assert {str(path.relative_to(ROOT)) for path in missing} == set()


def test_readme_names_every_package() -> None:
    table = INDEXES["README.md"].split("\n## Packages\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| \[([\w/]+)\]\(\1/README\.md\) \|", table, re.MULTILINE)
    assert sorted(named) == sorted(PACKAGES)


def test_make_targets_that_documents_name_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in GUIDES for pair in TARGET.findall(path.read_text()) for name in pair if name}
    assert named
    assert named - known == set()


@pytest.mark.parametrize(
    "task", ["an operation", "a backend", "a control operation", "a query", "a policy key", "a service", "a metric"]
)
def test_contributing_has_steps_with_file_names(task: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.split(f"\n## Add {task}\n")[1].split("\n## ")[0]
    steps = re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]
    assert len(steps) >= 3
    paths = {ROOT / path for path in re.findall(r"`((?:libs|services|tests|deploy|docs|bench)/[\w./-]+)`", section)}
    assert len(paths) >= 3
    assert all(path.exists() for path in paths)
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    code = "\n".join(file.read_text() for file in files)
    names = re.findall(r"`(_\w+|[A-Z]\w+|test_\w+)`", section)
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
