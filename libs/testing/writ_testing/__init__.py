"""Test support: fakes, suites for every implementation of a port, real peers as fixtures, test operations. No
service imports it.
"""
