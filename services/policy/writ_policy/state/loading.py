"""Read the policy service's files, with digests of exactly the bytes read."""

import gc
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from writ_contracts.errors import ConfigError
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES
from writ_documents import yaml_file
from writ_rules.engine.compile import Policy
from writ_rules.engine.people import People
from writ_rules.lint.installation_lint import lint_with
from writ_rules.loading import Mode, compile_document
from writ_runtime.files.watched_file import refusal
from writ_runtime.logs import Log

Value = TypeVar("Value")
ATTEMPTS = 5
MOST_WARNINGS = 50
SIZE_BEFORE_PAUSE, PAUSE_SECONDS = 50_000, 0.02

_log = Log("writ.policy")


class LoadedFile(Struct, Generic[Value], frozen=True):
    value: Value
    digest: str


class FileReading(Struct, frozen=True):
    """The present content of the policy file, or the reason why it is not usable."""

    text: str = ""
    digest: str = ""
    error: ConfigError | None = None


class Compiler:
    """Compiles documents to policies for one catalogue and mode. The last result is cached, since a file is compiled
    first to check it and then as a version. The other way round it is compiled again, for the lint that is missing.
    """

    def __init__(self, catalogue: Catalogue, mode: Mode) -> None:
        self.mode = mode
        self._catalogue = catalogue
        self._last: tuple[str, bool, Policy] | None = None

    def __call__(self, text: str, name: str, *, compared: bool = False) -> Policy:
        """Return the policy, and log warnings. Raises FileErrors with all mistakes, and ConfigError for a defect of the
        loader. `compared`: also with the lint of rules beside each other, which a stored version passed before.
        """
        last = self._last
        if last is not None and last[0] == text and (last[1] or not compared):
            return last[2]
        try:
            with _collection_paused():
                policy = self._compiled(text, name, compared=compared)
        except Exception as error:
            raise refusal(error, name) from error
        self._last = (text, compared, policy)
        return policy

    def _compiled(self, text: str, name: str, *, compared: bool) -> Policy:
        document = yaml_file.parse(text.encode(errors="surrogateescape"), name, largest=MAX_DOCUMENT_BYTES)
        policy, warnings = compile_document(
            document, self._catalogue, self.mode, compared=compared, on_pattern=_Pauses().after
        )
        for problem in warnings:
            _log.warning("policy.lint", finding=str(problem))
        _log.info("policy.loaded", source=name, name=policy.name, rules=policy.rules)
        return policy

    def warn(self, policy: Policy, targets: Iterable[Target], principals: Iterable[Principal], people: People) -> None:
        """Log names in the policy that are missing in these lists. They do not prevent decisions."""
        findings = lint_with(policy.file, self._catalogue, targets=targets, principals=principals, people=people)
        for finding in findings[:MOST_WARNINGS]:
            place = ".".join(map(str, finding.keys))
            _log.warning("policy.lint", finding=f"{place}: {finding.message}")
        if len(findings) > MOST_WARNINGS:
            _log.warning(
                "policy.lint", finding=f"and {len(findings) - MOST_WARNINGS} more: writ policy validate lists all"
            )

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
        return FileReading(text, hashlib.sha256(data).hexdigest())


class _Pauses:
    """Pauses of a thread that compiles patterns. RE2 holds the interpreter lock, up to 0.3 s for the largest pattern,
    and a decision needs several turns of the event loop: without pauses it waits for one pattern in each turn.
    """

    def __init__(self) -> None:
        self._size = 0

    def after(self, size: int) -> None:
        """Pause if the patterns since the last pause were large."""
        self._size += size
        if self._size >= SIZE_BEFORE_PAUSE:
            self._size = 0
            time.sleep(PAUSE_SECONDS)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pause the garbage collector: a scan of a policy with 20,000 rules holds up decisions for 0.2 to 0.5 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
