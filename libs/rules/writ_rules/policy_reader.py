"""Compile a policy for a service, with little memory beyond that of the policy.

Compiled in the service itself, 10,000 rules would take 230 MB, of which 200 would stay: the text, its syntax tree and
the findings of lint are temporary, and the rules lie among them. So another process parses, checks and compiles a large
document, and returns the prepared policy (`writ_rules.prepared`). The errors are the same.
"""

import ctypes
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache, partial
from mmap import mmap
from typing import Protocol

from msgspec import MsgspecError, Struct, msgpack

from writ_contracts.operations import Catalogue
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES
from writ_documents import yaml_file
from writ_documents.document import FileErrors, FileProblem
from writ_rules.engine.compile import Policy
from writ_rules.engine.matching.literals import literals
from writ_rules.loading import Mode, compile_document
from writ_rules.prepared import policy_in, prepared
from writ_trust.digests import plain_digest

SECONDS, CPU_SECONDS = 600.0, 60
"""Limits of the process: its work is limited by processor time, since a busy machine gives it little of that."""
MOST_MEMORY = 2 << 30
"""Bytes of the process, as of the one that checked the document when it was proposed."""
SMALL = 128 << 10
"""Bytes of a document compiled here, in about the time that a process takes to begin."""
REFUSED = 3
"""The exit status of a process whose output is the document's mistakes."""
SIZE_BEFORE_PAUSE, PAUSE_SECONDS = 50_000, 0.02
CompiledPolicy = tuple[Policy, list[FileProblem]]


class RunProcess(Protocol):
    """Runs the process that calls `work`. Raises OSError and SubprocessError where it fails."""

    def __call__(self, *, given: bytes, seconds: float, statuses: Collection[int]) -> tuple[int, mmap]:
        """Return its exit status and its output."""


class CompilerJob(Struct, frozen=True, kw_only=True):
    """The standard input of the process."""

    document: bytes
    name: str
    mode: Mode
    compared: bool
    evaluators: bool


class PolicyReader:
    """Compiles documents for one catalogue and mode. It takes seconds: call it in a thread."""

    def __init__(
        self,
        catalogue: Catalogue,
        mode: Mode,
        run: RunProcess,
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        """`on_failure` receives the name of a document whose prepared form or whose process failed, and the reason.
        What it raises is raised instead of compiling the document in another way.
        """
        self._catalogue, self._mode = catalogue, mode
        self._run, self._on_failure = run, on_failure

    def __call__(self, data: bytes, name: str, *, compared: bool, known: bytes = b"") -> CompiledPolicy:
        """Return the policy in a document and its warnings. Raises FileErrors with all mistakes. `compared`: with the
        lint of rules beside each other. `known`: the document as another process has prepared it, if it has.

        A document whose prepared form is of no use, such as that of another release, is prepared again; one is compiled
        here if the process fails: a stored version has to be enforced in any case.
        """
        if len(data) > SMALL:
            beside = partial(self._compiled_beside, data, name, compared=compared)
            for attempt in (partial(self._policy_in, known, data), beside) if known else (beside,):
                try:
                    return attempt()
                except (OSError, ValueError, MsgspecError, subprocess.SubprocessError) as error:
                    self._on_failure(name, error)
        with collection_paused():
            document = yaml_file.parse(data, name, largest=MAX_DOCUMENT_BYTES)
            on_pattern = _Pauses().after
            return compile_document(document, self._catalogue, self._mode, compared=compared, on_pattern=on_pattern)

    def _compiled_beside(self, data: bytes, name: str, *, compared: bool) -> CompiledPolicy:
        job = CompilerJob(
            document=data,
            name=name,
            mode=self._mode,
            compared=compared,
            evaluators=bool(self._catalogue.evaluators),
        )
        status, output = self._run(given=msgpack.encode(job), seconds=SECONDS, statuses=(0, REFUSED))
        if status == REFUSED:
            raise FileErrors(*msgpack.decode(output, type=list[FileProblem]))
        return self._policy_in(output, data)

    def _policy_in(self, output: bytes | mmap, data: bytes) -> CompiledPolicy:
        with collection_paused():
            made = policy_in(output, plain_digest(data), self._catalogue, _Pauses().after)
            literals.cache_clear()  # what it holds lies among the rules, whose memory could never be returned
            gc.freeze()  # or the collector would scan all rules on the event loop, for 0.3 s
        return made


def work(load: Callable[[bool], Catalogue]) -> int:
    """Carry out the job on standard input, in the process: write the prepared policy, or the mistakes, to standard
    output. Return the exit status. `load` receives whether evaluators are to be loaded, too.
    """
    job = msgpack.decode(sys.stdin.buffer.read(), type=CompilerJob)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))  # nobody ends it once the service was killed
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no policy
    gc.disable()  # until its end it needs most of its objects
    status, data = 0, b""
    catalogue = load(job.evaluators)
    try:
        document = yaml_file.parse(job.document, job.name, largest=MAX_DOCUMENT_BYTES)
        made, warnings = compile_document(document, catalogue, job.mode, compared=job.compared)
        data = prepared(made, warnings, plain_digest(job.document))
    except FileErrors as errors:
        status, data = REFUSED, msgpack.encode(errors.found)
    with answer:
        answer.write(data)
    return status


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
def collection_paused() -> Iterator[None]:
    """Pause the garbage collector: a scan of a policy with 20,000 rules holds up decisions for 0.2 to 0.5 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def return_freed_memory() -> None:
    """Return what all threads freed to the kernel, once nothing but the policy is needed: up to 12 MB of each stay
    otherwise. Without malloc_trim(3), as with musl, the C library decides.
    """
    if gc.get_freeze_count():  # few objects are left to scan, and the lists of free tuples lie among the former rules
        gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Loaded once: each `CDLL` makes a class, a cycle that the freeze of the next version would keep for good."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
