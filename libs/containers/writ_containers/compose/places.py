"""Places in a Compose file, for messages; pure.

What stands in place of a key may be a value: YAML reads `{PASSWORD:s3cret}` as one key without a value. Messages are on
record, so they name only what looks like a key.
"""

from writ_documents.yaml_file import looks_like_key


def place(where: str, key: str) -> str:
    """Return the place of a key's value in the mapping at `where`."""
    return f"{where}.{key}" if looks_like_key(key) else f"an entry of {where}"
