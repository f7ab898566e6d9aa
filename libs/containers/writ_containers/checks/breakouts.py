"""Container settings with access to the host, each with the flag allowing it; pure. container_create and stacks are
both judged here.

The flags are parameters of the request; policy refuses them by default (`writ_contracts.catalogue.host_access`).
"""

import glob
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_hostops.own_paths import INSTALLED, INSTALLED_CODE, ROOTS_HOSTOPS, overlap

SOCKETS = (
    *("/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock"),
    *("/run/docker/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"),
)
USERS = PurePosixPath("/run/user")
SOCKETS_OF_USERS = ("docker.sock", "docker/containerd/containerd.sock", "podman/podman.sock")
"""Of engines without root, below the folder of each account in `USERS`."""
SOCKET_NAMES = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock"})
DEFAULT_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
"""What the engine gives anyway (docs.docker.com/engine/containers/run: runtime privilege and Linux capabilities)."""
HARMLESS_OPTIONS = frozenset({"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})
LONGEST_REFUSAL = 900
OF_ANOTHER = ("container:", "service:")
OWN_NAMESPACES = {
    "pid": frozenset({"", "private"}),
    "ipc": frozenset({"", "private", "none", "shareable"}),
    "uts": frozenset({"", "private"}),
    "userns_mode": frozenset({""}),
    "cgroup": frozenset({"", "private"}),
}


class ContainerSettings(Struct, frozen=True, kw_only=True):
    """The judged settings of one container. `name` is for messages. `binds`: folders of the host. `namespaces`: by the
    key of the Compose file. `foreign`: resources owned by something else, such as an external volume. `ports`: address,
    first and last port of the host. `volumes`, `networks`: names on the engine, without those of the stack itself.
    """

    name: str
    privileged: bool = False
    network: str = ""
    namespaces: Mapping[str, str] = {}
    cap_add: Sequence[str] = ()
    devices: Sequence[str] = ()
    binds: Sequence[str] = ()
    security_options: Sequence[str] = ()
    kernel_parameters: Sequence[str] = ()
    foreign: Sequence[str] = ()
    image: str = ""
    ports: Sequence[tuple[str, int, int]] = ()
    volumes: Sequence[str] = ()
    networks: Sequence[str] = ()


class HostPaths(Struct, frozen=True, kw_only=True):
    """Paths of the engine's host. `mount_roots`: folders that containers may mount. `socket`: of the target's own
    engine. `own`: Writ's files and folders there, besides those of its units.
    """

    mount_roots: Sequence[str] = ()
    socket: str
    own: Sequence[str] = ()


class Breakout(NamedTuple):
    """A setting with access to the host. `flag`: the parameter allowing it. `what`: the setting, for people."""

    flag: str
    what: str


def breakouts(one: ContainerSettings, host: HostPaths) -> Iterator[Breakout]:
    """Yield each setting with access to the host."""
    if one.privileged:
        yield Breakout("allow_privileged", "privileged")
    yield from _network(one)
    yield from _namespaces(one)
    yield from (Breakout("allow_capabilities", f"capability {name}") for name in added_capabilities(one))
    yield from (Breakout("allow_devices", f"device {device}") for device in one.devices)
    for path in one.binds:
        yield from bind_breakouts(path, host)
    yield from _unconfined(one)
    yield from (Breakout("allow_shared", text) for text in one.foreign)


def refuse_breakouts(containers: Sequence[ContainerSettings], parameters: Mapping[str, Any], host: HostPaths) -> None:
    """Raise Invalid (`breakout_refused`) naming each setting with host access whose flag is not set in `given`."""
    found = [(one.name, breakout) for one in containers for breakout in breakouts(one, host)]
    refused = [
        f"{name}: {each.what} needs {each.flag}" for name, each in found if parameters.get(each.flag) is not True
    ]
    if refused:
        raise Invalid(refusal(refused), code="breakout_refused")


def is_beneath(path: str, roots: Sequence[str]) -> bool:
    """Return True if `path` is one of these folders or inside one. A path not in its shortest form is inside none."""
    if str(PurePosixPath(path)) != path or ".." in PurePosixPath(path).parts:
        return False
    return any(PurePosixPath(path).is_relative_to(root) for root in roots if root.startswith("/"))


def bind_breakouts(path: str, host: HostPaths) -> Iterator[Breakout]:
    """Yield why a mount of the host breaks out. The engine resolves symbolic links there: see docs/docker.md."""
    if not is_beneath(path, host.mount_roots):
        yield Breakout("allow_host_mounts", f"the mount of {path}, which is not below mount_roots")
    elif reaches_own(path, host):
        yield Breakout("allow_host_mounts", f"the mount of {path}, which reaches files of Writ itself")
    shortest = PurePosixPath(f"/{posixpath.normpath(path).lstrip('/')}")
    known = (*SOCKETS, *_sockets_of_user(shortest), host.socket)
    holds = any(PurePosixPath(one).is_relative_to(shortest) for socket in known for one in _in_run(socket))
    if holds or shortest.name in SOCKET_NAMES or _is_of_process(shortest):
        yield Breakout("allow_engine_socket", f"the mount of {path}, with the socket of an engine")


def _sockets_of_user(path: PurePosixPath) -> Iterator[str]:
    """Yield the possible sockets of the account in whose folder below `USERS` the path is, otherwise of root."""
    parts = PurePosixPath(str(path).removeprefix("/var")).parts
    account = parts[3] if parts[:3] == USERS.parts and len(parts) > 3 else "0"
    yield from (f"{USERS}/{account}/{socket}" for socket in SOCKETS_OF_USERS)


def _is_of_process(path: PurePosixPath) -> bool:
    """Return whether it is /proc, or the folder of a process there or below: `/proc/1/root/run` is /run."""
    match path.parts:
        case ("/", "proc"):
            return True
        case ("/", "proc", process, *_):
            return process.isdecimal() or process in ("self", "thread-self")
        case _:
            return False


def reaches_own(path: str, host: HostPaths) -> bool:
    """Return whether a mount would show a container the keys, state or code of Writ, whether they exist now or not."""
    own = (*INSTALLED, *INSTALLED_CODE, ROOTS_HOSTOPS, *map(glob.escape, host.own))
    return any(overlap(spelling, known) for spelling in _in_run(path) for known in own)


def _in_run(path: str) -> tuple[str, ...]:
    """Return the path, and for /run and all below it the other spelling too: /var/run is a link to it."""
    short = path.removeprefix("/var")
    return (short, f"/var{short}") if PurePosixPath(short).is_relative_to("/run") else (path,)


def added_capabilities(one: ContainerSettings) -> list[str]:
    """Return the capabilities, as written, beyond those of every container."""
    return [name for name in one.cap_add if capability(name) not in DEFAULT_CAPABILITIES]


def capability(text: str) -> str:
    """Return the name of a capability in one form: an engine accepts upper and lower case, with CAP_ or without."""
    return text.upper().removeprefix("CAP_")


def refusal(refused: Iterable[str]) -> str:
    """Return the message about refused settings. None is cut: a part of a secret would not be found in it."""
    parts, shown = list(dict.fromkeys(refused)), list[str]()
    while len(shown) < len(parts) and sum(map(len, shown)) + len(parts[len(shown)]) < LONGEST_REFUSAL:
        shown.append(parts[len(shown)])
    rest = len(parts) - len(shown)
    return "; ".join([*shown, *([f"{rest} more settings are refused"] if rest else [])])


def _network(one: ContainerSettings) -> Iterator[Breakout]:
    if one.network == "host":
        yield Breakout("allow_host_network", "the network of the host")
    elif one.network.startswith(OF_ANOTHER):
        yield Breakout("allow_shared", f"network_mode {one.network}")
    elif ":" in one.network:  # of Podman: ns:/proc/1/ns/net is the host's, slirp4netns:… may reach its loopback
        yield Breakout("allow_host_network", f"network_mode {one.network}")


def _unconfined(one: ContainerSettings) -> Iterator[Breakout]:
    for option in one.security_options:
        if option not in HARMLESS_OPTIONS:
            yield Breakout("allow_unconfined", f"security option {option.partition('=')[0].partition(':')[0]}")
    for name in one.kernel_parameters:
        yield Breakout("allow_unconfined", f"kernel parameter {name}")


def _namespaces(one: ContainerSettings) -> Iterator[Breakout]:
    for key, own in OWN_NAMESPACES.items():
        value = one.namespaces.get(key, "")
        if value in own:
            continue
        flag = "allow_shared" if value.startswith(OF_ANOTHER) else "allow_host_namespaces"
        yield Breakout(flag, f"{key} {value}")
