"""The audit service: it reads the journal, indexes it, and serves traces and searches. It writes to no other service's
data.
"""
