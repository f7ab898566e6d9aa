"""Write the tables of docs/performance.md, each between two marks that name its measurement."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"


def marks(name: str) -> tuple[str, str]:
    """Return the marks before and after the tables of this measurement."""
    return f"<!-- written by bench/{name}: begin -->", f"<!-- written by bench/{name}: end -->"


def filled(text: str, name: str, tables: str) -> str:
    """Return the document with these tables in their place. Raises ValueError if it has no place for them."""
    first, last = marks(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document lacks {first} or {last}")
    return f"{before}{first}\n\n{tables}\n\n{last}{after}"


def fill(name: str, tables: str) -> None:
    """Write the tables if the document has a place for them. The results of other measurements are written by hand."""
    text = DOCUMENT.read_text()
    if marks(name)[0] in text:
        DOCUMENT.write_text(filled(text, name, tables))
