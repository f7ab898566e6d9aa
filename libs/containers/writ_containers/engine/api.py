"""One engine over its HTTP API: the only importer of aiodocker, and about a dozen calls of it.

It avoids these traps of aiodocker 0.27: without `url` the library reads DOCKER_HOST and `~/.docker`; without
`api_version` it negotiates; its pool of 100 makes an inspect wait behind 100 open streams; its session follows
redirects and reads replies of any size, and its logs are read as a whole; it puts names into URLs without quoting them.
So a name is looked up once (its grammar has no character special in a URL), and ids are used from then on.
"""

import asyncio
import base64
import json
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from writ_agent.backends.silence_watch import SharedPing
from writ_containers.engine import reply_shapes as shapes
from writ_containers.engine.connection import EngineAddress
from writ_containers.engine.disk_usage import DiskUsage, disk_usage
from writ_containers.engine.endpoint import Endpoint, connector, url
from writ_containers.engine.engine_errors import translated, translated_delete
from writ_containers.engine.http_client import aiodocker, aiohttp
from writ_containers.engine.late_effects import AnsweredProbes
from writ_containers.engine.log_end import LogEnd
from writ_containers.engine.pings import is_unanswered
from writ_containers.engine.pull_stream import PullEnd, pull_query
from writ_containers.engine.registries import Registries
from writ_containers.engine.snapshot_names import is_snapshot
from writ_containers.engine.stack_files import LocalStackFiles, StackFiles
from writ_contracts.agents import PULLS
from writ_contracts.errors import Invalid, TimedOut

API_VERSION = "v1.44"
"""Engine 29 accepts nothing older, Debian 13's engine 26.1 nothing newer than 1.45."""
T = TypeVar("T")
Raw = Mapping[str, Any]
LOG_BYTES = 8 * 1024
CHUNK = 256 * 1024
FOLDER_MODE = 1 << 31
"""Go's os.ModeDir, in which the engine's path stat has the mode."""
_ID = re.compile(r"[0-9a-f]{64}").fullmatch
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+").fullmatch


class Engine:
    """A kept connection to one engine. Create it in the event loop of its use, and close it."""

    def __init__(
        self,
        endpoint: Endpoint,
        address: EngineAddress,
        registries: Registries | None = None,
        stack_files: StackFiles | None = None,
        own: Sequence[str] = (),
    ) -> None:
        """`own`: files of Writ on the engine's host. Raise Invalid for unreadable certificates."""
        from writ_containers.engine.guarded_session import guarded_session  # noqa: PLC0415 - it imports aiohttp

        self.endpoint = endpoint
        self._base = f"{url(endpoint)}/{API_VERSION}"
        self.address, self.own = address, own
        self.registries = registries or Registries()
        self.stack_files = stack_files or LocalStackFiles()
        self.probed = AnsweredProbes()
        self.is_silent = SharedPing(lambda: is_unanswered(self._session, url(endpoint))).is_silent
        self.creating: set[str] = set()
        """Operations with a create that the engine may still carry out: its reply has not come."""
        with tempfile.TemporaryDirectory(prefix="writ-engine-") as folder:
            self._connector = connector(endpoint, Path(folder))
        timeout = aiohttp.ClientTimeout(total=None, connect=address.connect_timeout)
        self._session = guarded_session(self._connector, timeout)
        self._docker = aiodocker.Docker(
            url=url(endpoint),
            connector=self._connector,
            session=self._session,
            timeout=timeout,
            api_version=API_VERSION,
        )

    async def close(self) -> None:
        """Close every connection. aiodocker does not close a session or connector which was given to it."""
        await self._docker.close()
        await self._session.close()
        await self._connector.close()

    async def version(self) -> Raw:
        """Return the reply of GET /version."""
        return await self._read(self._docker.version(), shapes.VersionShape)

    async def info(self) -> Raw:
        """Return the reply of GET /info."""
        return await self._read(self._docker.system.info(), shapes.InfoShape)

    async def disk_usage(self) -> DiskUsage:
        """Return the bytes of images and containers: GET /system/df. Volumes are left out, which it would walk."""
        answer = await self.get_json("/system/df?type=image&type=container", {})
        with translated():
            return disk_usage(answer)

    async def find(self, name: str) -> Raw:
        """Return the container of exactly this name. Raises Invalid (`container_not_found`).

        The engine also finds a container by the beginning of its id, so the found one is checked for the name.
        """
        if _NAME(name) is None:
            raise Invalid("container_name does not fit Docker's grammar", code="invalid_parameters")
        try:
            raw = await self._read(self._docker.containers.container(name).show(), shapes.ContainerShape)
        except Invalid as error:
            if error.code != "not_found":
                raise
            raise _absent(name) from error
        if raw.get("Name") != f"/{name}":
            raise _absent(name)
        _check_id(str(raw.get("Id")))
        return raw

    async def find_or_none(self, name: str) -> Raw | None:
        """Return the container as `find` does; None where there is none."""
        try:
            return await self.find(name)
        except Invalid as error:
            if error.code == "container_not_found":
                return None
            raise

    async def inspect(self, container_id: str) -> Raw:
        """GET /containers/{id}/json."""
        container = self._docker.containers.container(_check_id(container_id))
        return await self._read(container.show(), shapes.ContainerShape)

    async def containers(self, labels: Mapping[str, str] | None = None) -> list[Raw]:
        """GET /containers/json: all of them, or those with these labels; also the stopped ones."""
        query = {"filters": json.dumps(_labels(labels))} if labels else {}
        return list(
            await self.get_json("/containers/json", {"all": "1", **query}, (), list[shapes.ListedContainerShape])
        )

    async def create(self, name: str, config: Raw) -> str:
        """POST /containers/create. Returns the id."""
        with translated():
            return _check_id((await self._docker.containers.create(dict(config), name=name)).id)

    async def start(self, container_id: str) -> None:
        """POST /containers/{id}/start."""
        with translated():
            await self._docker.containers.container(_check_id(container_id)).start()

    async def stop(self, container_id: str, seconds: int) -> None:
        """POST /containers/{id}/stop: its stop signal, after `seconds` SIGKILL. Returns when it has stopped."""
        with translated():
            await self._docker.containers.container(_check_id(container_id)).stop(t=seconds)

    async def restart(self, container_id: str, seconds: int) -> None:
        """POST /containers/{id}/restart."""
        with translated():
            await self._docker.containers.container(_check_id(container_id)).restart(t=seconds)

    async def pause(self, container_id: str) -> None:
        """POST /containers/{id}/pause."""
        await self._read(self._docker.containers.container(_check_id(container_id)).pause())

    async def unpause(self, container_id: str) -> None:
        """POST /containers/{id}/unpause."""
        await self._read(self._docker.containers.container(_check_id(container_id)).unpause())

    async def is_folder(self, container_id: str, path: str) -> bool:
        """HEAD /containers/{id}/archive: whether the path is a folder there."""
        address = f"{self._base}/containers/{_check_id(container_id)}/archive"
        with translated():
            async with (
                asyncio.timeout(self.address.reply_timeout),
                self._session.head(address, params={"path": path}) as response,
            ):
                await _check_status(response)
                stat = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
                return bool(int(stat["mode"]) & FOLDER_MODE)

    async def archive(self, container_id: str, path: str) -> AsyncGenerator[bytes, None]:
        """GET /containers/{id}/archive: yield the tar of a path. A broken stream raises TimedOut.

        The engine holds the container until the end: close it (`contextlib.aclosing`) before another request on it.
        """
        address = f"{self._base}/containers/{_check_id(container_id)}/archive"
        with translated():
            async with self._session.get(address, params={"path": path}) as response:
                await _check_status(response)
                async for piece in response.content.iter_chunked(CHUNK):
                    yield piece

    async def extract(self, container_id: str, folder: str, tar: AsyncIterator[bytes]) -> None:
        """PUT /containers/{id}/archive: unpack a tar below a folder of the container."""
        address = f"{self._base}/containers/{_check_id(container_id)}/archive"
        headers = {"Content-Type": "application/x-tar"}
        with translated():
            async with self._session.put(address, params={"path": folder}, data=tar, headers=headers) as response:
                await _check_status(response)

    async def rename(self, container_id: str, name: str) -> None:
        """POST /containers/{id}/rename."""
        with translated():
            await self._docker.containers.container(_check_id(container_id)).rename(name)

    async def remove(self, container_id: str, *, force: bool, anonymous_volumes: bool = False) -> None:
        """DELETE /containers/{id}. Its volumes stay, unless the anonymous ones are to go, too."""
        with translated_delete():
            await self._docker.containers.container(_check_id(container_id)).delete(force=force, v=anonymous_volumes)

    async def networks(self, labels: Mapping[str, str]) -> list[Raw]:
        """GET /networks: those with these labels."""
        networks: Any = self._docker.networks  # has no types
        return list(await self._read(networks.list(filters=_labels(labels)), list[shapes.NetworkShape]))

    async def remove_network(self, network_id: str) -> None:
        """DELETE /networks/{id}."""
        with translated_delete():
            networks: Any = self._docker.networks
            await (await networks.get(_check_id(network_id))).delete()

    async def volumes(self, labels: Mapping[str, str]) -> list[str]:
        """GET /volumes: the names of those with these labels."""
        volumes: Any = self._docker.volumes  # has no types
        found = await self._read(volumes.list(filters=_labels(labels)), shapes.VolumesShape)
        return [str(one["Name"]) for one in found.get("Volumes") or ()]

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its contents: DELETE /volumes/{name}."""
        if _NAME(name) is None:
            raise TimedOut("the engine returned an invalid name of a volume", code="garbled")
        with translated_delete():
            volumes: Any = self._docker.volumes
            await (await volumes.get(name)).delete()

    async def image(self, reference: str) -> Raw | None:
        """GET /images/{name}/json; None where the engine has no such image."""
        try:
            return await self._read(self._docker.images.inspect(reference), shapes.ImageShape)
        except Invalid as error:
            if error.code == "not_found":
                return None
            raise

    async def images(self, labels: Mapping[str, str]) -> list[Raw]:
        """GET /images/json: all of them, or those with these labels."""
        filters = _labels(labels) if labels else None
        return list(await self._read(self._docker.images.list(filters=filters), list[shapes.ImageShape]))

    async def commit(self, container_id: str, repository: str, tag: str, config: Raw) -> None:
        """POST /commit. The container is paused meanwhile."""
        container = self._docker.containers.container(_check_id(container_id))
        with translated():
            await container.commit(repository=repository, tag=tag, config=dict(config))

    async def remove_image(self, reference: str) -> None:
        """DELETE /images/{name}. Raises Conflict while a container uses it."""
        with translated_delete():
            await self._docker.images.delete(reference)

    async def pull(self, reference: str, progress: Callable[[str], None]) -> PullEnd:
        """POST /images/create, to the end of its stream: only the last line reports success, on Podman together with
        the image. So check the returned end.

        The engine ends the pull when the connection closes; aiodocker would leave it open.
        """
        if is_snapshot(reference):
            raise Invalid(f"{reference} is the name of a snapshot, which no registry has", code="image_not_found")
        headers = self.registries.header(reference)
        address, query, end = f"{self._base}/images/create", pull_query(reference), PullEnd()
        with translated():
            async with self._session.post(address, params=query, headers=headers) as response:
                await _check_status(response)
                async for line in response.content:
                    end.feed(line)
                    progress(f"{PULLS}{reference}: {end.status}")
        progress(f"the pull of {reference} has ended")
        if not end.may_be_whole:
            end.check(None)
        return end

    async def logs(self, container_id: str, lines: int, most: int = LOG_BYTES) -> str:
        """GET /containers/{id}/logs: the last lines of both outputs, cut to `most` characters from the end."""
        address = f"{self._base}/containers/{_check_id(container_id)}/logs"
        raw = await self.inspect(container_id)

        async def fetch() -> str:
            end = LogEnd(most, framed=not raw["Config"]["Tty"])
            query = {"stdout": "1", "stderr": "1", "follow": "0", "tail": str(lines)}
            async with self._session.get(address, params=query) as response:
                await _check_status(response)
                async for piece in response.content.iter_chunked(CHUNK):
                    end.feed(piece)
            return end.text

        return await self._read(fetch())

    async def get_json(
        self, path: str, query: Mapping[str, str], absent: Collection[int] = (), shape: Any = Any
    ) -> Any:
        """Return the answer to GET, which has this shape; None where its status is one of `absent`."""

        async def fetch() -> Any:
            async with self._session.get(f"{self._base}{path}", params=query) as response:
                if response.status in absent:
                    return None
                await _check_status(response)
                return await response.json()

        return await self._read(fetch(), shape)

    async def delete(self, path: str) -> None:
        """Send DELETE. Raises WritError."""
        with translated_delete():
            async with self._session.delete(f"{self._base}{path}") as response:
                await _check_status(response)

    async def _read(self, request: Awaitable[T], shape: Any = Any) -> T:
        """Wait for a read of the engine, within a bound: aiodocker knows no limit of its own."""
        with translated():
            async with asyncio.timeout(self.address.reply_timeout):
                reply = await request
            shapes.check_shape(reply, shape)
            return reply


async def _check_status(response: "aiohttp.ClientResponse") -> None:
    if response.status >= 400:
        text = await response.read()  # an answer to HEAD has none
        message = json.loads(text).get("message", "") if text else response.reason
        raise aiodocker.exceptions.DockerError(response.status, str(message))


def _labels(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def _check_id(text: str) -> str:
    if _ID(text) is None:
        raise TimedOut("the engine returned an invalid id of a container", code="garbled")
    return text


def _absent(name: str) -> Invalid:
    return Invalid(f"no container {name} on this engine", code="container_not_found")
