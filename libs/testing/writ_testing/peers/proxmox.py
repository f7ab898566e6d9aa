"""The API of Proxmox VE on loopback, by fakepve in a thread of its own, with its gaps patched and faults on demand.

Patched: tasks can be stopped; a backup appears in its storage with its notes and can be restored; vzdump does nothing
for a guest of another node; the manager for high availability takes requests for its guests; errors are in the reason
phrase alone, as on a real PVE; a token that is not known is refused in Proxmox' own words.
"""

import asyncio
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakepve import FakeCt, FakePve, FakeVm, PveError, TaskError, settle
from fakepve.certs import make_cert
from fakepve.server import GENERIC, USER, ok, params, web
from msgspec import Struct

from writ_contracts.inventory import Target

OWNER, TOKEN, SECRET = "writ@pve", "agent", "0badc0de-cafe-4bad-8f00-d0d0cacac0de"
START_SECONDS = 30.0
MEBIBYTE = 1024 * 1024


class ProxmoxFault(Struct):
    """After a call whose path ends with `suffix` was carried out, this reply takes the place of the true one; `skip`
    such calls are left alone before.
    """

    method: str
    suffix: str
    status: int
    text: str = ""
    times: int = 1
    skip: int = 0


class PatchedPve(FakePve):  # type: ignore[misc]
    """fakepve, closer to a real PVE where tests need it."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.1", port=0)
        self.apitokens[f"{OWNER}!{TOKEN}"] = SECRET
        self.faults: list[ProxmoxFault] = []
        self.exits: dict[str, str] = {}
        self.managed = set[int]()
        """Guests under high availability, whose state the test changes."""
        self.deaf_tasks = set[str]()
        """Kinds of tasks that a stop does not end."""
        self.unknown = Counter[str]()
        self.unknown_for = 0
        self.dump_seconds = 0.0
        self._bodies: dict[str, asyncio.Future[Any]] = {}

    async def task(self, node: str, kind: str, ident: object, user: str, body: Any, **more: Any) -> str:
        """Start a task that can be stopped, and may end as `exits` says for its kind."""
        held: list[asyncio.Future[Any]] = []

        async def stoppable() -> Any:
            held.append(asyncio.ensure_future(body()))
            try:
                note = await held[0]
            except asyncio.CancelledError:
                raise TaskError("received interrupt") from None
            if kind in self.exits:
                raise TaskError(self.exits[kind])
            return note

        upid = str(await super().task(node, kind, ident, user, stoppable, **more))
        await asyncio.sleep(0)
        if held:
            self._bodies[upid] = held[0]
        return upid

    def end_tasks(self) -> None:
        """End all tasks, also those that a stop does not end."""
        for body in self._bodies.values():
            body.cancel()
        self._bodies.clear()

    def _get_task(self, request: Any) -> Any:
        upid = request.match_info["upid"]
        self.unknown[upid] += 1
        if self.unknown[upid] <= self.unknown_for:
            raise PveError(500, "no such task")
        return super()._get_task(request)

    def _authenticate(self, request: Any) -> Any:
        try:
            return super()._authenticate(request)
        except PveError as error:
            raise PveError(401, "invalid token value!") from error

    async def _status_action(self, request: Any) -> Any:
        action, vmid = request.match_info["action"], int(request.match_info["vmid"])
        if vmid not in self.managed or action == "reboot":
            return await super()._status_action(request)
        kind = "hastart" if action == "start" else "hastop"
        return ok(await self.task(request.match_info["node"], kind, vmid, request[USER], _noted))

    async def _generic(self, request: Any) -> Any:
        template = request[GENERIC].template if request[GENERIC] else ""
        if (request.method, template) == ("DELETE", "/nodes/{node}/tasks/{upid}"):
            upid = request[GENERIC].params["upid"]
            if (body := self._bodies.get(upid)) is not None and self.tasks[upid]["type"] not in self.deaf_tasks:
                body.cancel()
            return ok()
        if (request.method, template) == ("POST", "/nodes/{node}/vzdump"):
            return ok(await self._vzdump(request[GENERIC].params["node"], await params(request), request[USER]))
        if (request.method, template) == ("POST", "/nodes/{node}/qemu/{vmid}/migrate"):
            guest = self.find(request[GENERIC].params["node"], request[GENERIC].params["vmid"])
            return ok(await self._migrate(guest, (await params(request))["target"], request[USER]))
        if (request.method, template) == ("PUT", "/nodes/{node}/qemu/{vmid}/resize"):
            guest = self.find(request[GENERIC].params["node"], request[GENERIC].params["vmid"])
            return ok(await self._resize(guest, await params(request), request[USER]))
        return await super()._generic(request)

    async def _qm_create(self, parameters: dict[str, Any], user: str) -> Any:
        """Create a guest; fakepve has no restore from an archive."""
        if not parameters.get("archive"):
            return await super()._qm_create(parameters, user)
        storage, _, volume = str(parameters["archive"]).partition(":")
        saved, vmid, former = self.storages[storage]["volumes"][volume]["saved"], int(parameters["vmid"]), None
        if (former := self.vm(vmid)) is not None and not parameters.get("force"):
            raise PveError(500, f"unable to restore VM {vmid} - VM {vmid} already exists")

        async def body() -> None:
            if former is not None:
                self.vms.remove(former)
            name = parameters.get("name") or saved["name"]
            self.add_vm(vmid, name, node=parameters["node"], config={**saved, "name": name})

        return await self.task(parameters["node"], "qmrestore", vmid, user, body)

    async def _migrate(self, guest: Any, target: str, user: str) -> str:
        async def body() -> str:
            guest.node = target
            return "migration finished successfully"

        if guest.vmid in self.managed:
            return await self.task(guest.node, "hamigrate", guest.vmid, user, _noted)
        return await self.task(guest.node, "qmigrate", guest.vmid, user, body)

    async def _resize(self, guest: Any, parameters: dict[str, Any], user: str) -> str:
        async def body() -> None:
            volume = str(guest.config[parameters["disk"]]).partition(",size=")[0]
            guest.config[parameters["disk"]] = f"{volume},size={parameters['size']}"

        return await self.task(guest.node, "resize", guest.vmid, user, body)

    async def _vzdump(self, node: str, parameters: dict[str, Any], user: str) -> str:
        guest = self.guest(int(parameters["vmid"]))
        if guest.node != node:
            return "OK"  # PVE::API2::VZDump: "silent exit if specified VMs run on other nodes"
        container = isinstance(guest, FakeCt)
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime())
        name = f"vzdump-{'lxc' if container else 'qemu'}-{guest.vmid}-{stamp}.{'tar' if container else 'vma'}.zst"

        async def body() -> str:
            if guest.config.get("lock") or getattr(guest, "lock", None):
                raise TaskError("VM is locked (snapshot)")
            await self.pause(self.dump_seconds)
            self.store_file(parameters["storage"], name, MEBIBYTE, "backup")
            volume = self.storages[parameters["storage"]]["volumes"][f"backup/{name}"]
            volume |= {"vmid": guest.vmid, "notes": parameters.get("notes-template", ""), "saved": dict(guest.config)}
            return "INFO: 100% done"

        return await self.task(node, "vzdump", guest.vmid, user, body)

    async def _answer(self, request: Any, handler: Any, generic: Any, path_node: Any) -> Any:
        response = await super()._answer(request, handler, generic, path_node)
        for fault in self.faults:
            if fault.times and request.method == fault.method and request.path.endswith(fault.suffix):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return web.Response(status=fault.status, text=fault.text, content_type="application/json")
        if response.status >= 400:
            return web.json_response({"data": None}, status=response.status, reason=response.reason)
        return response


async def _noted() -> None:
    """Do nothing: the task of a managed guest ends once the manager knows the request."""


class Proxmox:
    """One server. `pve` is changed by `do`, on the server's own thread."""

    def __init__(self, folder: Path) -> None:
        self.pve, self.folder = PatchedPve(), folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir(mode=0o700)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.certificate = ""
        self.fingerprint = ""

    def start(self, name: str = "pve") -> None:
        """Listen with a new certificate; on the port from before, if there was one."""
        certificate, key, der = make_cert(str(self.folder), name)
        self.certificate = Path(certificate).read_text()
        digest = hashlib.sha256(der).hexdigest().upper()
        self.fingerprint = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
        self.run(self.pve.start(certificate, key))

    def stop(self) -> None:
        self.run(_stopped(self.pve))

    def close(self) -> None:
        self.run(settle())
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the server's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    def do(self, change: Callable[[PatchedPve], Any]) -> Any:
        """Call something on the server's thread."""

        async def called() -> Any:
            return change(self.pve)

        return self.run(called())

    def connection(self, **more: Any) -> dict[str, Any]:
        """Return the connection as an inventory has it."""
        return {"host": "127.0.0.1", "port": self.pve.port, "fingerprint": self.fingerprint, **more}

    def target(
        self, name: str = "pve", *, token: str = "", connection: dict[str, Any] | None = None, **more: Any
    ) -> Target:
        """Return a target on this server, with a token of its own."""
        path = self.tokens / name
        path.write_text(token or f"{OWNER}!{TOKEN}={SECRET}\n")
        path.chmod(0o600)
        more.setdefault("backup", {"storage": "local"})
        return Target(id=name, role="testing", backend="proxmox", connection=connection or self.connection(), **more)

    def vm(self, vmid: int, name: str, **more: Any) -> Any:
        """Add a virtual machine."""
        more.setdefault("config", {"scsi0": f"local-lvm:vm-{vmid}-disk-0,size=8G", "net0": "virtio,bridge=vmbr0"})
        return self.do(lambda pve: pve.add_vm(vmid, name, **more))

    def container(self, vmid: int, name: str, **more: Any) -> Any:
        def add(pve: PatchedPve) -> Any:
            pve.cts.append(FakeCt(vmid, name, **more))
            return pve.cts[-1]

        return self.do(add)

    def calls(self, method: str, suffix: str) -> int:
        """Return how many requests of this kind came."""
        return sum(one[0] == method and one[1].endswith(suffix) for one in list(self.pve.requests))


async def _stopped(pve: PatchedPve) -> None:
    """Stop the server. Clients are cut off first: TLS would wait for their close_notify longer than the loop lives."""
    for connection in list(pve.runner.server.connections) if pve.runner else ():
        if connection.transport is not None:
            connection.transport.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    await pve.stop()


@contextmanager
def proxmox(folder: Path) -> Iterator[Proxmox]:
    """Yield a listening server with one node `pve1`."""
    server = Proxmox(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


__all__ = ["FakeVm", "Proxmox", "ProxmoxFault", "proxmox"]
