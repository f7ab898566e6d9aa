"""`python -m writ_gateway`: one MCP client on standard input and output. `writ mcp stdio` starts it."""

import sys

from writ_gateway.config import GatewayConfig
from writ_gateway.startup import start
from writ_gateway.stdio import serve

if __name__ == "__main__":
    sys.exit(start(GatewayConfig, serve))
