"""The same rules and requests through Writ and through other policy engines: compared for equality first, then timed.

`make bench-peers` installs the peers in a folder of their own, measures, and writes the table and the plot of
docs/performance.md. A peer that is not installed is named in the output.
"""
