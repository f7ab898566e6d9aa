"""The object that the fixture `command` gives a test."""

from collections.abc import Callable, Coroutine
from typing import Any

from click.testing import Result

Command = Callable[..., Coroutine[Any, Any, Result]]
