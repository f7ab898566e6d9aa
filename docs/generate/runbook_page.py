"""The runbooks as a page that Prometheus serves, so that the links of alerts lead to it.

Prometheus executes files of its console templates as templates of Go: the page must not contain two braces in a row.
"""

from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCE = Path(__file__).parents[1] / "runbooks.md"
HEAD = """\
<!DOCTYPE html>
<!-- Made from docs/runbooks.md by `make docs`. Alerts link to it: see rules.yaml. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Runbooks of Writ</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font-size: 0.95em; }
pre { overflow-x: auto; }
table { border-collapse: collapse; }
td, th { border: 1px solid gray; padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; }
:target { outline: 2px solid; outline-offset: 4px; }
</style>
</head>
<body>
"""


def document() -> str:
    """Return the page. Raises ValueError for text that Prometheus would execute."""
    parser = MarkdownIt().enable("table")
    tokens = parser.parse(SOURCE.read_text())
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", tokens[at + 1].content.lower())
        if token.children:
            token.children = list(_without_files(token.children))
    page = f"{HEAD}{parser.renderer.render(tokens, parser.options, {})}</body>\n</html>\n"
    if "{{" in page:
        raise ValueError("docs/runbooks.md contains {{, which Prometheus would execute as a template")
    return page


def _without_files(inline: list[Token]) -> Iterator[Token]:
    """Yield the tokens with the path in place of a link to another document, which is not served."""
    path, text = "", ""
    for token in inline:
        if token.type == "link_open" and not str(token.attrs["href"]).startswith("#"):
            path, text = normpath(join("docs", str(token.attrs["href"]).partition("#")[0])), ""
        elif token.type == "link_close" and path:
            yield from [_code(path)] if path.endswith(text) else [_text(f"{text} ["), _code(path), _text("]")]
            path = ""
        elif path:
            text += token.content
        else:
            yield token


def _code(content: str) -> Token:
    return Token("code_inline", "code", 0, content=content)


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
