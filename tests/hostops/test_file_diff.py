"""Diffs in previews of file_write: true, bounded, and without content hidden from the requester."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostops.conftest import Ask

from writ_hostops.files import diff
from writ_hostops.files.diff import unified

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "a\r", "a\x0cb", "\x85", "b\u2028c"]), max_size=12)


def text(lines: list[str], ended: bool) -> str:
    return "\n".join(lines) + ("\n" if ended and lines else "")


@settings(max_examples=60, deadline=None)
@given(LINES, LINES, st.booleans(), st.sampled_from([0, 1_000]), st.sampled_from([0, 1_050, diff.MOST_STEPS]))
def test_a_diff_turns_the_present_file_into_the_new_one(
    old: list[str], new: list[str], ended: bool, compared: int, steps: int
) -> None:
    """Applied by patch(1), whichever way it was made."""
    before, after = text(old, ended), text(new, True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(diff, "MOST_COMPARED", compared)
        patched.setattr(diff, "MOST_STEPS", steps)
        made = unified("/srv/a", before, after)
    assert applied(before, made) == after


def ended_lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def applied(before: str, made: str) -> str:
    """The text after its hunks were applied, as patch(1) does."""
    lines, at, found = ended_lines(before), 0, list[str]()
    body = ended_lines(made)[2:]
    for line, after in pairwise([*body, ""]):
        text = line[1:].removesuffix("\n") if after.startswith("\\") else line[1:]
        match line[0]:
            case "@":
                first = int(line.split()[1][1:].partition(",")[0])
                count = line.split()[1].partition(",")[2]
                start = first if count == "0" else first - 1
                found += lines[at:start]
                at = start
            case "+":
                found.append(text)
            case " " | "-":
                assert lines[at] == text
                found += [text] if line[0] == " " else []
                at += 1
    return "".join([*found, *lines[at:]])


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("compared", [0, 1_000])
def test_diff_shows_no_part_of_a_comment_as_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, end: str, compared: int
) -> None:
    """A program that reads `#{end}PermitRootLogin no` finds one comment; its approver must not see a setting."""
    monkeypatch.setattr(diff, "MOST_COMPARED", compared)
    made = unified("/srv/a", "PermitRootLogin no\n", f"#{end}PermitRootLogin no\n")
    assert made.split("\n")[2:] == [
        "@@ -1,1 +1,1 @@" if compared == 0 else "@@ -1 +1 @@",
        "-PermitRootLogin no",
        f"+#{end}PermitRootLogin no",
        "",
    ]


def test_diff_of_a_long_file_shows_its_few_changes_though_the_first_and_last_line_change() -> None:
    """The whole file stood there twice, and an approver could not find the change in the middle."""
    old = [f"key{number} = {number % 7}" if number % 5 else "" for number in range(1, 30_000)]
    new = ["# tuned", *old[1:15_001], "PermitRootLogin yes", *old[15_001:-1], "# end"]
    made = unified("/srv/a", text(old, True), text(new, True))
    assert applied(text(old, True), made) == text(new, True)
    assert changed(made) == [f"-{old[0]}", "+# tuned", "+PermitRootLogin yes", f"-{old[-1]}", "+# end"]
    assert len(made.splitlines()) < 30


def changed(made: str) -> list[str]:
    return [line for line in made.splitlines()[2:] if line[0] in "+-"]


def test_lines_that_stay_as_they_are_are_never_shown_as_removed_and_added() -> None:
    """A long part of repeated lines that nothing changes in used up the comparison, and was shown twice itself."""
    entries = [line for number in range(3_000) for line in (f"name{number}:", "  on: true", "  off: false", "")]
    old = [*entries[:4], *["#!"] * 990, *entries[4:]]
    new = ["# tuned", *old[1:6_000], "PermitRootLogin yes", *old[6_000:-1], "# end"]
    made = unified("/srv/a", text(old, True), text(new, True))
    assert applied(text(old, True), made) == text(new, True)
    assert changed(made) == ["-name0:", "+# tuned", "+PermitRootLogin yes", "-", "+# end"]


def test_parts_that_difflib_would_compare_for_long_are_shown_as_blocks() -> None:
    """Of under 200 new lines it leaves none out, however frequent: five such parts took 10 s."""
    old, new = ["first"], ["1st"]
    for number in range(5):
        old += [*["a", "x"] * 497, f"end {number}"]
        new += [*["a"] * 197, f"end {number}"]
    before, after = text([*old, "last"], True), text([*new, "end"], True)
    made = unified("/srv/a", before, after)
    assert applied(before, made) == after
    kept = [part.count("\n a\n") for part in made.split(" end ")]
    assert (kept[0] > 100, max(kept[1:]) < 4) == (True, True), kept


def test_diff_names_large_and_binary_content_without_showing_it(ask: Ask, srv: Path) -> None:
    (srv / "a").write_bytes(b"\0binary")
    whole = {"request": {"diff": True}}
    binary = ask("file_write", "preview", file_path=f"{srv}/a", content="new", **whole)["output"]
    assert binary["diff"] == "binary: 7 bytes before, 3 bytes after"
    (srv / "b").write_text("x\n" * 10)
    long = ask("file_write", "preview", file_path=f"{srv}/b", content="yy\n" * 60_000, **whole)["output"]
    assert long["cut"] is True
    *shown, last = long["diff"].splitlines()
    assert diff.MOST_SHOWN - diff.LAST_LINE - 4 < len(long["diff"]) <= diff.MOST_SHOWN
    assert shown[-1] == "+yy"
    added = sum(line == "+yy" for line in shown)
    assert last == f"[{60_000 - added} more lines of this diff are not shown]"


def test_a_line_longer_than_a_diff_may_be_is_not_shown_in_part(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x\n")
    output = ask("file_write", "preview", request={"diff": True}, file_path=f"{srv}/a", content="y" * 200_000)["output"]
    *_, removed, last = output["diff"].splitlines()
    assert (removed, output["cut"]) == ("-x", True)
    assert last == "[2 more lines of this diff are not shown]"


def test_binary_content_of_a_file_that_may_not_be_read_has_no_size_before(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old-canary\n")
    output = ask("file_write", "preview", file_path=f"{srv}/a", content="AAA=", encoding="base64")["output"]
    assert output["diff"].splitlines() == [
        "the requester may not read this file: its present content is not shown",
        "binary: 2 bytes after",
    ]


def test_a_preview_quotes_the_present_content_only_where_the_grant_says_so(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old-canary\nsame\n")
    blind = ask("file_write", "preview", file_path=f"{srv}/a", content="new\nsame\n")["output"]["diff"]
    assert "old-canary" not in blind
    assert "may not read this file" in blind
    assert "+new" in blind
    observed = ask("file_write", "preview", request={"diff": True}, file_path=f"{srv}/a", content="new\nsame\n")[
        "output"
    ]
    assert "-old-canary" in observed["diff"]
    assert "+new" in observed["diff"]
    assert "cut" not in observed


def copied(ask: Ask, srv: Path, **request: object) -> dict[str, object]:
    """Return the output of the preview of a copy of `new` to `old`."""
    ends = {"source_path": f"{srv}/new", "dest_path": f"{srv}/old", "overwrite": True}
    return dict(ask("file_copy", "preview", request=request, **ends)["output"])


def test_a_preview_of_a_copy_has_a_diff_only_where_the_grant_says_so(ask: Ask, srv: Path) -> None:
    (srv / "new").write_text("new-canary\nsame\n")
    (srv / "old").write_text("old-canary\nsame\n")
    assert "canary" not in str(copied(ask, srv))
    assert copied(ask, srv, diff=True)["diff"] == (
        f"--- present\n+++ {srv}/old\n@@ -1,2 +1,2 @@\n-old-canary\n+new-canary\n same\n"
    )
    (srv / "old").unlink()
    assert "+new-canary\n" in str(copied(ask, srv, diff=True)["diff"])
    (srv / "old").write_text("new-canary\nsame\n")
    assert copied(ask, srv, diff=True)["diff"] == ""


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (b"a\0", b"abc", "binary: 2 bytes before, 3 bytes after"),
        (b"a", b"b" * (diff.MOST_READ + 1), f"a file is larger than {diff.MOST_READ} bytes: no diff"),
        (b"b" * (diff.MOST_READ + 1), b"a", f"a file is larger than {diff.MOST_READ} bytes: no diff"),
        (b"", b"a\n" * diff.MOST_SHOWN, f"the diff has {diff.MOST_SHOWN + 3} lines: too long to show"),
        (b"", b"\x01" * (diff.MOST_SHOWN - 200), "the diff has 5 lines: too long to show"),
    ],
    ids=["binary", "large-source", "large-destination", "long", "long-as-json"],
)
def test_a_copy_whose_diff_cannot_be_shown_says_why_and_can_be_approved(
    ask: Ask, srv: Path, old: bytes, new: bytes, shown: str
) -> None:
    (srv / "old").write_bytes(old)
    (srv / "new").write_bytes(new)
    output = copied(ask, srv, diff=True)
    assert (output["diff"], "cut" in output) == (shown, False)


@pytest.mark.parametrize("operation", ["file_copy", "file_write"])
def test_a_preview_has_the_versions_of_the_files_that_it_read(ask: Ask, srv: Path, operation: str) -> None:
    """By them a name is noticed that led to another file while the state was read."""
    (srv / "new").write_text("new")
    copy: dict[str, object] = {"source_path": f"{srv}/new", "dest_path": f"{srv}/old", "overwrite": True}
    parameters = copy if operation == "file_copy" else {"file_path": f"{srv}/old", "content": "new"}
    for present in (None, "old", "new"):
        if present:
            (srv / "old").write_text(present)
        state = ask(operation, "baseline", **parameters)["output"]
        output = ask(operation, "preview", request={"diff": True}, **parameters)["output"]
        versions = [name for name in ("version", "source_version") if name in state]
        assert len(versions) == (2 if operation == "file_copy" else 1)
        assert [output[name] for name in versions] == [state[name] for name in versions]
