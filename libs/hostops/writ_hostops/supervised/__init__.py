"""hostops behind one kept connection: requests as frames on standard input, each carried out by a child forked in
advance. A child ends after a request that may change something; reads follow each other in one child.

`supervisor.serve` is the loop, child.py one request, frames.py the wire format, settlement.py this host's knowledge of
an operation whose connection broke. The code is sent to a host as an archive and started there.
"""
