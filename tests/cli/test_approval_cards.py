"""The card of a pending request on a terminal."""

import io

import pytest
from click.testing import CliRunner
from msgspec import structs
from rich.console import Console
from tests.client.test_approval_card import POLICY, card

from writ_cli.approvals.card_text import as_data, show_card
from writ_cli.main import cli
from writ_cli.terminal.output import Screen
from writ_client.people.approval_card import open_card


@pytest.mark.parametrize("warning", ["", "by now it is denied: rule 'frozen' denies it"])
def test_card_shows_the_warning_of_policy(warning: str) -> None:
    opened = open_card(structs.replace(card(), warning=warning), {POLICY.public})
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=200)
    show_card(screen, opened, 0.0)
    assert (f"warning: {warning}" in terminal.getvalue()) == bool(warning)
    assert ("warning:" in terminal.getvalue()) == bool(warning)
    assert as_data(opened)["warning"] == warning


@pytest.mark.parametrize("option", ["--yes", "--digest"])
def test_both_verdicts_take_the_same_guards(option: str) -> None:
    for verdict in ("approve", "reject"):
        assert option in CliRunner().invoke(cli, ["approvals", verdict, "--help"]).output
