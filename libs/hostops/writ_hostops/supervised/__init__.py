"""hostops behind one kept connection: requests as frames on standard input, each carried out in a child that was
forked ahead; one that may change something is the last of its child, those that only look follow each other in one.

`supervisor.serve` is the loop, `child.py` one request, `frames.py` the form of what is said, `settlement.py` what this
host still knows of an operation whose connection broke. It is sent to a host as an archive and started there.
"""
