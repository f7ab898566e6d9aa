"""Tests of the architecture read the syntax trees of all files: each worker parses them once, before its first test."""

import pytest
from tests.architecture.tree import parse_all


@pytest.fixture(scope="session", autouse=True)
def _trees() -> None:
    parse_all()
