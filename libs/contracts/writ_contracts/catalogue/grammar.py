"""The types of the operations' parameters, each with the grammar of the thing it names.

Every string has a maximum length and must match to its very end; a message about one names the field, never the value.
Without another class these are public. The grammars are those of the systems: systemd.unit(5), distribution/reference,
the Compose file's project name, Debian Policy 5.6.1 and 5.6.12, PATH_MAX and NAME_MAX of Linux.
"""

from typing import Annotated

from msgspec import Meta

from writ_contracts.parameters import PUBLIC

_END = r"(?!\n)$"

# No leading `-` (an option), no other unit types: starting `reboot.target` is no service. Only the one spelling:
# `ssh.service` would get round what a policy says about `ssh`.
_NOT_SAID = "service|device|mount|automount|swap|target|path|slice|scope|snapshot|busname"
UNIT_PATTERN = rf"^(?!.*\.(?:{_NOT_SAID})$)[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*" + _END
UnitName = Annotated[
    str,
    Meta(
        pattern=UNIT_PATTERN,
        max_length=255,
        description="a systemd service named without .service, or a timer or socket with its suffix; no alias",
    ),
]

# Only the one spelling of a path: `..`, `.`, `//` or a trailing `/` would get round what a policy says about paths.
_COMPONENT = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]{1,255}"
FILE_PATTERN = rf"^(?:/{_COMPONENT})+" + _END
FOLDER_PATTERN = rf"^(?:/|(?:/{_COMPONENT})+)" + _END
FilePath = Annotated[
    str, Meta(pattern=FILE_PATTERN, max_length=4095, description="an absolute path in its shortest form")
]
FolderPath = Annotated[
    str, Meta(pattern=FOLDER_PATTERN, max_length=4095, description="an absolute path in its shortest form")
]
FileMode = Annotated[
    str, Meta(pattern=r"^0[0-7]{3}" + _END, description="four octal digits of permission bits, such as 0644")
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}" + _END, description="SHA-256 in hexadecimal")]

ContainerName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]+" + _END,
        max_length=255,
        description="a container's name by Docker's grammar, or on Proxmox the guest's name or vmid",
    ),
]

_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])"
_SEGMENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE_DIGEST = r"[a-z][a-z0-9]*(?:[-_+.][a-z][a-z0-9]*)*:[0-9a-f]{32,128}"
_DOCKER_IMAGE = rf"(?:{_HOST}(?::[0-9]{{1,5}})?/)?{_SEGMENT}(?:/{_SEGMENT})*(?::{_TAG})?(?:@{_IMAGE_DIGEST})?"
_TEMPLATE = r"[A-Za-z][A-Za-z0-9_.-]*:vztmpl/[A-Za-z0-9][A-Za-z0-9_.+~-]*"
IMAGE_PATTERN = rf"^(?:{_DOCKER_IMAGE}|{_TEMPLATE})" + _END
Image = Annotated[
    str,
    Meta(pattern=IMAGE_PATTERN, max_length=512, description="an image reference, or on Proxmox a template or its vmid"),
]

_PORT = r"(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_ADDRESS = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:]+\])"
_ANY_TEXT = r"[a-z0-9*](?:[a-z0-9._*/-]*[a-z0-9*])?"
ImageBound = Annotated[
    str,
    Meta(
        pattern=rf"^(?:\*|{_HOST}(?::[0-9]{{1,5}})?)/{_ANY_TEXT}(?::[A-Za-z0-9_.*-]{{1,128}})?"
        r"(?:@sha256:(?:[0-9a-f]{64}|\*))?" + _END,
        max_length=512,
        description="of the form registry/repository[:tag][@sha256:digest]; * is any text, docker.io the default",
    ),
]
PublishedPort = Annotated[
    str,
    Meta(
        pattern=rf"^(?:(?:{_ADDRESS}:)?{_PORT}:)?{_PORT}(?:/udp)?" + _END,
        max_length=80,
        description="of the form [address:][host port:]container port[/udp]; TCP has no suffix",
    ),
]
PortBound = Annotated[
    str,
    Meta(
        pattern=rf"^(?:\*|{_ADDRESS})(?::{_PORT}(?:-{_PORT})?)?" + _END,
        max_length=60,
        description="of the form address[:port or first-last]; * stands for any address",
    ),
]
_PLAIN_COMPONENT = r"(?!\.{1,2}(?:/|:|$))[^/:\x00-\x1f\x7f]{1,255}"
_PLAIN_PATH = rf"(?:/{_PLAIN_COMPONENT})+"
Mount = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{_PLAIN_PATH}|[A-Za-z0-9][A-Za-z0-9_.-]+):{_PLAIN_PATH}(?::ro)?" + _END,
        max_length=8192,
        description="of the form folder:path[:ro] or volume:path[:ro]; the path is that in the container",
    ),
]
_NAME_GLOB = r"[A-Za-z0-9*][A-Za-z0-9_.*-]*"
MountBound = Annotated[
    str,
    Meta(
        pattern=rf"^(?:/|(?:/{_COMPONENT})+|{_NAME_GLOB})" + _END,
        max_length=4095,
        description="a folder, with all below it, or the name of a volume, in which * stands for any text",
    ),
]
NetworkBound = Annotated[
    str,
    Meta(
        pattern=rf"^{_NAME_GLOB}" + _END,
        max_length=128,
        description="a network of the engine; * stands for any text",
    ),
]
NetworkName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _END, max_length=128, description="a network of the engine")
]
Argument = Annotated[str, Meta(pattern=r"^[^\x00]*" + _END, max_length=32_768, description="one argument without NUL")]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*" + _END, max_length=255)]
EnvValue = Annotated[str, Meta(pattern=r"^[^\x00]*" + _END, max_length=32_768)]
Environment = Annotated[dict[EnvName, EnvValue], Meta(max_length=256, description="environment variables")]
"""Has no class, hence secret."""

Capability = Annotated[
    str,
    Meta(
        pattern=r"^(?:ALL|[A-Z][A-Z0-9_]{1,30})" + _END,
        description="a Linux capability without CAP_, such as NET_ADMIN",
    ),
]
Device = Annotated[
    str,
    Meta(
        pattern=rf"^/dev{_PLAIN_PATH}(?::{_PLAIN_PATH})?" + _END,
        max_length=1024,
        description="of the form device[:path]",
    ),
]
ContainerUser = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?" + _END,
        description="of the form user[:group], by name or number in the container",
    ),
]
LabelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*" + _END, max_length=255)]
Labels = Annotated[dict[LabelName, EnvValue], Meta(max_length=128, description="labels; may hold credentials")]
"""Has no class, hence secret."""

StackName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*" + _END, max_length=63, description="the name of a Compose project")
]
FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _END, max_length=128, description="a name, without folders")
]

BackupId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _END, max_length=128, description="the whole id of a backup, no prefix"
    ),
]
SnapshotName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*" + _END,
        max_length=128,
        description="a snapshot's name; each backend narrows this to its own grammar (Proxmox: 40 characters, no dot)",
    ),
]

# apt takes a trailing `-` as "remove this"; no Debian package has one.
PackageName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9+.-]*[a-z0-9+.]" + _END,
        max_length=128,
        description="the name of a package by Debian's grammar",
    ),
]
PackageVersion = Annotated[
    str,
    Meta(
        pattern=r"^(?:[1-9][0-9]{0,8}:)?[0-9][A-Za-z0-9.+~-]*" + _END,
        max_length=128,
        description="an exact Debian version",
    ),
]
PackagePattern = Annotated[
    str, Meta(pattern=r"^[a-z0-9*?][a-z0-9*?+.-]*" + _END, max_length=128, description="a glob over package names")
]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HostName = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{_LABEL}(?:\.{_LABEL})*|[0-9a-f:]*:[0-9a-f:.]*)" + _END,
        max_length=253,
        description="a host name in lower case, or an IP address in its shortest form",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Cidr = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f:.]{2,39}/(?:0|[1-9][0-9]{0,2})" + _END,
        description="a network in CIDR form, without host bits",
    ),
]

TargetGlob = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_*?-]{1,64}" + _END, description="the id of a target; * and ? stand for any characters"),
]
Reason = Annotated[
    str, Meta(pattern=r"^[^\x00]*\S" + _END, min_length=1, max_length=1000, description="why, for the record"), PUBLIC
]
Flag = Annotated[bool, PUBLIC]
UnixTime = Annotated[float, Meta(ge=0, le=253_402_300_799, description="Unix seconds")]


def check_bytes(field: str, text: str, limit: int) -> None:
    """Raises ValueError where `text` is longer than `limit` bytes of UTF-8; `max_length` counts characters."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise ValueError(f"{field} is longer than {limit} bytes")


def check_exactly_one(**parameters: object) -> None:
    """Raises ValueError unless exactly one of the named values is not None."""
    if sum(value is not None for value in parameters.values()) != 1:
        raise ValueError(f"give exactly one of {', '.join(parameters)}")
