"""The functions of Writ between the bus and a core, as they are on the stack when the core is called."""

import functools
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

OUTSIDE = {"writ_bus", "writ_testing"}
MOST_FRAMES, MOST_FILES = 5, 4


class CallPath:
    """The frames of the first call of one function, the outermost first, the function itself last."""

    def __init__(self) -> None:
        self.frames: list[CodeType] = []

    def __repr__(self) -> str:
        return " → ".join(f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}" for code in self.frames)

    @property
    def is_short(self) -> bool:
        """Return true for a recorded path within the bars of STYLE: five frames in four files."""
        files = {code.co_filename for code in self.frames}
        return 1 < len(self.frames) <= MOST_FRAMES and len(files) <= MOST_FILES


def recorded_path(monkeypatch: pytest.MonkeyPatch, caller: ModuleType, core: str) -> CallPath:
    """Record the path to the function `core`, which the module `caller` has imported."""
    path, called = CallPath(), getattr(caller, core)

    @functools.wraps(called)
    def recording(*arguments: Any, **named: Any) -> Any:
        if not path.frames:
            path.frames = [*reversed(list(_ours(sys._getframe(1)))), called.__code__]
        return called(*arguments, **named)

    monkeypatch.setattr(caller, core, recording)
    return path


def _ours(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package.startswith("writ_") and package not in OUTSIDE:
            yield frame.f_code
        frame = frame.f_back
