"""`python -m writ_gateway`: one MCP client on standard input and output. `writ mcp stdio` starts it."""

import os
import sys

from writ_contracts.errors import ConfigError, WritError
from writ_gateway.config import Config
from writ_gateway.stdio import run
from writ_runtime import logs
from writ_runtime.config import load


def main() -> int:
    """0 when the client has gone, 2 where the configuration is wrong, 6 where Writ cannot be reached."""
    try:
        config = load(Config, os.environ)
        logs.configure("gateway", config.log_level, "auto")
        run(config)
    except ConfigError as error:
        sys.stderr.write(f"writ mcp: {error}\n")
        return 2
    except WritError as error:
        sys.stderr.write(f"writ mcp: {error}\n")
        return 6
    return 0


if __name__ == "__main__":
    sys.exit(main())
