"""The SSH agent: operations on hosts by a hostops kept open over SSH, each under a verified grant."""
