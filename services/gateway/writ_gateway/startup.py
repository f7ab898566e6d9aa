"""Start the server from its environment; each failure of the start has an exit status."""

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from msgspec import Struct

from writ_contracts.errors import ConfigError, WritError
from writ_runtime import logs
from writ_runtime.config import load
from writ_runtime.service import correlation
from writ_runtime.signals import run_command

Settings = TypeVar("Settings", bound=Struct)


def start(kind: type[Settings], serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> int:
    """Run the gateway. Return 0 at an orderly end, 1 where it cannot listen, 2 for a wrong configuration, 6 where Writ
    cannot be reached.
    """
    try:
        config = load(kind, os.environ)
        logs.configure("gateway", getattr(config, "log_level", "warning"), "auto", context=correlation)
        run_command(serve(config))
    except KeyboardInterrupt:
        return 0
    except (ConfigError, WritError, OSError) as error:
        sys.stderr.write(f"writ mcp: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1 if isinstance(error, OSError) else 6
    return 0
