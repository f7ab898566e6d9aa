"""Documents, docstrings and comments use the terms of docs/glossary.md, and none of its banned words."""

import io
import re
import tokenize
from pathlib import Path

from writ_testing.each_case import each_case

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "libs/*/README.md", "services/*/README.md", "tests/lab/*.md")
    for path in sorted(ROOT.glob(pattern))
}
PYTHON = [path for top in ("libs", "services") for path in sorted((ROOT / top).rglob("*.py"))]
CODE_WORD = re.compile(
    r"`[^`\
]*`|\\bhttps?:\\S+"
)
CODE = re.compile(r"^```.*?^```$|^(?: {4}|\t)[^\n]*$|^ +```.*?^ +```$|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
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


@each_case("name", sorted(DOCUMENTS))
def test_document_has_no_banned_word(name: str) -> None:
    found = {re.sub(r"\s+", " ", word.lower()) for word in BANNED_WORD.findall(prose(name))}
    assert {word: BANNED.get(word) for word in found} == {}


def test_docstrings_and_comments_have_no_banned_word() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{token.start[0]}": sorted(set(BANNED_WORD.findall(CODE_WORD.sub(" ", token.string))))
        for path in PYTHON
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.endswith('"""'))
    }
    assert {place: words for place, words in found.items() if words} == {}


def test_glossary_terms_are_in_order_and_not_banned() -> None:
    assert list(TERMS) == sorted(TERMS, key=lambda term: re.sub(r"\W", "", term.lower()))
    assert {term for term in TERMS if BANNED_WORD.fullmatch(term)} == set()


def test_a_banned_word_is_found_in_prose_and_not_in_code() -> None:
    text = "The house `house`\n```\nhouse\n```\n    house\nThe keeper\n"
    assert BANNED_WORD.findall(CODE.sub(" ", text)) == ["house", "keeper"]
