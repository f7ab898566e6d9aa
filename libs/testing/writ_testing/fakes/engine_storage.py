"""Images and volumes of the fake engine, and the files that its containers have in volumes and mounted folders."""

import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from writ_testing.fakes.engine_http import EngineRequest, HttpReply


def has_labels(request: EngineRequest, labels: Mapping[str, str]) -> bool:
    """Return whether these labels pass the filters of a list request: `name=value`, or a name alone."""
    pairs = (pair.partition("=") for pair in json.loads(request.query.get("filters", "{}")).get("label", []))
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in pairs)


def tar_of(folder: str, content: str) -> bytes:
    """Return the tar of a folder with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        top = tarfile.TarInfo(folder)
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(top)
        file = tarfile.TarInfo(f"{folder}/content")
        file.size = len(content)
        tar.addfile(file, io.BytesIO(content.encode()))
    return packed.getvalue()


@dataclass
class EngineStorage:
    """`images` by reference; `volumes` by name; `files`: the tar of each volume or folder of the host by its name.

    `podman`: pulls and removals are Podman's. `layer`: the id of a pull's last line, which is of another image.
    `committed_below`: what precedes the name of a committed image.
    """

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    pullable: set[str] = field(default_factory=set)
    auths: list[str] = field(default_factory=list)
    podman: bool = False
    layer: str = ""
    committed_below: str = ""

    def add_image(self, reference: str, **config: Any) -> None:
        """Add an image to the engine."""
        number = len(self.images) + 1
        image = {"Id": f"sha256:{number:064x}", "RepoTags": [reference], "Config": config, "Created": number}
        self.images[reference] = image

    def image(self, reference: str) -> dict[str, Any] | None:
        """Return the image of this name or id."""
        by_id = next((one for one in self.images.values() if one["Id"] == reference), None)
        return self.images.get(reference.removesuffix(":latest")) or by_id

    def mounted(self, host: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the mounts of a container with these settings; volumes come into being."""
        mounts = []
        for one in host.get("Mounts") or ():
            mount = {"Type": one["Type"], "Destination": one["Target"], "RW": not one.get("ReadOnly")}
            if one["Type"] == "volume":
                labels = (one.get("VolumeOptions") or {}).get("Labels") or {}
                self.volumes.setdefault(one["Source"], {"Name": one["Source"], "Labels": labels})
            mounts.append(mount | {"Name" if one["Type"] == "volume" else "Source": one["Source"]})
        return mounts

    def remove_anonymous(self, request: EngineRequest, mounts: list[dict[str, Any]]) -> None:
        """Remove the anonymous volumes of a container with it. For Podman they are those that came into being without
        a name, also where the container has one by its name.
        """
        is_asked = self.podman and request.query.get("v") == "1"
        for one in mounts:
            if is_asked and re.fullmatch("[0-9a-f]{64}", one.get("Name", "")):
                del self.volumes[one["Name"]]

    def storage_routes(self) -> list[tuple[str, str, Callable[..., HttpReply]]]:
        return [
            ("GET", "/volumes", self._list_volumes),
            ("POST", "/volumes/create", self._create_volume),
            ("GET", "/volumes/([^/]+)", self._volume),
            ("DELETE", "/volumes/([^/]+)", self._remove_volume),
            ("GET", "/images/json", self._list_images),
            ("GET", "/images/(.+)/json", self._image),
            ("DELETE", "/images/(.+)", self._remove_image),
            ("POST", "/images/create", self._pull),
        ]

    def read_files(self, mounts: list[dict[str, Any]], path: str) -> HttpReply:
        """Reply to GET /containers/{id}/archive."""
        key = next((_key(one) for one in mounts if one["Destination"] == path), None)
        if key not in self.files:
            return HttpReply(404, {"message": f"Could not find the file {path}"})
        return HttpReply(200, raw=self.files[str(key)])

    def write_files(self, mounts: list[dict[str, Any]], folder: str, packed: bytes) -> HttpReply:
        """Reply to PUT /containers/{id}/archive. Each top folder of the tar is a whole mount here."""
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            top = tar.getnames()[0].partition("/")[0]
        path = f"{folder.rstrip('/')}/{top}"
        key = next((_key(one) for one in mounts if one["Destination"] == path), None)
        if key is None:
            return HttpReply(404, {"message": f"no mount at {path}"})
        self.files[key] = packed
        return HttpReply(200)

    def _list_volumes(self, request: EngineRequest) -> HttpReply:
        return HttpReply(200, {"Volumes": [one for one in self.volumes.values() if has_labels(request, one["Labels"])]})

    def _volume(self, request: EngineRequest, name: str) -> HttpReply:
        found = self.volumes.get(name)
        return HttpReply(200, found) if found else HttpReply(404, {"message": f"get {name}: no such volume"})

    def _create_volume(self, request: EngineRequest) -> HttpReply:
        named = {"Name": request.body["Name"], "Labels": request.body.get("Labels") or {}}
        return HttpReply(201, self.volumes.setdefault(named["Name"], named))

    def _remove_volume(self, request: EngineRequest, name: str) -> HttpReply:
        if self.volumes.pop(name, None) is None:
            return HttpReply(404, {"message": f"get {name}: no such volume"})
        self.files.pop(name, None)
        return HttpReply(204)

    def _list_images(self, request: EngineRequest) -> HttpReply:
        labelled = [(one, one["Config"].get("Labels") or {}) for one in self.images.values()]
        return HttpReply(200, [{**one, "Labels": own} for one, own in labelled if has_labels(request, own)])

    def _image(self, request: EngineRequest, reference: str) -> HttpReply:
        found = self.image(reference)
        created = {"Created": "2026-01-01T00:00:00Z"}
        return (
            HttpReply(200, {**found, **created})
            if found
            else HttpReply(404, {"message": f"No such image: {reference}"})
        )

    def _remove_image(self, request: EngineRequest, reference: str) -> HttpReply:
        if self.images.pop(reference, None) is None:
            return HttpReply(404, {"message": f"No such image: {reference}"})
        return HttpReply(200, [{"Untagged": reference}])

    def _pull(self, request: EngineRequest) -> HttpReply:
        image = request.query["fromImage"]
        self.auths.append(request.headers.get("x-registry-auth", ""))
        first = {"status": f"Pulling from {image}"}
        if image.startswith("slow"):
            return HttpReply(200, lines=(first,), hangs=True)
        if image not in self.pullable:
            message = f"manifest for {image} not found"
            return HttpReply(200, lines=(first, {"errorDetail": {"message": message}, "error": message}))
        self.add_image(image)
        number = self.layer or str(self.images[image]["Id"]).removeprefix("sha256:")[:12]
        podmans = {"status": "Download complete", "progressDetail": {}, "id": number}
        last = podmans if self.podman else {"status": f"Status: Downloaded newer image for {image}"}
        return HttpReply(200, lines=(first, last))


def _key(mount: dict[str, Any]) -> str:
    return str(mount.get("Name") or mount.get("Source"))
