"""Operations on files beneath a target's `file_roots`."""

from typing import Annotated, Literal

from msgspec import Meta, field

from writ_contracts.backends import HOSTS
from writ_contracts.catalogue.grammar import FileMode, FilePath, Flag, Sha256, check_bytes
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import CONTENTS, CONTENTS_DIGEST, KEYED, PUBLIC, Output, Parameters, Timeout

MAX_CONTENT_BYTES = 1024 * 1024
MAX_OFFSET = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly (RFC 8785)."""
MAX_CONTENT_BASE64 = 4 * (-(-MAX_CONTENT_BYTES // 3))

Encoding = Literal["utf-8", "base64"]


class FileRead(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file, the range of bytes, and their encoding in the reply."""

    file_path: Annotated[FilePath, PUBLIC]
    encoding: Annotated[Encoding, PUBLIC] = "utf-8"
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET), PUBLIC] = 0
    max_bytes: Annotated[int, Meta(ge=1, le=MAX_CONTENT_BYTES), PUBLIC] = MAX_CONTENT_BYTES
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class FileWrite(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole new content, which is secret. `if_digest`: only if the file still has this SHA-256."""

    file_path: Annotated[FilePath, PUBLIC]
    content: Annotated[str, Meta(max_length=MAX_CONTENT_BASE64, description="at most 1 MiB when decoded")]
    encoding: Annotated[Encoding, PUBLIC] = "utf-8"
    mode: Annotated[FileMode | None, PUBLIC] = None
    if_digest: Annotated[Sha256 | None, CONTENTS_DIGEST] = None
    timeout: Annotated[Timeout, Meta(le=300)] = 60

    def __post_init__(self) -> None:
        check_bytes("content", self.content, MAX_CONTENT_BYTES if self.encoding == "utf-8" else MAX_CONTENT_BASE64)


class FileCopy(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Source and destination, on the same target."""

    source_path: Annotated[FilePath, PUBLIC]
    dest_path: Annotated[FilePath, PUBLIC]
    overwrite: Flag = False
    timeout: Annotated[Timeout, Meta(le=900)] = 60

    def __post_init__(self) -> None:
        if self.source_path == self.dest_path:
            raise ValueError("source_path and dest_path are the same")


class FileDelete(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `if_digest`: only if it still has this SHA-256."""

    file_path: Annotated[FilePath, PUBLIC]
    if_digest: Annotated[Sha256 | None, CONTENTS_DIGEST] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class FileContent(Output, frozen=True, kw_only=True):
    """The bytes read. `size` and `digest` are of the whole file; `end`: these are the last bytes.

    The next piece begins at `offset` + `length`. The digest is "" where the file is too large to hash unasked.
    """

    file_path: Annotated[str, PUBLIC] = ""
    encoding: Annotated[str, PUBLIC] = "utf-8"
    offset: Annotated[int, PUBLIC] = 0
    length: Annotated[int, PUBLIC] = 0
    end: Annotated[bool, PUBLIC] = False
    size: Annotated[int, PUBLIC] = 0
    digest: Annotated[str, KEYED] = ""
    mode: Annotated[str, PUBLIC] = ""
    content: str = ""


class WrittenFile(Output, frozen=True, kw_only=True):
    """The file before and after, by SHA-256 ("" where there was none).

    `would`, `commands`: the actions found by a dry run; `diff` is incomplete if `cut` is set.
    """

    file_path: Annotated[str, PUBLIC] = ""
    changed: Annotated[bool, PUBLIC] = False
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    created: Annotated[bool, PUBLIC] = False
    digest_before: Annotated[str, KEYED] = ""
    digest_after: Annotated[str, KEYED] = ""
    size_before: Annotated[int, CONTENTS] = 0
    size_after: Annotated[int, PUBLIC] = 0
    mode: Annotated[str, PUBLIC] = ""
    diff: str = ""
    cut: Annotated[bool, PUBLIC] = False


class CopiedFile(Output, frozen=True, kw_only=True):
    """The destination before and after, by SHA-256 ("" where there was none).

    `would`, `commands`: the actions found by a dry run; it has a `diff` if the requester may read both files.
    """

    source_path: Annotated[str, PUBLIC] = ""
    dest_path: Annotated[str, PUBLIC] = ""
    changed: Annotated[bool, PUBLIC] = False
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], CONTENTS] = field(default_factory=list)
    created: Annotated[bool, PUBLIC] = False
    digest_before: Annotated[str, KEYED] = ""
    digest_after: Annotated[str, KEYED] = ""
    size_before: Annotated[int, CONTENTS] = 0
    size_after: Annotated[int, CONTENTS] = 0
    diff: str = ""


class DeletedFile(Output, frozen=True, kw_only=True):
    """The deleted file. `would`, `commands`: the actions found by a dry run."""

    file_path: Annotated[str, PUBLIC] = ""
    changed: Annotated[bool, PUBLIC] = False
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    digest_before: Annotated[str, KEYED] = ""
    size_before: Annotated[int, CONTENTS] = 0


OPERATIONS = (
    Operation(
        name="file_read",
        summary="Read a file, or a part of it.",
        parameters=FileRead,
        output=FileContent,
        risk=Risk.READ,
        backends=HOSTS,
        idempotent=True,
        ahead=True,
    ),
    Operation(
        name="file_write",
        summary="Write a file whole, atomically.",
        parameters=FileWrite,
        output=WrittenFile,
        risk=Risk.CHANGE,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("exists", "version", "mode"),
        quotes="file_read",
        quoted=("file_path",),
        by_digest=("content",),
    ),
    Operation(
        name="file_copy",
        summary="Copy a file on the same target.",
        parameters=FileCopy,
        output=CopiedFile,
        risk=Risk.CHANGE,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("exists", "version", "mode", "source_version"),
        quotes="file_read",
        quoted=("source_path", "dest_path"),
    ),
    Operation(
        name="file_delete",
        summary="Delete a file.",
        parameters=FileDelete,
        output=DeletedFile,
        risk=Risk.ADMIN,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("exists", "version"),
    ),
)
