"""Sign decisions, and recognise those that this process signed recently.

Each operation's first decision is read back from the journal at its start, and comparing the digest of the signed bytes
is faster than verifying the signature. Decisions of other replicas, and older ones, are verified.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from hashlib import sha256

from writ_contracts.decisions import Decision
from writ_contracts.signing import Signed
from writ_trust.keys import Key
from writ_trust.statements import check_installation, open_signed, read, sign

REMEMBERED = 4_096
"""The number of remembered signatures, at 250 bytes each."""


class DecisionSigner:
    """Signs with policy's key, and opens decisions that policy signed. `opened` receives whether one was recognised."""

    def __init__(self, key: Key, opened: Callable[[bool], None] = lambda _: None) -> None:
        self._key, self._opened = key, opened
        self._signed: OrderedDict[str, bytes] = OrderedDict()

    @property
    def installation(self) -> str:
        return self._key.installation

    def sign(self, decision: Decision) -> Signed:
        signed = sign(self._key, decision)
        self._signed[signed.signature] = sha256(bytes(signed.payload)).digest()
        if len(self._signed) > REMEMBERED:
            self._signed.popitem(last=False)
        return signed

    def open(self, signed: Signed, trusted: Collection[str]) -> Decision:
        """Return the decision if one of the `trusted` keys signed it for this installation. Raises Untrusted."""
        own = self._is_own(signed, trusted)
        self._opened(own)
        if not own:
            return open_signed(signed, Decision, trusted, self.installation)
        decision = read(signed, Decision)
        check_installation(decision, self.installation)
        return decision

    def _is_own(self, signed: Signed, trusted: Collection[str]) -> bool:
        """Return true if this process made this signature over exactly these bytes, with a key that still counts."""
        known = self._signed.get(signed.signature)
        if known is None or signed.key != self._key.public or signed.key not in trusted:
            return False
        return known == sha256(bytes(signed.payload)).digest()
