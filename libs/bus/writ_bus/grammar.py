"""The grammar of NATS subjects. The server takes a published wildcard for an ordinary token, so it is refused here."""

import re

_TOKEN = r"[^\s.*>\x00-\x20\x7f]+"
_literal = re.compile(rf"{_TOKEN}(\.{_TOKEN})*").fullmatch
_filter = re.compile(rf"(({_TOKEN}|\*)\.)*({_TOKEN}|\*|>)").fullmatch
_inbox = re.compile(rf"(_INBOX(_[A-Za-z0-9_-]+)?|_R_)(\.{_TOKEN})+").fullmatch


def check_subject(subject: str) -> str:
    """Return the subject for publishing: no wildcard, no empty token, no white space. Raises ValueError."""
    if not _literal(subject):
        raise ValueError(f"{subject!r} is not a valid subject to publish on")
    return subject


def check_filter(subject: str) -> str:
    """Return the subject for a subscription: `*` stands for one token, a last `>` for one or more. Raises
    ValueError.
    """
    if not _filter(subject):
        raise ValueError(f"{subject!r} is not a valid subject to subscribe to")
    return subject


def matches(pattern: str, subject: str) -> bool:
    """Return whether a subscription to `pattern` gets a message on `subject`."""
    tokens, subject_tokens = pattern.split("."), subject.split(".")
    if tokens[-1] == ">":
        tokens.pop()
        if len(subject_tokens) <= len(tokens):
            return False
        subject_tokens = subject_tokens[: len(tokens)]
    return len(tokens) == len(subject_tokens) and all(
        a in ("*", b) for a, b in zip(tokens, subject_tokens, strict=True)
    )


def is_inbox(reply: str) -> bool:
    """Return whether a reply may go there. The server does not check a reply subject against permissions, so we do."""
    return _inbox(reply) is not None
