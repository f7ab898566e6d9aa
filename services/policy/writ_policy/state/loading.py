"""Read the policy service's files, with digests of exactly the bytes read."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES, packed, unpacked
from writ_documents import yaml_file
from writ_rules.engine.compile import Policy
from writ_rules.loading import Mode
from writ_rules.policy_reader import PolicyReader
from writ_runtime.files.watched_file import refusal
from writ_runtime.logs import Log
from writ_runtime.short_process import run_once

Value = TypeVar("Value")
ATTEMPTS = 5

_log = Log("writ.policy")


class LoadedFile(Struct, Generic[Value], frozen=True):
    value: Value
    digest: str


def _note_failure(name: str, error: Exception) -> None:
    _log.warning("policy.not_prepared", name=name, reason=str(error))


class FileReading(Struct, frozen=True):
    """The present content of the policy file, or the reason why it is not usable."""

    packed: bytes = b""
    digest: str = ""
    error: ConfigError | None = None

    @property
    def text(self) -> str:
        """Return the content. It is kept compressed: it is needed once, to store it as a version."""
        return unpacked(self.packed)


class Compiler:
    """Compiles documents to policies for one catalogue and mode. The last result is cached, since a file is compiled
    first to check it and then as a version. The other way round it is compiled again, for the lint that is missing.
    """

    def __init__(self, catalogue: Catalogue, mode: Mode) -> None:
        self.mode = mode
        self._read = PolicyReader(catalogue, mode, partial(run_once, "writ_policy.compiler_process"), _note_failure)
        self._last: tuple[str, bool, Policy] | None = None

    def __call__(self, text: str, name: str, *, compared: bool = False, known: bytes = b"") -> Policy:
        """Return the policy, and log warnings. Raises FileErrors with all mistakes, and ConfigError for a defect of the
        loader. `compared`: also with the lint of rules beside each other, which a stored version passed before.
        `known`: the document as the process that checked it has prepared it.
        """
        last, data = self._last, text.encode(errors="surrogateescape")
        digest = hashlib.sha256(data).hexdigest()
        if last is not None and last[0] == digest and (last[1] or not compared):
            return last[2]
        try:
            policy = self._compiled(data, name, compared=compared, known=known)
        except Exception as error:
            raise refusal(error, name) from error
        self._last = (digest, compared, policy)
        return policy

    def _compiled(self, data: bytes, name: str, *, compared: bool, known: bytes) -> Policy:
        policy, warnings = self._read(data, name, compared=compared, known=known)
        for problem in warnings:
            _log.warning("policy.lint", finding=str(problem))
        _log.info("policy.loaded", source=name, name=policy.name, rules=policy.rules)
        return policy

    def read(self, path: Path) -> FileReading:
        """Read the policy file and compile it to find its mistakes. Never raises."""
        try:
            data = yaml_file.content(path, largest=MAX_DOCUMENT_BYTES)
            text = data.decode(errors="surrogateescape")
            self(text, str(path), compared=True)
        except Exception as raised:  # noqa: BLE001 - as of every watched file: the last good version decides
            error = refusal(raised, str(path))
            _log.error("file.refused", path=str(path), error=str(error), effect="the last good version stays")
            return FileReading(error=error)
        return FileReading(packed(text), hashlib.sha256(data).hexdigest())


def with_digest(read: Callable[[Path], Value]) -> Callable[[Path], LoadedFile[Value]]:
    """Return a reader that also returns the digest. It reads again if the file changed meanwhile. Raises
    ConfigError.
    """

    def exactly(path: Path) -> LoadedFile[Value]:
        for _ in range(ATTEMPTS):
            before = _digest(path)
            value = read(path)
            if _digest(path) == before:
                return LoadedFile(value, before)
        raise ConfigError(f"{path}: changes faster than it can be read")

    return exactly


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
