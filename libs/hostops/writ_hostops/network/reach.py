"""network_test: try several times to reach a host. An unreachable host is an answer and no failure."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.network import connect_attempts
from writ_hostops.network.resolve import Address, check_host, resolved
from writ_hostops.protocol import HostReply, OperationCall

MOST_TRIES = 20
_PAUSE = 0.2
_LONGEST_TRY = 5.0
_HTTP_PORT = 80
_TRY = {"icmp": connect_attempts.icmp, "tcp": connect_attempts.tcp, "http": connect_attempts.http}


def run(call: OperationCall) -> HostReply:
    """Try `count` times, one after the other. `dns` resolves the name by the host's own resolver."""
    fields = Fields(dict(call.parameters), "parameters")
    host, protocol = fields.text("host"), fields.choice("protocol", ("icmp", "tcp", "dns", "http"), "icmp")
    port, count = fields.integer("port", 0, 0, 65535), fields.integer("count", 3, 1, MOST_TRIES)
    fields.end()
    check_host(host)
    if protocol == "tcp" and not port:
        raise fields.wrong("port", "is needed for protocol tcp")
    if protocol in ("icmp", "dns") and port:
        raise fields.wrong("port", f"has no meaning for protocol {protocol}")
    test = _ReachTest(call, host, count)
    if protocol == "dns":
        test.resolve()
    else:
        test.reach(protocol, port or _HTTP_PORT)
    return HostReply(output=test.output())


class _ReachTest:
    """Counts the tries and times the answers."""

    def __init__(self, call: OperationCall, host: str, count: int) -> None:
        self._call, self._host, self._count = call, host, count
        # The remaining time is spread over the tries, so that all of them are made.
        self._seconds = min(_LONGEST_TRY, max(0.1, call.stop.remaining() * 0.8 / count - _PAUSE))
        self._address: Optional[Address] = None
        self._sent = 0
        self._times: List[float] = []
        self._detail = ""

    def resolve(self) -> None:
        for _ in range(self._count):
            self._timed(self._resolve_once)

    def reach(self, protocol: str, port: int) -> None:
        """Resolve the name once, then try its first address."""
        try:
            self._resolve_once()
        except HostError as error:
            if error.code != "not_found":
                raise
            self._detail = error.message
            return
        for _ in range(self._count):
            self._timed(lambda: self._reach(protocol, port))

    def output(self) -> Dict[str, Any]:
        """See NetworkTested in the catalogue."""
        times = [round(seconds * 1000, 3) for seconds in self._times]
        return {
            "host": self._host,
            "address": self._address[1] if self._address else "",
            "reachable": bool(times),
            "sent": self._sent,
            "received": len(times),
            "fastest_ms": min(times) if times else None,
            "average_ms": round(sum(times) / len(times), 3) if times else None,
            "slowest_ms": max(times) if times else None,
            "detail": self._detail,
        }

    def _resolve_once(self) -> None:
        self._address = resolved(self._host, self._call.stop, self._seconds)[0]

    def _reach(self, protocol: str, port: int) -> None:
        if self._address is not None:
            word = _TRY[protocol](self._address, port, self._host, self._call.stop, self._seconds)
            self._detail = word or self._detail

    def _timed(self, attempt: Callable[[], None]) -> None:
        if self._sent:
            self._call.stop.wait(_PAUSE)
        self._sent += 1
        began = time.monotonic()
        try:
            attempt()
        except (OSError, HostError) as error:
            if isinstance(error, HostError) and error.code != "not_found":
                raise
            self._detail = error.message if isinstance(error, HostError) else str(error)
        else:
            self._times.append(time.monotonic() - began)
        self._call.progress(f"{len(self._times)} of {self._sent} tries answered")
