"""file_write: content into a file, atomically; the old file, the new one, or (where it was absent) none."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Optional, Union

from writ_hostops.encoded_text import Buffer, EncodedText
from writ_hostops.errors import HostError, RacedChange, system_errors
from writ_hostops.fields import Fields
from writ_hostops.files.content import (
    FileFacts,
    has_content,
    mode_text,
    named_facts,
    state_at,
    state_of,
    version_at,
    version_of,
)
from writ_hostops.files.diff import file_diff
from writ_hostops.files.file_locks import locked
from writ_hostops.files.open_beneath import FolderEntry, opened_place
from writ_hostops.files.replacement import (
    DEFAULT_MODE,
    ExistingFile,
    digested_beside,
    opened_old,
    put,
    shown_put,
    write_all,
)
from writ_hostops.protocol import HostReply, OperationCall, verdict
from writ_hostops.stop import CancelToken

MAX_CONTENT = 1024 * 1024
ATTEMPTS = 5
DIGESTED_FIRST = 64 * 1024
"""Largest old file, in bytes, that is digested before the new content is written. A larger one is digested meanwhile,
in a thread, which costs about as much as the digest of so many bytes.
"""
DIGEST = re.compile(r"[0-9a-f]{64}")
_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True)
class WriteArguments:
    """Decoded parameters of file_write."""

    path: str
    content: Buffer
    mode: Optional[int]
    if_digest: str
    digest: str
    """The SHA-256 of the content in hex."""

    def is_there(self, old: Optional[ExistingFile], stop: CancelToken) -> bool:
        """Return whether the file already has this content and mode."""
        if old is None or old.facts.size != len(self.content) or self.mode not in (None, old.facts.mode):
            return False
        if old.facts.digest:
            return old.facts.digest == self.digest
        with system_errors(self.path):
            return has_content(old.fd, self.content, stop)


def run(call: OperationCall) -> HostReply:
    """Write the file. One with this content and mode already is left alone (`changed` false, effect none)."""
    arguments = _parse_arguments(call)
    with opened_place(call.target, arguments.path, "file_path") as place:
        for _ in range(ATTEMPTS):
            try:
                return _write(call, place, arguments)
            except RacedChange:
                call.progress("the file was changed by another program at the same moment; reading it again")
        raise RacedChange(arguments.path)


def preview(call: OperationCall) -> HostReply:
    """Return the effect that `run` would have now."""
    arguments = _parse_arguments(call)
    with (
        opened_place(call.target, arguments.path, "file_path") as place,
        opened_old(place, call.stop, arguments.if_digest) as old,
    ):
        before, is_there = old.facts if old else None, arguments.is_there(old, call.stop)
        commands = [] if is_there else shown_put(place, len(arguments.content), bool(old))
        diff = file_diff(arguments.path, old, bytes(arguments.content), call.diff)
        version = version_at(old.fd if old else None)  # after the reads, of the file that was read
    would = "nothing" if is_there else "replace" if before else "create"
    output = {"would": would, "commands": commands, **_output(arguments, before), **diff, "version": version}
    return HostReply(output=output, state=state_of(before))


def baseline(call: OperationCall) -> HostReply:
    """Return the file's state."""
    state = state_at(call, "file_path")
    return HostReply(output=state, state=state)


def expect(parameters: Dict[str, Any]) -> Dict[str, Any]:
    """Return the digest that the marker keeps for a probe, which has no content any more."""
    arguments = _parse(parameters)
    return {"digest": arguments.digest, "mode": "" if arguments.mode is None else mode_text(arguments.mode)}


def probe(call: OperationCall) -> HostReply:
    """Report success if the file has the content now. Without marker and content only an unchanged file is
    conclusive.
    """
    facts = named_facts(call, "file_path")
    state = state_of(facts)
    expected = call.expected or (expect(dict(call.parameters)) if "content" in call.parameters else {})
    if facts and expected and facts.digest == expected["digest"] and expected["mode"] in ("", state["mode"]):
        return verdict("succeeded", "the file has the content that was to be written", state)
    if call.baseline and state == dict(call.baseline):
        return verdict("not_done", "the file is as it was before", state)
    return verdict("unknown", "the file has neither its former nor the requested content", state)


def _write(call: OperationCall, place: FolderEntry, arguments: WriteArguments) -> HostReply:
    with (
        locked(place, call.stop) as temporary,
        opened_old(place, call.stop, arguments.if_digest, DIGESTED_FIRST) as old,
    ):
        if old is not None and arguments.is_there(old, call.stop):
            before = replace(old.facts, digest=arguments.digest)
            return HostReply(output={"changed": False, **_output(arguments, before)}, state=before.as_state())
        with digested_beside(old, call.stop) as former:
            after = _put(call, place, temporary, old, arguments, former)
            output = {"changed": True, **_output(arguments, former())}
    return HostReply(output=output, state=after.as_state(), effect="done")


def _put(
    call: OperationCall,
    place: FolderEntry,
    temporary: str,
    old: Optional[ExistingFile],
    arguments: WriteArguments,
    former: Callable[[], Optional[FileFacts]],
) -> FileFacts:
    def fill(fd: int) -> None:
        write_all(fd, arguments.content, call.stop)

    def before_effect() -> None:
        former()  # an old file that cannot be read stays
        call.before_effect()

    status = put(place, temporary, old, arguments.mode, fill, call.stop, before_effect)
    return FileFacts(arguments.digest, status.st_size, stat.S_IMODE(status.st_mode), version_of(status))


def _output(arguments: WriteArguments, before: Optional[FileFacts]) -> Dict[str, Any]:
    kept = DEFAULT_MODE if before is None else before.mode & 0o777
    return {
        "file_path": arguments.path,
        "created": before is None,
        "digest_before": before.digest if before else "",
        "digest_after": arguments.digest,
        "size_before": before.size if before else 0,
        "size_after": len(arguments.content),
        "mode": mode_text(kept if arguments.mode is None else arguments.mode),
    }


def _parse_arguments(call: OperationCall) -> WriteArguments:
    return _parse(dict(call.parameters), str(call.expected.get("digest", "")))


def _parse(parameters: Dict[str, Any], digest: str = "") -> WriteArguments:
    """`digest`: that of the content, where the marker of this request has it already."""
    fields = Fields(parameters, "parameters")
    mode = fields.text("mode", "")
    if mode and not _MODE.fullmatch(mode):
        raise fields.wrong("mode", "must be three octal digits such as 0644, without setuid, setgid and sticky")
    path = fields.text("file_path")
    text = fields.long_text("content")
    content = _decoded(text, fields.choice("encoding", ("utf-8", "base64"), "utf-8"))
    if isinstance(text, EncodedText) and content is text.data:
        digest = digest or text.digest
    arguments = WriteArguments(
        path=path,
        content=content,
        mode=int(mode, 8) if mode else None,
        if_digest=digest_field(fields),
        digest=digest or hashlib.sha256(content).hexdigest(),
    )
    fields.end()
    return arguments


def digest_field(fields: Fields) -> str:
    """Take `if_digest`: a SHA-256 in hex, or "" for no condition."""
    value = fields.text("if_digest", "")
    if value and not DIGEST.fullmatch(value):
        raise fields.wrong("if_digest", "must be a SHA-256 in 64 lower-case hex digits")
    return value


def _decoded(content: Union[str, EncodedText], encoding: str) -> Buffer:
    try:
        data = content.data if isinstance(content, EncodedText) else content.encode("utf-8")
        if encoding == "base64":
            data = base64.b64decode(data, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        # No cause: its text would quote the content.
        raise HostError("invalid_parameter", f"parameters.content is not valid {encoding}") from None
    if len(data) > MAX_CONTENT:
        raise HostError("too_large", f"parameters.content is larger than {MAX_CONTENT} bytes")
    return data
