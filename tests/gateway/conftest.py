"""One installation for each module: the AI agent `bot` acts for alice, and MCP clients use its gateways."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClientExtension

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_documents.principal_changes import CHANGES
from writ_gateway.client import AgentClient
from writ_gateway.context import Context as RequestContext
from writ_gateway.context import caller_of
from writ_gateway.http.served_principals import ServedPrincipals
from writ_gateway.results import WELL
from writ_gateway.server import server
from writ_gateway.session import PrincipalSession
from writ_gateway.tool import Profile
from writ_gateway.toolbox import Toolbox
from writ_installation.files.gateway_tokens import read_tokens
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.keys import Key, generate_seed

ISSUER, AUDIENCE = "https://login.example", "https://writ.example/mcp"
SIGNING_KEY = ec.generate_private_key(ec.SECP256R1())
JWK: dict[str, str] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(SIGNING_KEY.public_key())) | {
    "kid": "k1",
    "alg": "ES256",
    "use": "sig",
}
UNLIMITED = {"WRIT_RATE": "100000", "WRIT_BURST": "100000"}
ENVIRON = {"WRIT_MCP_PORT": "0", "WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2", **UNLIMITED}
RULES: list[dict[str, Any]] = [
    {"name": "no_files_by_agents", "operations": ["file_delete"], "allowed": False, "principal_kinds": ["agent"]},
    {
        "name": "production_needs_a_yes",
        "operations": ["test_sleep"],
        "target_roles": ["production"],
        "allowed": True,
        "requires_approval": True,
    },
    {"name": "windows_need_a_yes", "operations": ["window_request"], "allowed": True, "requires_approval": True},
    {
        "name": "readers_read_the_policy",
        "operations": ["audit_read"],
        "user_roles": ["reader"],
        "allowed": True,
        "parameter_constraints": {"query": {"type": "string", "allowed_values": ["policy"]}},
    },
    {"name": "guests_have_nothing", "operations": sorted(load_catalogue()), "allowed": False, "user_roles": ["guest"]},
    {"name": "production_stays", "operations": ["test_count"], "allowed": False, "target_roles": ["production"]},
]
PRINCIPALS: list[tuple[str, dict[str, Any]]] = [
    ("alice", {"roles": ["operator", "approver"]}),
    ("carol", {"roles": ["approver", "reader"]}),
    ("gateway", {"kind": "gateway", "roles": []}),
    ("bot", {"kind": "agent", "acts_for": "alice", "via": "gateway"}),
    ("tidy", {"kind": "service", "via": "gateway"}),
    ("visitor", {"kind": "agent", "acts_for": "alice", "roles": ["guest"]}),
    ("local", {"kind": "agent", "acts_for": "alice"}),
]


@asynccontextmanager
async def gateway_installation(folder: Path) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with `web-1` and `db-1`, a production target, both on this machine."""
    root = folder / "files"
    targets = [local_target("web-1", root, docker={}), local_target("db-1", root, role="production")]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=PRINCIPALS)
    environ = ENVIRON | authorization_server(folder)
    async with running_installation(folder, home=home, environ=environ, arguments=("--gateway",)) as running:
        yield running


def authorization_server(folder: Path) -> dict[str, str]:
    """The gateway's settings by which access tokens of ISSUER count for `bot`."""
    (folder / "jwks.json").write_text(json.dumps({"keys": [JWK]}))
    names = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "JWKS": str(folder / "jwks.json"), "PRINCIPALS": "bot"}
    return {f"WRIT_MCP_{name}": value for name, value in names.items()}


def access_token(**claims: Any) -> str:
    """Return a JWT for `bot` by the authorization server."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "scope": "writ", "writ_principal": "bot"}
    return jwt.encode(good | claims, SIGNING_KEY, algorithm="ES256", headers={"kid": JWK["kid"]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """See gateway_installation."""
    async with gateway_installation(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


@pytest.fixture
def url(installation: RunningInstallation) -> str:
    """Return the address of the HTTP gateway of `writ up --gateway`."""
    return listening(installation.home.log / "gateway.log")


def everybody(folder: Path, *names: str) -> ServedPrincipals:
    """Return the principals of a gateway who are these, or those of the folder's `tokens.json`."""
    tokens = folder / "tokens.json"
    known = names or tuple(one.principal for one in (read_tokens(tokens) if tokens.exists() else ()))
    entries = [principal_entry("gateway", kind="gateway"), *(principal_entry(one, via="gateway") for one in known)]
    (folder / "principals.yaml").write_text(json.dumps({"principals": entries}))
    return ServedPrincipals("gateway", folder / "principals.yaml", folder / CHANGES)


def principal_entry(name: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of principals.yaml with a new key, by default of an AI agent."""
    return {"id": name, "kind": "agent", "key": Key(generate_seed()).public, **fields}


def listening(log: Path) -> str:
    """Return the address in the last line of a gateway's log with one."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return str([line["url"] for line in lines if line["event"] == "gateway.listening"][-1])


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    """Return the folder writable for the targets."""
    return installation.home.root.parent / "files"


def command(installation: RunningInstallation, *arguments: str, principal: str = "bot") -> StdioServerParameters:
    """`writ mcp stdio` as an MCP client starts it."""
    environ = {"WRIT_HOME": str(installation.home.root), "PYTHONPATH": os.environ["PYTHONPATH"]}
    writ = str(Path(sys.executable).with_name("writ"))
    return StdioServerParameters(command=writ, args=["mcp", "stdio", "--as", principal, *arguments], env=environ)


@asynccontextmanager
async def connected(
    installation: RunningInstallation,
    principal: str = "bot",
    *,
    bus: Callable[[Bus], Bus] = lambda bus: bus,
    read_only: bool = False,
    public_only: bool = False,
) -> AsyncIterator[AgentClient]:
    """The client of the tools, with the principal's key."""
    seed = installation.home.seed_file(f"principal-{principal}").read_bytes()
    connection = bus(await open_bus(Context(principal=principal, url=installation.url), seed, wait=10.0))
    options: dict[str, Any] = {"read_only": read_only, "public_only": public_only, "catalogue": load_catalogue()}
    async with AgentClient(connection, Key(seed, installation.home.installation), principal, **options) as writ:
        yield writ


@asynccontextmanager
async def serving(
    installation: RunningInstallation,
    profile: Profile = "small",
    *,
    principal: str = "bot",
    mode: str = "auto",
    bus: Callable[[Bus], Bus] = lambda bus: bus,
    extensions: Sequence[ClientExtension] = (),
    **options: bool,
) -> AsyncIterator[Client]:
    """A client of a gateway in this process, which works with the real installation."""
    catalogue = load_catalogue()
    async with connected(installation, principal, bus=bus, **options) as writ:
        session = PrincipalSession(writ, catalogue)

        async def session_of(context: RequestContext) -> PrincipalSession:
            return session.called_by(caller_of(context, "a test"))

        tools = Toolbox(catalogue, profile, read_only=options.get("read_only", False))
        async with Client(server(tools, session_of), mode=mode, cache=None, extensions=extensions) as client:
            yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured result of a call; the text of the result has the same."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict)
    assert result.is_error == (result.structured_content["status"] not in WELL)
    return result.structured_content
