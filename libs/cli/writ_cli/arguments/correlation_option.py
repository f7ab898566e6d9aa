"""A correlation id on the command line, checked before it is sent."""

import click
import msgspec

from writ_contracts.ids import CorrelationId


def checked_correlation(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return the id. Raises BadParameter for one that the service would refuse, on record."""
    try:
        return None if value is None else msgspec.convert(value, CorrelationId)
    except msgspec.ValidationError:
        raise click.BadParameter("it takes 1 to 128 letters, digits, ., :, - and _", context, option) from None
