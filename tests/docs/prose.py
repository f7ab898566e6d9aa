"""Measure the prose of docstrings and documents: `python -m tests.docs.prose`. `--write` lowers the baseline.

The figures are a hint. The aim is that someone new understands each sentence at the first reading.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
BASELINE = Path(__file__).with_name("prose_baseline.json")
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
class Figures:
    """The figures that have a bar; less is better in each."""

    question_openings: float
    """Docstrings that begin with What, Who, Whether, How, Where or Whatever, in percent."""
    fillers: float
    """The words what, who and that, per 1,000 words of docstrings."""
    sentence_median: float
    """Words in a sentence of the documents."""
    sentence_p90: float
    long_lines: float
    """Lines of prose in documents over 150 characters; tables and code do not count."""


BARS = Figures(question_openings=2, fillers=15, sentence_median=20, sentence_p90=30, long_lines=0)


def definitions() -> Iterator[Definition]:
    """Return every module, class and function of libs and services."""
    for top in ("libs", "services"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, Definition):
                    yield node


def docstrings() -> list[list[str]]:
    """Return the words of each docstring, in lower case; without a docstring the list is empty."""
    texts = (ast.get_docstring(node) or "" for node in definitions())
    return [[word.lower() for word in WORD.findall(text)] for text in texts]


def documents() -> list[Path]:
    """Return every document that people write."""
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


def measure() -> Figures:
    """Return the figures of the tree as it is."""
    written = [words for words in docstrings() if words]
    total = sum(map(len, written))
    texts = [path.read_text() for path in documents()]
    lengths = [length for text in texts for length in sentences(text)]
    return Figures(
        question_openings=round(100 * sum(words[0] in OPENINGS for words in written) / len(written), 1),
        fillers=round(1000 * sum(words.count(one) for words in written for one in FILLERS) / total, 1),
        sentence_median=median(lengths),
        sentence_p90=round(quantiles(lengths, n=10)[-1], 1),
        long_lines=sum(map(long_lines, texts)),
    )


def baseline() -> Figures:
    """Return the committed figures, rounded up, which only get lower."""
    return Figures(**json.loads(BASELINE.read_text()))


def limits() -> Figures:
    """Return what fails the tests: above twice the bar, and above the baseline while that is higher."""
    before, bars = asdict(baseline()), asdict(BARS)
    return Figures(**{name: max(before[name], 2 * bar) for name, bar in bars.items()})


def main(arguments: list[str]) -> int:
    """Print the figures beside bar and limit; with `--write` lower the baseline to them."""
    now = asdict(measure())
    every = docstrings()
    print(f"{'figure':<20}{'now':>8}{'bar':>8}{'fails above':>14}")
    for name, bar in asdict(BARS).items():
        print(f"{name:<20}{now[name]:>8}{bar:>8}{asdict(limits())[name]:>14}")
    none, short = sum(not words for words in every), sum(0 < len(words) <= SHORT for words in every)
    print(f"{len(every) - none} docstrings, {short} of at most {SHORT} words; {none} definitions without one")
    if "--write" in arguments:
        before = asdict(baseline()) if BASELINE.exists() else now
        lower = {name: min(ceil(value * 10) / 10, before[name]) for name, value in now.items()}
        BASELINE.write_text(json.dumps(lower, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
