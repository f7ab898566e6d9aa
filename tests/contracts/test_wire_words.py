"""Words on the wire are those of the glossary, besides the former ones that ADR 106 keeps."""

from collections.abc import Iterator
from typing import get_args

from msgspec import inspect
from tests.contracts.messages import messages

from writ_contracts.agents import SecurityKind
from writ_contracts.channels import Role
from writ_contracts.decisions import ReadAction
from writ_contracts.errors import CODES
from writ_contracts.registry import CHANNELS

FORMER = {
    "look",
    "looks",
    "visit",
    "keeper",
    "seen",
    "given",
    "asked",
    "ahead",
    "told",
    "said",
    "wanted",
    "door",
    "house",
}
"""Words that the glossary bans, or that have several meanings."""
KEPT_FIELDS = {"look", "look_key", "look_until", "look_digest", "ahead", "visit", "seen", "given", "asked", "wanted"}
KEPT_SUBJECTS = {"notice_keeper", "look", "journal_approval_given"}  # an approval is given
KEPT_CODES = {"forged_look", "look_expired"}
KEPT_VALUES = {"visit", "ahead", "keeper"}


def former(words: Iterator[str]) -> set[str]:
    return {word for word in words if FORMER.intersection(word.replace(".", "_").split("_"))}


def fields(info: inspect.Type, known: set[type]) -> Iterator[str]:
    """Yield the wire names of the fields of a struct and of the structs within it."""
    if isinstance(info, inspect.StructType):
        if info.cls in known:
            return
        known.add(info.cls)
        for field in info.fields:
            yield field.encode_name
            yield from fields(field.type, known)
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            yield from fields(one, known)
    elif isinstance(info, inspect.DictType):
        yield from fields(info.value_type, known)
    elif isinstance(info, inspect.ListType | inspect.VarTupleType):
        yield from fields(info.item_type, known)


def test_fields_of_messages_have_the_words_of_the_glossary() -> None:
    known: set[type] = set()
    assert former(name for kind in messages() for name in fields(inspect.type_info(kind), known)) == KEPT_FIELDS


def test_subjects_and_channels_have_the_words_of_the_glossary() -> None:
    assert former(channel.name for channel in CHANNELS) == KEPT_SUBJECTS
    assert {one.name for one in CHANNELS if former(iter([one.address]))} == KEPT_SUBJECTS


def test_codes_have_the_words_of_the_glossary() -> None:
    assert former(iter((*CODES, *get_args(SecurityKind)))) == KEPT_CODES


def test_wire_values_use_former_words_only_where_kept() -> None:
    assert former(iter((*get_args(ReadAction), *(role.value for role in Role)))) == KEPT_VALUES
