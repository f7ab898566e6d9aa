"""Verification of signatures that people make: nkeys, `ssh-keygen -Y sign` and passkeys, behind one function."""
