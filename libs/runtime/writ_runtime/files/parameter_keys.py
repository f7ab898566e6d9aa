"""The file with the keys of parameters, as executors read it and the installation changes it."""

from pathlib import Path

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid
from writ_trust.parameter_keys import ParameterKeys, parse_keys


def read_parameter_keys(path: Path) -> ParameterKeys:
    """Return the keys in the file. Raises ConfigError if others may read it, or it has a mistake."""
    try:
        return parse_keys(read_private(path))
    except Invalid as error:
        raise ConfigError(f"{path}: {error}") from error
