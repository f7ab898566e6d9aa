"""Names in documents exist: files, modules, functions, variables, links, and subjects of the registry."""

import importlib
import re
import subprocess
from functools import cache
from pathlib import Path

from writ_contracts import registry
from writ_testing.each_case import each_case

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("libs/*/README.md"),
        *ROOT.glob("services/*/README.md"),
    }
)
FILE = re.compile(r"(?<![\w./<-])((?:[\w-]+/)*[\w-]+\.py)\b(?![.\w])")
FOLDER = re.compile(r"(?<![\w./<-])((?:libs|services|tests|docs|policies|deploy|bench)/[\w./-]*[\w-])")
DOTTED = re.compile(r"(?<![\w./])(writ_[a-z_]+(?:\.\w+)+)")
VARIABLE = re.compile(r"\b((?:WRIT|SYSTEMMANAGER)_[A-Z][A-Z_]*|NATS_URL)\b")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
# What is called is no subject, but a method of the client.
SUBJECT = re.compile(r"(?<![\w.$])writ(?:\.(?:[a-z_]++|<[a-z_]+>|\{[a-z_]+\}|\*))++(?:\.>)?+(?!\()")
TAG = re.compile(r"writ\.[a-z]+\.v\d+")
COMMAND = ("git", "ls-files", "-co", "--exclude-standard")
EXAMPLES = {"bare.py"}
OTHERS = {
    "writ.plugin",
    "writ.operations",
    "writ.handlers",
    "writ.backends",
    "writ.evaluators",
    "writ.notifiers",
    "writ.scanners",
}
OTHERS |= {"writ.conformance", "writ.hostops", "writ.operation"}
"""Groups of entry points, and what an operation's id is a hash of."""
OTHERS |= {"writ.api.journal", "writ.api.clock", "writ.api.leader.<stream>", "writ.api.purge.<stream>"}
"""JetStream's own subjects under another name."""
OTHERS |= {"writ.target", "writ.sysusers", "writ.conf"}
"""Files for systemd."""
every_document = each_case("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@cache
def files() -> tuple[str, ...]:
    listed = subprocess.run(COMMAND, cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(f"/{name}" for name in listed.stdout.splitlines() if (ROOT / name).exists())


def exists(dotted: str) -> bool:
    """Return true if it is a module or a name in one; fields of structs and attributes of instances are not checked."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@every_document
def test_every_file_that_is_named_is_there(document: Path) -> None:
    text = document.read_text()
    unknown = {name for name in FILE.findall(text) if not any(path.endswith(f"/{name}") for path in files())}
    unknown |= {name for name in FOLDER.findall(text) if not (ROOT / name).exists()}
    assert unknown - EXAMPLES == set()


@every_document
def test_every_dotted_name_leads_to_code(document: Path) -> None:
    names = {name for name in DOTTED.findall(document.read_text()) if not name.endswith((".py", ".md"))}
    assert {name for name in names if not exists(name)} == set()


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()] == []


@every_document
def test_every_subject_is_one_of_the_registry(document: Path) -> None:
    known = [one.address for one in registry.CHANNELS]
    mentioned = {subject.rstrip(".") for subject in SUBJECT.findall(TAG.sub("", document.read_text()))}
    assert {one for one in mentioned - OTHERS if not any(_within(one, address) for address in known)} == set()


def _within(subject: str, address: str) -> bool:
    """Return true if the address can be the subject, or begin with it; `<x>`, `*` and `{x}` stand for any one token."""
    subject_tokens, address_tokens = subject.split("."), address.split(".")
    if subject_tokens[-1] == ">":
        subject_tokens.pop()
    if len(subject_tokens) > len(address_tokens) and address_tokens[-1] == "{rest}":
        subject_tokens = subject_tokens[: len(address_tokens)]
    return len(subject_tokens) <= len(address_tokens) and all(
        left[0] in "<{*" or right[0] == "{" or left == right
        for left, right in zip(subject_tokens, address_tokens, strict=False)
    )


@every_document
def test_every_variable_is_one_that_is_read(document: Path) -> None:
    assert {name for name in VARIABLE.findall(document.read_text()) if name not in code()} == set()


@cache
def code() -> str:
    """Return all that may read a variable."""
    return "\n".join(
        (ROOT / name[1:]).read_text()
        for name in files()
        if name.endswith((".py", "Makefile", "docker-compose.yml", "traces.yaml", "Dockerfile", ".ci/run", ".sh"))
    )
