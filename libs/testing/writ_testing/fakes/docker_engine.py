"""A Docker engine that has no containers: the part of its HTTP API that Writ uses, on a real Unix socket, with faults.

Shapes and status codes are those of Docker Engine 26.1, each compared with a real engine. Its clock is a counter.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from writ_testing.fakes.engine_containers import LateStops, listed
from writ_testing.fakes.engine_http import EngineRequest, HttpReply, leave, read_request, send_answer
from writ_testing.fakes.engine_networks import EngineNetworks
from writ_testing.fakes.engine_storage import EngineStorage, has_labels

Kind = Literal["cut", "act_and_cut", "cut_body", "hang", "act_and_hang", "half_close", "garble", "late"]
FOLDER = base64.b64encode(b'{"name":"data","mode":2147484141}').decode()
DISK_USAGE = {"LayersSize": 1_500_000_000, "Containers": [{"SizeRw": 2500}]}
INFO = {"OperatingSystem": "Fake", "Driver": "overlay2", "SecurityOptions": [], "Swarm": {"LocalNodeState": "inactive"}}
ABSENT = "0001-01-01T00:00:00Z"


@dataclass
class EngineFault:
    """The failure of matching requests, for so many of them."""

    method: str
    path: str
    kind: Kind | int
    times: int = 1
    message: str = "a made-up failure"


@dataclass
class FakeEngine(EngineNetworks, EngineStorage, LateStops):
    """`containers` by id, as inspect shows them; `requests`: each request, as `METHOD /path`.

    `exits` and `health`: how containers are once started, those of the image `ill` or all. `breaks`: the fault of the
    changing request of that number (from 1), and `broken` is set when it comes; `after_change`: faults once a change
    was carried out; `delay`: seconds before each answer; `go_on`: a request that is `late` waits for it, and is then
    carried out, also where its client has left.
    """

    socket: Path = Path()
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[EngineFault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pulls: list[str] = field(default_factory=list)
    breaks: tuple[int, Kind | int] | None = None
    after_change: list[EngineFault] = field(default_factory=list)
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = 0.0
    logs: str = ""
    exits: int | None = None
    health: str = ""
    ill: str = ""
    api: str = "1.45"
    more_info: dict[str, Any] = field(default_factory=dict)
    more_version: dict[str, Any] = field(default_factory=dict)
    clock: int = 0
    _server: asyncio.Server | None = None
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        """Stop like a killed daemon: every connection ends, and the port is closed."""
        if self._server is not None:
            for listening in self._server.sockets:  # closed while it accepts a connection, it would leave that one open
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(5):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        self._cut()
        self.socket.unlink(missing_ok=True)
        await asyncio.sleep(0)  # transports end in the next turn of the loop

    def _cut(self) -> None:
        for writer in list(self._connections):
            writer.transport.abort()

    async def restart(self) -> None:
        """Restart as if killed: containers without a restart policy have ended. The socket stays, like systemd's."""
        self._cut()
        for one in self.containers.values():
            policy = (one["HostConfig"].get("RestartPolicy") or {}).get("Name")
            if one["State"]["Running"] and policy not in ("always", "unless-stopped"):
                one["State"] |= {"Status": "exited", "Running": False, "ExitCode": 143}

    @property
    def changes(self) -> list[str]:
        """Return the requests that could change something."""
        return [one for one in self.requests if not one.startswith(("GET ", "HEAD "))]

    def fail(
        self, method: str, path: str, kind: Kind | int, times: int = 1, message: str = "a made-up failure"
    ) -> None:
        """Make the next `times` requests whose path matches the expression fail in this way."""
        self.faults.append(EngineFault(method, path, kind, times, message))

    def named(self, name: str) -> dict[str, Any] | None:
        """Return the container of this name, or None."""
        return next((one for one in self.containers.values() if one["Name"] == f"/{name}"), None)

    def put(self, name: str, *, running: bool = False, **config: Any) -> dict[str, Any]:
        """Add a container that exists already, and return it."""
        body = {"Image": "box:1", "HostConfig": {}, **config}
        container = self._new(name, body)
        if running:
            self._run(container)
        return container

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while (request := await read_request(reader)) is not None:
                if not await self._respond(request, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _respond(
        self, request: EngineRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Reply to one request. Return whether the connection goes on."""
        self.requests.append(f"{request.method} {request.path}")
        number = len(self.changes)
        await asyncio.sleep(self.delay)
        fault = self._fault(request, number)
        kind = fault.kind if fault else ""
        if isinstance(kind, int):
            await send_answer(writer, HttpReply(kind, {"message": fault.message if fault else ""}))
            return True
        if kind in ("cut", "hang"):
            self.keep_stop(request, self.containers)
            return await leave(reader, kind == "hang")
        if kind == "late":
            await self.go_on.wait()
        answer = self._handle(request)
        if request.method not in ("GET", "HEAD"):
            self.faults += self.after_change
        if kind in ("act_and_cut", "act_and_hang"):
            return await leave(reader, kind == "act_and_hang")
        if kind == "garble":
            answer = HttpReply(200, raw=b"<html>no JSON</html>")
        await send_answer(writer, answer, cut=kind == "cut_body", half=kind == "half_close")
        if answer.hangs:
            self.pulls.append(request.query["fromImage"])
            try:
                await reader.read()
            finally:
                self.pulls.remove(request.query["fromImage"])
        return not (answer.hangs or kind in ("cut_body", "half_close"))

    def _fault(self, request: EngineRequest, number: int) -> EngineFault | None:
        """Return the fault that this request meets. `number`: of changing requests so far, this one included."""
        if self.breaks is not None and request.method not in ("GET", "HEAD") and number == self.breaks[0]:
            self.broken.set()
            return EngineFault(request.method, request.path, self.breaks[1])
        for fault in self.faults:
            if fault.times > 0 and fault.method == request.method and re.search(fault.path, request.path):
                fault.times -= 1
                return fault
        return None

    def _handle(self, request: EngineRequest) -> HttpReply:
        for method, pattern, handler in self._routes():
            match = re.fullmatch(pattern, request.path)
            if method == request.method and match is not None:
                return handler(request, *match.groups())
        return HttpReply(404, {"message": "page not found"})

    def _routes(self) -> list[tuple[str, str, Callable[..., HttpReply]]]:
        one = r"/containers/([^/]+)"
        return [
            ("HEAD", "/_ping", self._ping),
            ("GET", "/_ping", self._ping),
            ("GET", "/version", self._version),
            ("GET", "/info", lambda _: HttpReply(200, {**INFO, **self.more_info})),
            ("GET", "/system/df", lambda _: HttpReply(200, DISK_USAGE)),
            ("GET", "/containers/json", self._list),
            ("POST", "/containers/create", self._create),
            ("GET", one + "/json", self._inspect),
            ("GET", one + "/logs", self._logs),
            ("POST", one + "/start", self._start),
            ("POST", one + "/stop", self._stop),
            ("POST", one + "/restart", self._restart),
            ("POST", one + "/rename", self._rename),
            ("DELETE", one, self._delete),
            ("POST", one + "/pause", lambda _, name: self._paused(name, "paused")),
            ("POST", one + "/unpause", lambda _, name: self._paused(name, "running")),
            ("HEAD", one + "/archive", lambda *_: HttpReply(200, headers={"X-Docker-Container-Path-Stat": FOLDER})),
            ("GET", one + "/archive", self._archive),
            ("PUT", one + "/archive", self._extract),
            ("POST", "/commit", self._commit),
            *self.storage_routes(),
            *self.network_routes(),
        ]

    def _ping(self, request: EngineRequest) -> HttpReply:
        return HttpReply(200, headers={"Api-Version": self.api, "Ostype": "linux"})

    def _version(self, request: EngineRequest) -> HttpReply:
        return HttpReply(200, {"Version": "26.1.5", "ApiVersion": self.api} | self.more_version)

    def _list(self, request: EngineRequest) -> HttpReply:
        found = [one for one in self.containers.values() if has_labels(request, one["Config"]["Labels"])]
        return HttpReply(200, [listed(one) for one in found])

    def _create(self, request: EngineRequest) -> HttpReply:
        if self.named(request.query["name"]) is not None:
            return HttpReply(409, {"message": f'Conflict. The container name "/{request.query["name"]}" is in use'})
        if self.image(request.body["Image"]) is None:
            return HttpReply(404, {"message": f"No such image: {request.body['Image']}"})
        return HttpReply(201, {"Id": self._new(request.query["name"], request.body)["Id"], "Warnings": []})

    def _new(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self.clock += 1
        container = {
            "Id": f"{self.clock:064x}",
            "Name": f"/{name}",
            "Created": self._now(),
            "Image": (self.image(body["Image"]) or {}).get("Id", "sha256:" + "0" * 64),
            "State": {"Status": "created", "Running": False, "StartedAt": ABSENT, "ExitCode": 0},
            "Config": {**body, "Labels": body.get("Labels") or {}, "Tty": False},
            "HostConfig": body["HostConfig"],
            "Mounts": self.mounted(body["HostConfig"]),
            "NetworkSettings": {"Networks": {body["HostConfig"].get("NetworkMode", "bridge"): {}}},
        }
        self.containers[str(container["Id"])] = container
        return container

    def _inspect(self, request: EngineRequest, name: str) -> HttpReply:
        return self._with(name, lambda one: HttpReply(200, one))

    def _logs(self, request: EngineRequest, name: str) -> HttpReply:
        text = self.logs.encode()
        return self._with(name, lambda _: HttpReply(200, raw=b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text))

    def _start(self, request: EngineRequest, name: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            if one["State"]["Running"]:
                return HttpReply(304)
            self._run(one)
            return HttpReply(204)

        return self._with(name, act)

    def _stop(self, request: EngineRequest, name: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            if not one["State"]["Running"]:
                return HttpReply(304)
            self._exit(one, 143)
            return HttpReply(204)

        return self._with(name, act)

    def _restart(self, request: EngineRequest, name: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            self._run(one)
            return HttpReply(204)

        return self._with(name, act)

    def _delete(self, request: EngineRequest, name: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            if one["State"]["Running"] and request.query.get("force") != "1":
                return HttpReply(409, {"message": "cannot remove container: container is running"})
            del self.containers[one["Id"]]
            self.remove_anonymous(request, one["Mounts"])
            return HttpReply(204)

        return self._with(name, act)

    def _rename(self, request: EngineRequest, name: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            if self.named(request.query["name"]) is not None:
                return HttpReply(409, {"message": f'Conflict. The container name "/{request.query["name"]}" is in use'})
            one["Name"] = f"/{request.query['name']}"
            return HttpReply(204)

        return self._with(name, act)

    def _paused(self, name: str, state: str) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            one["State"]["Status"] = state
            return HttpReply(204)

        return self._with(name, act)

    def _archive(self, request: EngineRequest, name: str) -> HttpReply:
        return self._with(name, lambda one: self.read_files(one["Mounts"], request.query["path"]))

    def _extract(self, request: EngineRequest, name: str) -> HttpReply:
        return self._with(name, lambda one: self.write_files(one["Mounts"], request.query["path"], request.body))

    def _commit(self, request: EngineRequest) -> HttpReply:
        def act(one: dict[str, Any]) -> HttpReply:
            reference = f"{request.query['repo']}:{request.query['tag']}"
            self.add_image(reference, **request.body)
            self.images[reference]["RepoTags"] = [self.committed_below + reference]
            return HttpReply(201, {"Id": self.images[reference]["Id"]})

        return self._with(request.query["container"], act)

    def _run(self, one: dict[str, Any]) -> None:
        self.clock += 1
        one["State"] = {"Status": "running", "Running": True, "StartedAt": self._now(), "ExitCode": 0}
        if self.ill not in ("", one["Config"]["Image"]):
            return
        if self.health:
            one["State"]["Health"] = {"Status": self.health}
        if self.exits is not None:
            self._exit(one, self.exits)

    def _exit(self, one: dict[str, Any], code: int) -> None:
        one["State"] |= {"Status": "exited", "Running": False, "ExitCode": code}
        if one["HostConfig"].get("AutoRemove"):
            del self.containers[one["Id"]]

    def _with(self, name: str, act: Callable[[dict[str, Any]], HttpReply]) -> HttpReply:
        """Reply with what `act` does to a container, found by id, by name, or by the beginning of an id."""
        ids = [one for one in self.containers if one.startswith(name)]
        found = self.containers.get(name) or self.named(name) or (self.containers[ids[0]] if len(ids) == 1 else None)
        return act(found) if found else HttpReply(404, {"message": f"No such container: {name}"})

    def _now(self) -> str:
        return f"2026-01-01T00:{self.clock // 60:02d}:{self.clock % 60:02d}.123456789Z"


@asynccontextmanager
async def fake_engine(socket: Path) -> AsyncIterator[FakeEngine]:
    """Yield a listening engine that has the image `box:1`."""
    engine = FakeEngine(socket=socket)
    engine.add_image("box:1")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
