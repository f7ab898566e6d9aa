"""Texts install Writ from its wheels, and name no distribution that is not shipped."""

import re

from deploy.distributions import distributions, required_name
from tests.architecture.tree import ROOT


def test_documents_install_writ_without_an_index() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("libs/**/*.md")]
    lines = [line for text in texts for line in text.read_text().splitlines() if re.search("(pip|pipx) install", line)]
    assert len(lines) >= 3
    assert [line for line in lines if not re.search("--no-index --find-links (\\$PWD/)?wheels", line)] == []


def test_no_text_names_a_distribution_that_is_not_shipped() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*"), *ROOT.glob("*/*/README.md")]
    named = {
        name
        for text in texts
        if text.is_file() and text.suffix in (".md", ".toml", ".yml", ".yaml", "")
        for name in re.findall(r"\bwritops(?:-[a-z]+)*", text.read_text())
    }
    assert {required_name(name) for name in named} - set(distributions()) <= {"writops-"}
