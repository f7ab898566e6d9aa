"""Test operations, in the form of a plugin's: they do next to nothing, and their effects can be counted.

`handlers` carries them out. Every service of an installation with this package knows them; production lacks it.
"""

from typing import Annotated, Literal

from msgspec import Meta

from writ_contracts.backends import EVERY
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

BACKENDS = (*EVERY, "fake")
Path = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00\n]+(?!\n)$"), PUBLIC]
Delay = Annotated[float, Meta(ge=0, le=600), PUBLIC]


class Noop(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class Count(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The counted file, and the seconds before it counts."""

    path: Path
    delay: Delay = 0.0
    timeout: Annotated[Timeout, Meta(le=600)] = 60


class Sleep(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Duration and number of processes; `stubborn` ones ignore SIGTERM and leave their session."""

    seconds: Delay = 60.0
    processes: Annotated[int, Meta(ge=0, le=20), PUBLIC] = 3
    stubborn: Annotated[bool, PUBLIC] = False
    timeout: Annotated[Timeout, Meta(le=600)] = 120


class Keep(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that must be found nowhere afterwards."""

    secret: Annotated[str, Meta(max_length=100_000)]
    label: Annotated[str, Meta(max_length=200), PUBLIC] = ""
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class Fail(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kind of failure: refused before any effect, a defect, or an unknown effect."""

    how: Annotated[Literal["refused", "defect", "unknown"], PUBLIC] = "refused"
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class EmptyOutput(Output, frozen=True, kw_only=True):
    pass


class CountOutput(Output, frozen=True, kw_only=True):
    """The present number of lines in the file."""

    lines: Annotated[int, PUBLIC] = 0


class KeepOutput(Output, frozen=True, kw_only=True):
    """`echo` repeats the secret; `digest` is its SHA-256."""

    digest: Annotated[str, PUBLIC] = ""
    echo: str = ""


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="test_noop",
        summary="Do nothing.",
        parameters=Noop,
        output=EmptyOutput,
        risk=Risk.READ,
        backends=BACKENDS,
        idempotent=True,
    ),
    Operation(
        name="test_count",
        summary="Append this operation's id to a file.",
        parameters=Count,
        output=CountOutput,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="test_sleep",
        summary="Start a tree of processes that sleep.",
        parameters=Sleep,
        output=EmptyOutput,
        risk=Risk.CHANGE,
        backends=BACKENDS,
    ),
    Operation(
        name="test_secret",
        summary="Take a secret, and give it back in the full output.",
        parameters=Keep,
        output=KeepOutput,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        idempotent=True,
    ),
    Operation(
        name="test_fail",
        summary="Fail.",
        parameters=Fail,
        output=EmptyOutput,
        risk=Risk.CHANGE,
        backends=BACKENDS,
    ),
)
