"""Commands for principals, agents, keys, tokens, certificates, sites and contexts."""
