"""Lint of policies: rules without effect, conflicts between rules, and rules that do not fit their installation. Every
service that loads a policy runs it. Pure functions, like the engine; `engine.lint` checks one key at a time.
"""
