"""file_write: content into a file, atomically; the old file, the new one, or (where it was absent) none."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from dataclasses import dataclass
from typing import Any, Dict, Optional

from writ_hostops.errors import HostError, Raced
from writ_hostops.fields import Fields
from writ_hostops.files.content import Facts, mode_text, state_at, state_of, version_of
from writ_hostops.files.file_locks import locked
from writ_hostops.files.open_beneath import Place, opened_place
from writ_hostops.files.replace import DEFAULT_MODE, Old, opened_old, put, shown_put, write_all
from writ_hostops.protocol import Answer, Call, verdict

MAX_CONTENT = 1024 * 1024
ATTEMPTS = 5
DIGEST = re.compile(r"[0-9a-f]{64}")
_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True)
class Wanted:
    """The parameters, decoded."""

    path: str
    content: bytes
    mode: Optional[int]
    if_digest: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def is_there(self, facts: Optional[Facts]) -> bool:
        """Whether the file already is as wanted."""
        return (
            facts is not None
            and facts.size == len(self.content)
            and facts.digest == self.digest
            and (self.mode is None or self.mode == facts.mode)
        )


def run(call: Call) -> Answer:
    """Write. A file that already has this content and mode is left alone (`changed` false, effect none)."""
    wanted = _wanted(call)
    with opened_place(call.target, wanted.path, "file_path") as place:
        for _ in range(ATTEMPTS):
            try:
                return _write(call, place, wanted)
            except Raced:
                call.progress("the file was changed by another program at the same moment; looking again")
        raise Raced(wanted.path)


def preview(call: Call) -> Answer:
    """What `run` would do now."""
    wanted = _wanted(call)
    with (
        opened_place(call.target, wanted.path, "file_path") as place,
        opened_old(place, call.stop, wanted.if_digest) as old,
    ):
        before = old.facts if old else None
        commands = [] if wanted.is_there(before) else shown_put(place, len(wanted.content), bool(old))
    would = "nothing" if wanted.is_there(before) else "replace" if before else "create"
    return Answer(output={"would": would, "commands": commands, **_output(wanted, before)}, state=state_of(before))


def baseline(call: Call) -> Answer:
    """The file as it is."""
    state = state_at(call, "file_path")
    return Answer(output=state, state=state)


def expect(parameters: Dict[str, Any]) -> Dict[str, Any]:
    """What the marker keeps, for a probe that no longer has the content."""
    wanted = _parse(parameters)
    return {"digest": wanted.digest, "mode": "" if wanted.mode is None else mode_text(wanted.mode)}


def probe(call: Call) -> Answer:
    """Whether the content is there now; without marker and content only an unchanged file tells anything."""
    state = state_at(call, "file_path")
    expected = call.expected or (expect(dict(call.parameters)) if "content" in call.parameters else {})
    if expected and state["digest"] == expected["digest"] and expected["mode"] in ("", state["mode"]):
        return verdict("succeeded", "the file has the content that was to be written", state)
    if call.baseline and state == dict(call.baseline):
        return verdict("not_done", "the file is as it was before", state)
    return verdict("unknown", "the file is neither as it was nor known to be as it should be", state)


def _write(call: Call, place: Place, wanted: Wanted) -> Answer:
    with locked(place, call.stop) as temporary, opened_old(place, call.stop, wanted.if_digest) as old:
        before = old.facts if old else None
        if wanted.is_there(before):
            return Answer(output={"changed": False, **_output(wanted, before)}, state=state_of(before))
        after = _put(call, place, temporary, old, wanted)
    return Answer(output={"changed": True, **_output(wanted, before)}, state=after.as_state(), effect="done")


def _put(call: Call, place: Place, temporary: str, old: Optional[Old], wanted: Wanted) -> Facts:
    def fill(fd: int) -> None:
        write_all(fd, wanted.content, call.stop)

    status = put(place, temporary, old, wanted.mode, fill, call.stop)
    return Facts(wanted.digest, status.st_size, stat.S_IMODE(status.st_mode), version_of(status))


def _output(wanted: Wanted, before: Optional[Facts]) -> Dict[str, Any]:
    kept = DEFAULT_MODE if before is None else before.mode & 0o777
    return {
        "file_path": wanted.path,
        "created": before is None,
        "digest_before": before.digest if before else "",
        "digest_after": wanted.digest,
        "size_before": before.size if before else 0,
        "size_after": len(wanted.content),
        "mode": mode_text(kept if wanted.mode is None else wanted.mode),
    }


def _wanted(call: Call) -> Wanted:
    return _parse(dict(call.parameters))


def _parse(parameters: Dict[str, Any]) -> Wanted:
    fields = Fields(parameters, "parameters")
    mode = fields.text("mode", "")
    if mode and not _MODE.fullmatch(mode):
        raise fields.wrong("mode", "must be three octal digits such as 0644, without setuid, setgid and sticky")
    wanted = Wanted(
        path=fields.text("file_path"),
        content=_decoded(fields.text("content"), fields.choice("encoding", ("utf-8", "base64"), "utf-8")),
        mode=int(mode, 8) if mode else None,
        if_digest=digest_field(fields),
    )
    fields.end()
    return wanted


def digest_field(fields: Fields) -> str:
    """`if_digest`: hex SHA-256, or "" for no condition."""
    value = fields.text("if_digest", "")
    if value and not DIGEST.fullmatch(value):
        raise fields.wrong("if_digest", "must be a SHA-256 in 64 lower-case hex digits")
    return value


def _decoded(content: str, encoding: str) -> bytes:
    try:
        data = content.encode("utf-8") if encoding == "utf-8" else base64.b64decode(content, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        # No cause: its text would quote the content.
        raise HostError("invalid_parameter", f"parameters.content is not valid {encoding}") from None
    if len(data) > MAX_CONTENT:
        raise HostError("too_large", f"parameters.content is larger than {MAX_CONTENT} bytes")
    return data
