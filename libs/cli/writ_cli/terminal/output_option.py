"""The value of `--output` on a command line that may be malformed: an error has this form too."""

from collections.abc import Sequence

DOCUMENTS = ("json", "jsonl", "yaml")
_OPTIONS = ("-o", "--output")


def form_of(words: Sequence[str]) -> str:
    """Return the output form on a possibly malformed command line; `table` without one."""
    form = "table"
    for at, word in enumerate(words):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name in _OPTIONS and not equals:
            form = words[at + 1] if at + 1 < len(words) else form
        elif name == "--output":
            form = value
        elif word.startswith("-o") and word[2:] in DOCUMENTS:
            form = word[2:]
    return form
