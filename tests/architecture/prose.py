"""Measure the prose of docstrings and documents: `python -m tests.architecture.prose`.

The script prints the figures and fails only above twice a bar. The figures are a hint. The aim is that someone new
understands each sentence at the first reading.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles

from tests.architecture.tree import parsed

ROOT = Path(__file__).parents[2]
CODE = (("libs", "services"), ("tests", "bench"))
"""Folders that are measured together: tests have the same bars as the product."""
GENERATED = {"docs/codes.md", "docs/configuration.md", "docs/metrics.md", "docs/policy-keys.md"}
PATTERNS = ("*.md", "docs/**/*.md", "deploy/*.md", "libs/*/README.md", "services/*/README.md", "tests/lab/*.md")
OPENINGS = ("what", "who", "whether", "how", "where", "whatever")
FILLERS = ("what", "who", "that")
LONGEST_LINE = 150
SHORT = 3
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
WORD = re.compile(r"[A-Za-z][\w'’-]*")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
NOT_PROSE = re.compile(r"^(?:#|\||<!--| {4}|\t).*$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
ITEM = re.compile(r"^ *(?:[-*]|\d+\.) ", re.MULTILINE)
END = re.compile(r"(?<=[.!?])[*)]*\s+(?=[*`(\"\[A-Z…])|\n\s*\n")


@dataclass(frozen=True)
class DocstringFigures:
    """The figures of docstrings with a bar; less is better in each."""

    question_openings: float
    """Docstrings that begin with What, Who, Whether, How, Where or Whatever, in percent."""
    fillers: float
    """The words what, who and that, per 1,000 words."""


@dataclass(frozen=True)
class DocumentFigures:
    """The figures of documents with a bar; less is better in each."""

    sentence_median: float
    """Words in a sentence."""
    sentence_p90: float
    long_lines: float
    """Lines of prose over 150 characters; tables and code do not count."""


DOCSTRING_BARS = DocstringFigures(question_openings=2, fillers=15)
DOCUMENT_BARS = DocumentFigures(sentence_median=20, sentence_p90=30, long_lines=0)


def definitions(tops: tuple[str, ...]) -> Iterator[Definition]:
    """Yield every module, class and function in these folders."""
    for top in tops:
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(parsed(path)):
                if isinstance(node, Definition):
                    yield node


@cache
def docstrings(tops: tuple[str, ...]) -> list[list[str]]:
    """Return the words of each definition's docstring, in lower case; without a docstring the list is empty."""
    texts = (ast.get_docstring(node) or "" for node in definitions(tops))
    return [[word.lower() for word in WORD.findall(text)] for text in texts]


def documents() -> list[Path]:
    """Return every document, generated ones left out."""
    paths = {path for pattern in PATTERNS for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if str(path.relative_to(ROOT)) not in GENERATED)


def prose(text: str) -> str:
    """Return a document's paragraphs and list items, without code, tables, headings and addresses of links."""
    return LINK.sub(r"\1", NOT_PROSE.sub("", FENCED.sub("", text)))


def sentences(text: str) -> list[int]:
    """Return the number of words of each sentence. A list item ends a sentence; a semicolon does not."""
    paragraphs = ITEM.sub("\n\n", prose(text))
    lengths = (len(re.findall(r"\S+", sentence)) for sentence in END.split(paragraphs))
    return [length for length in lengths if length]


def long_lines(text: str) -> int:
    """Return how many lines of prose are longer than the bar."""
    return sum(len(line) > LONGEST_LINE for line in NOT_PROSE.sub("", FENCED.sub("", text)).splitlines())


def docstring_figures(every: list[list[str]]) -> DocstringFigures:
    """Return the figures of these docstrings. Definitions without a docstring are left out of the shares."""
    written = [words for words in every if words]
    total = sum(map(len, written))
    return DocstringFigures(
        question_openings=round(100 * sum(words[0] in OPENINGS for words in written) / len(written), 1),
        fillers=round(1000 * sum(words.count(filler) for words in written for filler in FILLERS) / total, 1),
    )


def document_figures(texts: list[str]) -> DocumentFigures:
    """Return the figures of these documents."""
    lengths = [length for text in texts for length in sentences(text)]
    return DocumentFigures(
        sentence_median=median(lengths),
        sentence_p90=round(quantiles(lengths, n=10)[-1], 1),
        long_lines=sum(map(long_lines, texts)),
    )


def print_figures(title: str, now: dict[str, float], bars: dict[str, float]) -> list[str]:
    """Print each figure beside its bar, and return those above twice the bar."""
    print(f"{title:<40}{'now':>8}{'bar':>8}{'fails above':>14}")
    for name, bar in bars.items():
        print(f"  {name:<38}{now[name]:>8}{bar:>8}{2 * bar:>14}")
    return [f"{title}: {name}" for name, bar in bars.items() if now[name] > 2 * bar]


def main() -> int:
    """Print all figures; return 1 if one is above twice its bar."""
    too_high: list[str] = []
    for tops in CODE:
        every = docstrings(tops)
        too_high += print_figures(
            f"docstrings of {' and '.join(tops)}", asdict(docstring_figures(every)), asdict(DOCSTRING_BARS)
        )
        none, short = sum(not words for words in every), sum(0 < len(words) <= SHORT for words in every)
        print(f"  {len(every) - none} docstrings, {short} of at most {SHORT} words; {none} definitions without one")
    texts = [path.read_text() for path in documents()]
    too_high += print_figures("documents", asdict(document_figures(texts)), asdict(DOCUMENT_BARS))
    for figure in too_high:
        print(f"above twice the bar: {figure}", file=sys.stderr)
    return 1 if too_high else 0


if __name__ == "__main__":
    sys.exit(main())
