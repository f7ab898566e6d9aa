"""Settings of the gateway, from its environment."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from writ_contracts.ids import PrincipalId
from writ_runtime.config import env


class GatewayConfig(Struct, frozen=True, kw_only=True):
    """One client on standard input and output, with the key of one principal. `writ mcp stdio` sets all of it."""

    principal: Annotated[PrincipalId, env("WRIT_PRINCIPAL", "the principal that requests")]
    nats_url: Annotated[str, env("NATS_URL", "the NATS server, such as nats://127.0.0.1:4222 or tls://…")]
    key_file: Annotated[Path, env("WRIT_KEY_FILE", "the principal's nkey seed, mode 0600")]
    installation: Annotated[str, env("WRIT_INSTALLATION", "id of the installation, which signed requests name")] = ""
    tls_ca: Annotated[str | None, env("WRIT_TLS_CA", "certificates to trust for NATS, PEM")] = None
    tls_cert: Annotated[str | None, env("WRIT_TLS_CERT", "client certificate for NATS, PEM")] = None
    tls_key: Annotated[str | None, env("WRIT_TLS_KEY", "key of the client certificate, PEM, mode 0600")] = None
    profile: Annotated[
        Literal["small", "full"], env("WRIT_MCP_PROFILE", "small: few tools for any operation; full: one for each")
    ] = "small"
    read_only: Annotated[bool, env("WRIT_MCP_READ_ONLY", "true: nothing that changes a target can be requested")] = (
        False
    )
    public_only: Annotated[
        bool, env("WRIT_MCP_PUBLIC_ONLY", "true: results have no output that the catalogue does not class as public")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], env("WRIT_LOG_LEVEL", "the least severe level that is logged")
    ] = "warning"
