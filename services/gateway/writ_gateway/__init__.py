"""The MCP gateway: operations of Writ as tools of AI agents. It requests what its caller may, and approves nothing.

The packages `mcp` and `mcp.server` import clients and a framework of decorators, unused by the gateway: 12 MB of each
process. So its modules of the SDK are imported here first, with those two as empty packages.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

PACKAGES = ("mcp", "mcp.server")
MODULES = (
    "mcp.types.version",
    "mcp.shared.exceptions",
    "mcp.server.context",
    "mcp.server.lowlevel",
    "mcp.server.stdio",
    "mcp.server.transport_security",
)


def _empty(name: str) -> ModuleType:
    """Return the package as an empty module: its `__init__` does not run."""
    module, spec = ModuleType(name), find_spec(name)
    assert spec is not None  # noqa: S101 - it is installed: the distribution requires it
    module.__spec__, module.__path__ = spec, list(spec.submodule_search_locations or ())
    return module


if "mcp" not in sys.modules:
    try:
        for name in PACKAGES:
            sys.modules[name] = _empty(name)
        for name in MODULES:
            import_module(name)
    finally:
        for name in PACKAGES:
            sys.modules.pop(name, None)  # a later import of the two gets the whole packages
