"""Settings of the gateway over HTTP, from its environment."""

from pathlib import Path
from typing import Annotated, Literal

from writ_contracts.ids import PrincipalId
from writ_runtime.config import Port, ServiceConfig, env


class HttpGatewayConfig(ServiceConfig, frozen=True, kw_only=True):
    """The gateway's own key sends for the principals whose `via` names it. `writ mcp http` sets all of it."""

    tokens: Annotated[Path, env("WRIT_MCP_TOKENS", "the file of `writ token create`; read again when it changes")]
    principal_list: Annotated[
        Path | None,
        env("WRIT_PRINCIPALS", "principals.yaml, by which it knows who has lost access; unset: beside the tokens"),
    ] = None
    agents: Annotated[
        Path | None,
        env("WRIT_AGENTS", "agents.yaml, beside which are the changes of principals; unset: beside the tokens"),
    ] = None
    gateway: Annotated[PrincipalId, env("WRIT_MCP_GATEWAY", "the gateway's id in principals.yaml")] = "gateway"
    host: Annotated[str, env("WRIT_MCP_HOST", "where it listens")] = "127.0.0.1"
    port: Annotated[Port, env("WRIT_MCP_PORT", "its port; 0 takes any free one")] = 8321
    tls_certificate: Annotated[
        Path | None, env("WRIT_MCP_TLS_CERT", "its certificate for clients, with the chain, PEM; then it serves HTTPS")
    ] = None
    tls_private_key: Annotated[Path | None, env("WRIT_MCP_TLS_KEY", "the key of that certificate, PEM, mode 0600")] = (
        None
    )
    http_plaintext: Annotated[
        Literal["refuse", "allow"],
        env("WRIT_MCP_PLAINTEXT", "allow: HTTP also beyond loopback, for a proxy with TLS on the same private network"),
    ] = "refuse"
    public_host: Annotated[
        str, env("WRIT_MCP_PUBLIC_HOST", "the name by which clients reach it through a proxy with TLS; others get 421")
    ] = ""
    issuer: Annotated[
        str, env("WRIT_MCP_ISSUER", "the OAuth server whose access tokens count, as their iss says; unset: none do")
    ] = ""
    audience: Annotated[str, env("WRIT_MCP_AUDIENCE", "this gateway's own address, as the aud of access tokens")] = ""
    jwks: Annotated[str, env("WRIT_MCP_JWKS", "the keys of that server: an https address, or a file")] = ""
    introspection: Annotated[
        str, env("WRIT_MCP_INTROSPECTION", "where that server says whether a token is active, an https address")
    ] = ""
    introspection_client: Annotated[
        str, env("WRIT_MCP_INTROSPECTION_CLIENT", "the gateway's client id at that address")
    ] = ""
    introspection_secret: Annotated[
        Path | None, env("WRIT_MCP_INTROSPECTION_SECRET_FILE", "the client's secret, a file of mode 0600")
    ] = None
    claim: Annotated[str, env("WRIT_MCP_CLAIM", "the claim of access tokens that names the principal")] = (
        "writ_principal"
    )
    principals: Annotated[
        str, env("WRIT_MCP_PRINCIPALS", "the principals that access tokens may name, separated by commas")
    ] = ""
    profile: Annotated[
        Literal["small", "full"], env("WRIT_MCP_PROFILE", "small: few tools for any operation; full: one for each")
    ] = "small"
    read_only: Annotated[bool, env("WRIT_MCP_READ_ONLY", "true: nothing that changes a target can be requested")] = (
        False
    )
    public_only: Annotated[
        bool, env("WRIT_MCP_PUBLIC_ONLY", "true: results have no output that the catalogue does not class as public")
    ] = False
