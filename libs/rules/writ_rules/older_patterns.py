r"""Regular expressions of the older format, Python's, as those of this one, RE2's.

Python's `\w`, `\d` and `\s` cover letters, digits and spaces of every script, RE2's those of ASCII. `\b`, `{,2}`, `[:`
and `(?i)i` differ, too. Only an expression of parts that both read alike is taken over.
"""

import re

_part = re.compile(
    r"""
    (?P<end>\$)
    | (?P<fewer>\\[wds])                                # covers less in RE2
    | (?P<folding>\(\?i[:)])                            # less in RE2, too: not the dotless i
    | \[ (?:(?P<excluding>\^)|(?!\^)) (?:\]|(?!\]))     # a ] that is first stands for itself
      (?: [^\]\[\\&|~-] | &(?!&) | \|(?!\|) | ~(?!~) | -(?!-) | (?P<listed>\\[wds]) | \\[nrt] | \\[!-/:-@\[-`{-~] )*\]
    | \((?:\?:|\?P<[A-Za-z_]+>)?(?!\?)
    | \{(?!,)
    | \\[nrt] | \\[!-/:-@\[-`{-~]
    | [^\[\\${(]
    """,
    re.VERBOSE | re.DOTALL,
).match


def taken_over(text: str, *, deny: bool) -> str | None:
    """Return a pattern that covers no text which the older one does not match, for a deny each that it matches; None
    where the two may differ.
    """
    at, found, result = 0, set[str](), ""
    while at < len(text):
        part = _part(text, at)
        if part is None or (part["excluding"] and part["listed"]):
            return None
        at = part.end()
        last = at == len(text) or (text[at] == "|" and "(" not in text)
        if part["end"] and deny:
            if not last:
                return None
            result += r"\n?"  # Python's $ is also before a newline at the end
        found |= {name for name, value in part.groupdict().items() if value}
        result += part[0]
    if found & {"fewer", "listed", "folding"} and deny:
        return None
    if "folding" in found and ("excluding" in found or not text.isascii()):
        return None
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return None
    return f"(?:{result}).*" if deny else text
