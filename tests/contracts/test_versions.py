"""Two versions beside each other read each other's messages until a new feature is used.

`last_version.json` has one message of each kind with every field set, as the last version wrote it. With a release,
`python -m tests.contracts.test_versions` writes it from the golden files: review the losses.
"""

from typing import Any

from msgspec import json
from tests.contracts.messages import GOLDEN, carried, file_name, messages, statements

from writ_contracts.registry import CHANNELS, Style
from writ_contracts.wire import decode, encode
from writ_testing.each_case import each_case

FILE = GOLDEN.with_name("last_version.json")
LAST: dict[str, Any] = json.decode(FILE.read_bytes())
GONE: frozenset[str] = frozenset()
"""Kinds that the last version had and nobody sends or reads any more."""
KINDS = {file_name(kind): kind for kind in messages()}
SENT = {
    kind for channel in CHANNELS if channel.style in (Style.REQUEST, Style.PUBLISH) for kind in carried(channel.message)
}
REFUSED_WHOLE = sorted(
    file_name(kind)
    for kind in {*SENT, *statements()}
    if kind.__struct_config__.forbid_unknown_fields and file_name(kind) in LAST
)


def test_messages_of_the_last_version_all_exist() -> None:
    assert set(LAST) - set(KINDS) == GONE


@each_case("name", sorted(set(LAST) & set(KINDS)))
def test_messages_of_the_last_version_are_read(name: str) -> None:
    assert isinstance(decode(json.encode(LAST[name]), KINDS[name]), KINDS[name])


@each_case("name", REFUSED_WHOLE)
def test_last_version_knows_each_field_that_is_written_without_a_new_feature(name: str) -> None:
    written = encode(decode(json.encode(LAST[name]), KINDS[name]))
    assert unknown(json.decode(written), LAST[name]) == []


@each_case("name", sorted(file_name(kind) for kind in {*SENT, *statements()}))
def test_structs_that_refuse_unknown_fields_omit_defaults(name: str) -> None:
    config = KINDS[name].__struct_config__
    assert config.omit_defaults or not config.forbid_unknown_fields


def unknown(now: Any, then: Any, at: str = "") -> list[str]:
    """Return the fields of `now` that `then` lacks, although it has every field set."""
    if isinstance(now, dict) and isinstance(then, dict):
        new = [f"{at}.{name}" for name in now if name not in then]
        return new + [one for name in now if name in then for one in unknown(now[name], then[name], f"{at}.{name}")]
    if isinstance(now, list) and isinstance(then, list):
        return [one for mine, theirs in zip(now, then, strict=True) for one in unknown(mine, theirs, f"{at}[]")]
    return []


if __name__ == "__main__":
    golden = {name: json.decode((GOLDEN / name).read_bytes()) for name in sorted(KINDS)}
    lines = ",\n".join(f'"{name}": {json.encode(message).decode()}' for name, message in golden.items())
    FILE.write_text(f"{{\n{lines}\n}}\n")
