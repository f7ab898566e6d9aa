"""A scanner: firmware with a known weakness. It runs in `writ scan run`, as the reporting principal."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.policy.facts import Finding
from writ_contracts.scanners import Scanner
from writ_router.api import RouterApi

WEAK = {"1.0": "an old resolver"}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The router's address, and the file with its token."""

    url: str
    token_file: str


def _scan(_: str, options: Options) -> Sequence[Finding]:
    try:
        token = Path(options.token_file).read_text().strip()
    except OSError as error:
        raise Invalid(f"token_file {options.token_file!r} cannot be read: {error.strerror}") from error
    version = asyncio.run(RouterApi(options.url, token).call("GET", "status"))["version"]
    if version not in WEAK:
        return []
    return [Finding(id=f"firmware-{version}", severity="high", found_at=time.time(), title=WEAK[version])]


SCANNER = Scanner(scan=_scan, options=Options, summary="firmware with a known weakness")
