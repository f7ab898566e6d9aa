"""The answer of a short process that an agent's package runs for `writ target add`: JSON on standard output."""

import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from writ_contracts.errors import WritError

Answers = Mapping[str, Callable[..., dict[str, str]]]


def write_answer(answers: Answers, words: Sequence[str]) -> None:
    """Write the answer to the first word, with the others as its arguments; a refusal is an answer too."""
    try:
        answer = answers[words[0]](*words[1:])
    except WritError as error:
        answer = {"code": error.code, "error": str(error)}
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
