"""`python -m writ_gateway.http`: MCP clients over streamable HTTP. `writ mcp http` starts it."""

import sys

from writ_gateway.http.config import Config
from writ_gateway.http.serving import serve
from writ_gateway.starting import start

if __name__ == "__main__":
    sys.exit(start(Config, serve))
