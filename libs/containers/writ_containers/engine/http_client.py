"""aiohttp and aiodocker, loaded by their first use: they take 19 MB, and most hosts whose agent could use them have no
engine.
"""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["aiodocker", "aiohttp"]


def _lazy(name: str) -> ModuleType:
    """Return the module, which the first access to an attribute executes."""
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    spec.loader = LazyLoader(spec.loader)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import aiodocker
    import aiohttp
else:
    aiohttp, aiodocker = _lazy("aiohttp"), _lazy("aiodocker")
