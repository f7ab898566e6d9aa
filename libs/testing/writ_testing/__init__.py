"""Fakes, suites that every implementation must pass, real peers as fixtures, test operations. No service imports it."""
