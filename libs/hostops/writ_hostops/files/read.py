"""file_read: a piece of a regular file, at most 1 MiB, with the digest of the whole."""

from __future__ import annotations

import base64
import codecs
import os
from typing import Any, Dict

from writ_hostops.errors import HostError, system_errors
from writ_hostops.fields import Fields
from writ_hostops.files.content import facts_of, mode_text, version_of
from writ_hostops.files.open_beneath import opened_file, opened_place
from writ_hostops.protocol import HostReply, OperationCall

MAX_BYTES = 1024 * 1024
MAX_OFFSET = 2**63 - 1


def run(call: OperationCall) -> HostReply:
    """Read a piece. Text ends at a whole character, so up to 3 bytes less than `length` may come. The next offset is
    the sum of offset and bytes.
    """
    fields = Fields(dict(call.parameters), "parameters")
    path = fields.text("file_path")
    encoding = fields.choice("encoding", ("utf-8", "base64"), "utf-8")
    offset = fields.integer("offset", 0, 0, MAX_OFFSET)
    limit = min(fields.integer("max_bytes", MAX_BYTES, 1, MAX_BYTES), call.target.max_output)
    fields.end()
    with opened_place(call.target, path, "file_path") as place, opened_file(place) as fd, system_errors(path):
        facts = facts_of(fd, call.stop)
        data = _piece(fd, offset, limit)
        at_end = len(data) < limit or not os.pread(fd, 1, offset + limit)
        after = version_of(os.fstat(fd))
    content, length = _encoded(data, encoding, at_end)
    output: Dict[str, Any] = {
        "file_path": path,
        "content": content,
        "encoding": encoding,
        "offset": offset,
        "length": length,
        "end": at_end,
        "size": facts.size,
        "digest": facts.digest,
        "mode": mode_text(facts.mode),
    }
    # A file that is written while it is read has no version that another read could find again.
    version = facts.version if after == facts.version else f"{facts.version}+{after}"
    return HostReply(output=output, state={**facts.as_state(), "version": version})


def _piece(fd: int, offset: int, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit:
        chunk = os.pread(fd, limit - len(data), offset + len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _encoded(data: bytes, encoding: str, at_end: bool) -> "tuple[str, int]":
    if encoding == "base64":
        return base64.b64encode(data).decode("ascii"), len(data)
    try:
        text, length = codecs.utf_8_decode(data, "strict", at_end)
    except UnicodeDecodeError:
        raise HostError("invalid_parameter", "these bytes are not UTF-8 text: read them with encoding base64") from None
    return text, length
