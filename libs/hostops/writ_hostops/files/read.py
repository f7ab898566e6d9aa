"""file_read: a piece of a regular file, at most 1 MiB, with the digest of the whole."""

from __future__ import annotations

import base64
import codecs
import hashlib
import os
import stat
from typing import Any, Dict, Union

from writ_hostops.encoded_text import EncodedText, TextDigest
from writ_hostops.errors import HostError, system_errors
from writ_hostops.fields import Fields
from writ_hostops.files.content import CHUNK, FileFacts, facts_of, mode_text, version_of
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
        status = os.fstat(fd)
        data = _piece(fd, offset, limit, status.st_size)
        at_end = len(data) < limit or not os.pread(fd, 1, offset + limit)
        is_whole = at_end and not offset
        if is_whole:
            facts = FileFacts("", status.st_size, stat.S_IMODE(status.st_mode), version_of(status))
        else:
            facts = facts_of(fd, call.stop)
        before, after = version_of(status), version_of(os.fstat(fd))
    content, length = _encoded(data, encoding, at_end)
    digest: Union[str, TextDigest] = facts.digest
    if is_whole:
        digest = TextDigest(content) if encoding == "utf-8" else hashlib.sha256(data).hexdigest()
    output: Dict[str, Any] = {
        "file_path": path,
        "content": content,
        "encoding": encoding,
        "offset": offset,
        "length": length,
        "end": at_end,
        "size": facts.size,
        "digest": digest,
        "mode": mode_text(facts.mode),
    }
    # A file that is written while it is read has no version that another read could find again.
    version = before if after == before else f"{before}+{after}"
    return HostReply(output=output, state={**facts.as_state(), "version": version})


def _piece(fd: int, offset: int, limit: int, size: int) -> bytearray:
    """Read into one buffer: a process pays for each page of a new one. `size`: of the file, which may change."""
    data, length = bytearray(min(limit, max(size - offset, 0))), 0
    while length < limit:
        if length == len(data):
            data += os.pread(fd, min(limit - length, CHUNK), offset + length)
            count = len(data) - length
        else:
            with memoryview(data) as whole, whole[length:] as rest:
                count = os.preadv(fd, [rest], offset + length)
        if not count:
            break
        length += count
    del data[length:]
    return data


def _encoded(data: bytearray, encoding: str, at_end: bool) -> "tuple[EncodedText, int]":
    if encoding == "base64":
        return EncodedText(base64.b64encode(data)), len(data)
    if data.isascii():
        return EncodedText(data), len(data)
    try:
        _, length = codecs.utf_8_decode(data, "strict", at_end)
    except UnicodeDecodeError:
        raise HostError("invalid_parameter", "these bytes are not UTF-8 text: read them with encoding base64") from None
    del data[length:]
    return EncodedText(data), length
