"""Documents use the terms of docs/glossary.md, and none of its banned words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "libs/*/README.md", "services/*/README.md", "tests/lab/*.md")
    for path in sorted(ROOT.glob(pattern))
}
NOT_CONVERTED = {  # documents that the edit of the prose has not reached yet: take one out once it is converted
    "CHANGELOG.md",
}
CODE = re.compile(r"^```.*?^```$|^(?: {4}|\t).*$|^ +```.*?^ +```$|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def table(title: str) -> dict[str, str]:
    rows = ROW.findall(GLOSSARY.split(f"\n## {title}\n")[1].split("\n## ")[0])[1:]
    assert len({word for word, _ in rows}) == len(rows), "a word has two rows"
    return dict(rows)


TERMS, BANNED = table("Terms"), table("Words that we do not use")
BANNED_WORD = re.compile(rf"\b({'|'.join(map(re.escape, BANNED))})\b", re.IGNORECASE)


def prose(name: str) -> str:
    text = CODE.sub(" ", DOCUMENTS[name].read_text())
    return text.split("## Words that we do not use")[0] if name == "docs/glossary.md" else text


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - NOT_CONVERTED))
def test_document_has_no_banned_word(name: str) -> None:
    found = {re.sub(r"\s+", " ", word.lower()) for word in BANNED_WORD.findall(prose(name))}
    assert {word: BANNED.get(word) for word in found} == {}


def test_documents_without_banned_words_are_not_listed_as_unconverted() -> None:
    clean = {name for name in NOT_CONVERTED if name not in DOCUMENTS or not BANNED_WORD.search(prose(name))}
    assert clean == set(), "take these out of NOT_CONVERTED"


def test_glossary_terms_are_in_order_and_not_banned() -> None:
    assert list(TERMS) == sorted(TERMS, key=lambda term: re.sub(r"\W", "", term.lower()))
    assert {term for term in TERMS if BANNED_WORD.fullmatch(term)} == set()


def test_a_banned_word_is_found_in_prose_and_not_in_code() -> None:
    assert BANNED_WORD.findall(CODE.sub(" ", "The house `house`\n```\nhouse\n```\n")) == ["house"]
