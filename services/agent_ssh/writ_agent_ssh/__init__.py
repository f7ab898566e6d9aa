"""The SSH agent: operations on hosts over SSH, by a hostops kept open there, none without a verified grant."""
