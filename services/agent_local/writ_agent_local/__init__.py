"""The local agent: operations on its own host, each in a child process under a verified grant."""
