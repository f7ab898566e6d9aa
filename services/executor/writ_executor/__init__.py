"""The executor drives each operation through its life, and is the only one that writes the journal.

Any number of replicas, no leader: what one leaves undone another finds; the journal's expected sequences decide.
"""

__version__ = "0.1.0"
