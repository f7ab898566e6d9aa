"""A bounded diff of a file's present and new content, for previews."""

from __future__ import annotations

import difflib
import json
import os
from bisect import bisect_left
from collections import Counter
from typing import Dict, Iterator, List, Optional, Tuple

from writ_hostops.errors import system_errors
from writ_hostops.files.replacement import ExistingFile

MOST_READ = 1024 * 1024
MOST_SHOWN = 131_072
"""Characters of a diff."""
MOST_JSON = 3 * MOST_SHOWN
"""Bytes of the diff of a copy as JSON, in which a control character takes six."""
LAST_LINE = 100
"""Characters kept free for the line that counts those not shown."""
MOST_COMPARED = 1_000
"""Lines on each side of a text that difflib compares as a whole."""
MOST_STEPS = MOST_COMPARED * 200 * 200
"""Steps of difflib for the parts of a longer text: the most that it takes for `MOST_COMPARED` lines."""
CONTEXT = 3
Change = Tuple[int, int, int, int]
"""Where lines begin and end in the present text, and where those that replace them do in the new one."""


def file_diff(path: str, old: Optional[ExistingFile], new: bytes, quotes: bool) -> Dict[str, object]:
    """Return `diff`, and `cut` where it does not show all of the change. `quotes`: the reader may see the present
    content; without that the new content stands alone. Of binary content a line that begins with `binary: ` has the
    sizes: by it clients know that an approver has not seen the content.
    """
    before = present(path, old) if quotes else b""
    if before is None:
        return {"diff": f"the present file is larger than {MOST_READ} bytes: no diff", "cut": True}
    hidden = old is not None and not quotes
    head = "the requester may not read this file: its present content is not shown\n" if hidden else ""
    texts = decoded(before), decoded(new)
    if texts[0] is None or texts[1] is None:
        was = "" if hidden else f"{len(before)} bytes before, "
        return {"diff": f"{head}binary: {was}{len(new)} bytes after"}
    return _bounded(head + unified(path, texts[0], texts[1]))


def copy_diff(path: str, old: Optional[ExistingFile], source: int) -> Dict[str, object]:
    """Return `diff`, for a reader of both files. One that is too long is not shown at all, and never `cut`: approvers
    could not approve such a copy, which the versions of both files name exactly.
    """
    before, after = present(path, old), _content(path, source, os.fstat(source).st_size)
    if before is None or after is None:
        return {"diff": f"a file is larger than {MOST_READ} bytes: no diff"}
    texts = decoded(before), decoded(after)
    if texts[0] is None or texts[1] is None:
        return {"diff": f"binary: {len(before)} bytes before, {len(after)} bytes after"}
    diff = unified(path, texts[0], texts[1])
    if len(diff) > MOST_SHOWN or len(json.dumps(diff, ensure_ascii=False).encode()) > MOST_JSON:
        return {"diff": f"the diff has {diff.count(chr(10))} lines: too long to show"}
    return {"diff": diff}


def _bounded(diff: str) -> Dict[str, object]:
    """Return whole lines only: a part of a line would pass for all of it."""
    if len(diff) <= MOST_SHOWN:
        return {"diff": diff}
    shown = diff[: diff.rfind("\n", 0, MOST_SHOWN - LAST_LINE) + 1]
    left = diff.count("\n", len(shown))
    return {"diff": f"{shown}[{left} more lines of this diff are not shown]\n", "cut": True}


def present(path: str, old: Optional[ExistingFile]) -> Optional[bytes]:
    """Return the content of the opened file; None if it is too large."""
    return b"" if old is None else _content(path, old.fd, old.status.st_size)


def _content(path: str, fd: int, size: int) -> Optional[bytes]:
    if size > MOST_READ:
        return None
    with system_errors(path):
        data = os.pread(fd, MOST_READ + 1, 0)
    return data if len(data) <= MOST_READ else None


def decoded(data: bytes) -> Optional[str]:
    """Return the text; None for binary data."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def unified(path: str, before: str, after: str) -> str:
    """Return a unified diff; empty if nothing differs. A changed part of a long text in which too few lines occur once
    is shown as one block of removed and added lines.
    """
    old, new = _lines(before), _lines(after)
    start, end = _same_ends(old, new)
    middle = old[start : len(old) - end], new[start : len(new) - end]
    if max(map(len, middle)) > MOST_COMPARED:
        moved = [(start + i, start + j, start + k, start + m) for i, j, k, m in _changes(*middle)]
        return _hunks(path, old, new, moved)
    low, tail = max(start - CONTEXT, 0), max(end - CONTEXT, 0)
    lines = difflib.unified_diff(old[low : len(old) - tail], new[low : len(new) - tail], "present", path, n=CONTEXT)
    return "".join(_ended(_moved(line, low)) for line in lines)


def _lines(text: str) -> List[str]:
    """Return the lines with their ends. Only a line feed ends one, as for most readers of files: what an approver sees
    as a line of its own must be one, and not the rest of a comment behind a carriage return or form feed.
    """
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _same_ends(old: List[str], new: List[str]) -> Tuple[int, int]:
    most = min(len(old), len(new))
    start = next((at for at in range(most) if old[at] != new[at]), most)
    rest = most - start
    end = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    return start, end


def _changes(old: List[str], new: List[str]) -> List[Change]:
    """Return the changes between long texts. Lines that are once in each text stand for each other, as in a patience
    diff; difflib compares what differs between two of them, as long as `MOST_STEPS` allow it.
    """
    found: List[Change] = []
    left = MOST_STEPS
    here = there = 0
    for at, to in [*_common(old, new), (len(old), len(new))]:
        start, end = _same_ends(old[here:at], new[there:to])
        low, first = here + start, there + start
        before, after = old[low : at - end], new[first : to - end]
        steps = _steps(len(before), len(after))
        if before and after and steps <= left:
            left -= steps
            codes = difflib.SequenceMatcher(None, before, after).get_opcodes()
            found += [(low + i, low + j, first + k, first + m) for tag, i, j, k, m in codes if tag != "equal"]
        elif before or after:
            found.append((low, at - end, first, to - end))
        here, there = at + 1, to + 1
    return found


def _steps(old: int, new: int) -> int:
    """Return how many steps difflib takes at most for so many lines, with 1,000 for the call itself. For each line and
    each match it looks at all places of an equal line; of 200 new lines or more it leaves frequent ones out (autojunk).
    """
    return 1_000 + old * new * (new if new < 200 else new // 100 + 1)


def _common(old: List[str], new: List[str]) -> List[Tuple[int, int]]:
    """Return where lines are that occur once in each text, the most of them that are in the same order in both."""
    once = {line: at for at, line in enumerate(new)}
    both = (Counter(old), Counter(new))
    pairs = [(at, once[line]) for at, line in enumerate(old) if all(count[line] == 1 for count in both)]
    ends: List[int] = []  # the least end of a rising sequence of each length, and which pair that is
    which: List[int] = []
    earlier: List[int] = []
    for number, (_, to) in enumerate(pairs):
        length = bisect_left(ends, to)
        earlier.append(which[length - 1] if length else -1)
        ends[length : length + 1], which[length : length + 1] = [to], [number]
    found: List[Tuple[int, int]] = []
    last = which[-1] if which else -1
    while last >= 0:
        found.append(pairs[last])
        last = earlier[last]
    return found[::-1]


def _hunks(path: str, old: List[str], new: List[str], changes: List[Change]) -> str:
    """Return a unified diff by these changes."""
    groups: List[List[Change]] = []
    for change in changes:
        if groups and change[0] - groups[-1][-1][1] <= 2 * CONTEXT:
            groups[-1].append(change)
        else:
            groups.append([change])
    hunks = [line for group in groups for line in _hunk(old, new, group)]
    return "".join([f"--- present\n+++ {path}\n", *hunks])


def _hunk(old: List[str], new: List[str], group: List[Change]) -> Iterator[str]:
    at = low = max(group[0][0] - CONTEXT, 0)
    high = min(group[-1][1] + CONTEXT, len(old))
    first, last = low + group[0][2] - group[0][0], high + group[-1][3] - group[-1][1]
    yield f"@@ -{_range(low, high)} +{_range(first, last)} @@\n"
    for start, end, begin, stop in group:
        marked = [(" ", old[at:start]), ("-", old[start:end]), ("+", new[begin:stop])]
        yield from (_ended(f"{mark}{line}") for mark, lines in marked for line in lines)
        at = end
    yield from (_ended(f" {line}") for line in old[at:high])


def _range(start: int, end: int) -> str:
    """Return the lines of a hunk as POSIX has it: counted from 1, and before an empty range the line that precedes."""
    return f"{start + (end > start)},{end - start}"


def _moved(line: str, by: int) -> str:
    """Return a hunk's head with the line numbers of the whole file."""
    if not by or not line.startswith("@@"):
        return line
    parts = line.split(" ")
    return " ".join([parts[0], *(_shifted(part, by) for part in parts[1:3]), *parts[3:]])


def _shifted(part: str, by: int) -> str:
    first, comma, count = part[1:].partition(",")
    return f"{part[0]}{int(first) + by}{comma}{count}"


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
