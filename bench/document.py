"""docs/performance.md, whose tables are written by what measures them: each between two marks that name it."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"


def marks(name: str) -> tuple[str, str]:
    """Where the tables of this part of `bench` begin and end."""
    return f"<!-- written by bench/{name}: begin -->", f"<!-- written by bench/{name}: end -->"


def filled(text: str, name: str, tables: str) -> str:
    """The document with these tables in their place. Raises ValueError where it has none for them."""
    first, last = marks(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document lacks {first} or {last}")
    return f"{before}{first}\n\n{tables}\n\n{last}{after}"


def fill(name: str, tables: str) -> None:
    """Write them, where the document has a place for them: of some measurements a person says what came of them."""
    text = DOCUMENT.read_text()
    if marks(name)[0] in text:
        DOCUMENT.write_text(filled(text, name, tables))
