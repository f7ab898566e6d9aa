"""Verification of people's signatures: nkeys, `ssh-keygen -Y sign` and passkeys, behind one function."""
