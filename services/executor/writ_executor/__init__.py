"""The executor drives each operation through its life and alone writes the journal, but for `granted` and security
events.

There are any number of replicas and no leader. Another replica finds a step left undone, and the journal's expected
sequences decide.
"""

__version__ = "0.1.0"
