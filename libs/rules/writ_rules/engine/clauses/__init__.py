"""The clauses and conditions of rules, judged on one request."""
