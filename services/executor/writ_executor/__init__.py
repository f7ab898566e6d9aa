"""The executor drives each operation through its life and alone writes the journal, but for `granted` and security
events.

Any number of replicas, no leader: a step that one leaves undone another finds, and the journal's expected sequences
decide.
"""

__version__ = "0.1.0"
