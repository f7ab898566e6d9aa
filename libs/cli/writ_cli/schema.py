"""`writ schema`: JSON Schemas of the documents written by people, for editors."""

from importlib.resources import files

import click

from writ_cli.terminal.exit_status import Exit

NAMES = ("inventory", "principals", "policy", "suite")


@click.command()
@click.argument("name", type=click.Choice(NAMES))
def schema(name: str) -> int:
    """Print the JSON Schema (2020-12) of a document.

    Save it, and name it in the first line of the document: `# yaml-language-server: $schema=policy.json`. Editors then
    complete keys and show mistakes. `writ policy validate` finds more: names, patterns, rules without effect.
    """
    click.echo(files("writ_cli").joinpath("schemas", f"{name}.json").read_text(), nl=False)
    return Exit.DONE
