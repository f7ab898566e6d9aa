"""Write, verify and read archives of the journal. Verification needs only policy's public key."""
