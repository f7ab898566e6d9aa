"""The local agent: carries out operations on its own host, each in a child process, none without a verified grant."""
