"""The descriptor of this plugin. It imports no code for execution."""

from writ_contracts.plugins import Plugin

PLUGIN = Plugin(
    api=1,
    prefixes=("router",),
    summary="Routers with an HTTP API",
    serves={"router": ("service_status", "service_restart")},
    configuration={"WRIT_ROUTER_TOKEN_FILE": "file with the token of the routers' API"},
)
