"""A host without Python: the operations that systemctl and dpkg-query can do, each run as an argument vector. Nothing
is left on the host.

It keeps no marks, so a broken operation is judged by a probe alone. File operations are refused: without openat2
nothing keeps a path beneath its roots.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from writ_agent_ssh.connection.link import SshLink
from writ_agent_ssh.connection.program import SECONDS, ProgramOutput, run
from writ_agent_ssh.host_sessions.channel import ConnectionDropped, HostMessage, Progress
from writ_bus import tasks
from writ_contracts.errors import Invalid, Unreachable
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.packages import dpkg, listing
from writ_hostops.protocol import HostReply, failure, result, verdict
from writ_hostops.systemd import command, judgement
from writ_hostops.systemd.services import ANY_UNIT, name_from, verb_of
from writ_hostops.systemd.unit import JobEnd, Unit, judged, own

SERVICES = ("service_status", "service_start", "service_stop", "service_restart")
OPERATIONS = frozenset({*SERVICES, "package_list", "list_services", "list_packages"})
"""The available operations and listings."""
NO_PYTHON = "the host has no python3 (3.9 or newer)"
NEEDS_PYTHON = f"{NO_PYTHON}; without it there is only {', '.join(sorted(OPERATIONS))}"
_VERSION = re.compile(r"\d+(?:[.:+~-][0-9A-Za-z]+)*")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NO_PROGRAM, _TIMED_OUT = (126, 127), 124


class PlainSession:
    """A HostSession without Python on the host."""

    def __init__(self, link: SshLink, boot_id: str, operations: Collection[str]) -> None:
        """`operations`: those that Python would bring."""
        self._link = link
        self._lacking = {name: NO_PYTHON for name in operations if name not in OPERATIONS}
        self._running: dict[int, _Request] = {}
        self._next = 0
        self.boot_id = boot_id
        self.hello: HostMessage = {"boot_id": boot_id, "python": "", "operations": sorted(OPERATIONS)}

    @classmethod
    async def start(cls, link: SshLink, operations: Collection[str], seconds: float) -> "PlainSession":
        """Raises Unreachable; Invalid (`no_python`) where nothing else is there either."""
        ran = await run(link, ["cat", _BOOT_ID], seconds)
        if ran.status in _NO_PROGRAM:
            raise Invalid(f"{NO_PYTHON}, nor env, timeout and cat", code="no_python")
        return cls(link, ran.out.strip(), operations)

    @property
    def lost(self) -> bool:
        return self._link.lost

    @property
    def busy(self) -> bool:
        return bool(self._running)

    async def run_request(
        self, request: Mapping[str, Any], progress: Progress, secrets: Collection[str], begun: Callable[[int], None]
    ) -> HostMessage:
        """Carry out the request. Raises Invalid (`no_python`) for operations that need Python there."""
        if request["operation"] not in OPERATIONS and request["action"] != "survey":
            raise Invalid(NEEDS_PYTHON, code="no_python")
        self._next += 1
        tag, pending = self._next, _Request(self._link, self.boot_id, request, progress, self._lacking)
        self._running[tag] = pending
        begun(tag)
        try:
            return result(request["id"], await pending.ended())
        finally:
            self._running.pop(tag, None)

    async def stop(self, tag: int, grace: float) -> bool:
        """End the request by cancelling systemd's job: only the job goes on without this channel."""
        pending = self._running.get(tag)
        return pending is None or await pending.stop(grace)

    async def answers(self) -> None:
        """Return at once: each of its commands has a bound of its own."""

    async def is_silent(self) -> bool:
        """Return False: there is nothing to ping."""
        return False

    async def settle(self, operation_id: str, attempt: int, *, end: bool, grace: float = 1.0) -> HostMessage:
        """Report the request as lost: without markers nothing more is known than a probe sees."""
        return {"seen": "lost", "certain": False}

    def close(self) -> None:
        """Do nothing: its channels end with the connection."""


class _Request:
    """A running request. `_unit` is set once a job of it may be on its way to systemd."""

    def __init__(
        self, link: SshLink, boot_id: str, request: Mapping[str, Any], progress: Progress, lacking: Mapping[str, str]
    ) -> None:
        self._link, self._boot_id, self._progress, self._lacking = link, boot_id, progress, lacking
        self._action, self._operation = str(request["action"]), str(request["operation"])
        self._parameters = {key: value for key, value in request["parameters"].items() if key != "timeout"}
        self._baseline: dict[str, Any] = dict(request.get("baseline") or {})
        self._seconds = float(request["timeout"])
        self._stopped = False
        self._unit = ""
        self._work = tasks.start(self._carry_out(), "plain request")

    async def ended(self) -> HostReply:
        """Return the outcome. Raises ConnectionDropped if the connection broke after a job was sent."""
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
        try:
            return self._work.result()
        except asyncio.CancelledError:
            return failure(HostError("cancelled", "it was ended before it changed anything"))
        except HostError as error:
            return failure(error)
        except Unreachable as error:
            if self._unit:
                raise ConnectionDropped(str(error), code=error.code) from error
            return failure(HostError(error.code, str(error)))

    async def stop(self, grace: float) -> bool:
        """Return whether it has ended, with nothing of it running."""
        self._stopped = True
        if not self._unit:
            self._work.cancel()
        elif number := (await self._shown(self._unit)).job:
            await self._systemctl(command.cancel(number))
        await asyncio.wait({self._work}, timeout=grace + SECONDS)
        return self._work.done()

    async def _carry_out(self) -> HostReply:
        if self._action == "survey":
            return await self._survey()
        if self._operation == "list_services":
            units, files = [
                await self._systemctl(command.listing(which)) for which in (command.UNITS, command.UNIT_FILES)
            ]
            return _names(command.names_of(units, files))
        if self._operation in ("package_list", "list_packages"):
            return await self._packages()
        name = name_from(Fields(self._parameters, "parameters"))
        unit = own(name, await self._shown(name))
        state = judgement.state(unit, self._boot_id)
        verb = verb_of(self._operation)
        match self._action:
            case "preview":
                return judgement.would(verb, unit, self._boot_id, command.shown(verb, unit.id))
            case "probe":
                return verdict(*judgement.judge(verb, self._baseline, state), state)
            case "baseline":
                return HostReply(state=judgement.baseline(unit, self._boot_id))
            case "run" if verb != "status":
                return await self._change(verb, judged(unit, self._baseline))
            case _:
                return HostReply(output=judgement.output(unit, self._boot_id), state=state)

    async def _survey(self) -> HostReply:
        """Return the survey in the form of writ_hostops.survey."""
        versions, lacking = {}, dict(self._lacking)
        fails = dict.fromkeys(lacking, ("no_python", NEEDS_PYTHON))
        for name, program, pattern in (("systemd", "systemctl", "service_*"), ("dpkg", "dpkg-query", "package_list")):
            ran = await run(self._link, [program, "--version"])
            if found := _VERSION.search(ran.out) if ran.status == 0 else None:
                versions[name] = found[0]
            else:
                lacking[pattern] = f"{program} is missing, or does not print its version"
        if "systemd" in versions and (await self._systemctl(["is-system-running"])).out.strip() == "offline":
            lacking["service_*"] = "systemd does not run this host"
        fails.update(await self._failing(SERVICES, self._shown(ANY_UNIT)))
        fails.update(await self._failing(("package_list",), self._dpkg()))
        return HostReply(output={"versions": versions, "lacking": lacking, "fails": fails})

    async def _failing(self, names: Collection[str], first: Awaitable[object]) -> dict[str, tuple[str, str]]:
        """Return code and message of operations that cannot succeed, since their first step on the host does not."""
        try:
            await first
        except HostError as error:
            if error.code in ("unavailable", "tool_missing"):
                return dict.fromkeys(names, (error.code, error.message))
        return {}

    async def _change(self, verb: str, before: Unit) -> HostReply:
        self._progress(f"systemctl {verb} {before.id}")
        self._unit = before.id
        ran = await self._systemctl(command.job(verb, before.id), self._seconds + SECONDS)
        end = command.end_of(verb, before.id, ran.status)
        if end.result != "done" and (self._stopped or ran.status == _TIMED_OUT):
            end = JobEnd("", "cancelled" if self._stopped else "timeout")
        try:
            after = await self._shown(before.id)
            if judgement.is_watched(verb, before, after):
                await asyncio.sleep(judgement.SETTLING)
                after = await self._shown(before.id)
        except (HostError, Unreachable) as error:
            raise HostError(
                "unavailable", f"the present state of {before.id} was not read: {error}", effect="maybe"
            ) from error
        return judgement.ended(verb, before, end, after, self._boot_id)

    async def _packages(self) -> HostReply:
        pattern, upgradable = listing.parse_arguments(self._parameters)
        if upgradable:
            raise HostError("unsupported", "the list of upgrades needs Python on the host")
        ran = await self._dpkg()
        found = dpkg.packages_of(ran.status, ran.out)
        return _names(listing.well(found)) if self._operation == "list_packages" else listing.listed(found, {}, pattern)

    async def _dpkg(self) -> ProgramOutput:
        return _there("dpkg-query", await run(self._link, dpkg.query(), self._seconds))

    async def _shown(self, name: str) -> Unit:
        ran = await self._systemctl(command.show(name))
        return command.unit_of(name, ran.status, ran.out)

    async def _systemctl(self, arguments: list[str], seconds: float = SECONDS) -> ProgramOutput:
        settings = [f"{key}={value}" for key, value in command.ENVIRONMENT.items()]
        return _there("systemctl", await run(self._link, ["env", *settings, "systemctl", *arguments], seconds))


def _there(program: str, ran: ProgramOutput) -> ProgramOutput:
    if ran.status in _NO_PROGRAM:
        raise HostError("tool_missing", f"{program}, or timeout to bound it, is not installed on this host")
    return ran


def _names(names: list[str]) -> HostReply:
    return HostReply(output={"names": sorted(set(names))})
