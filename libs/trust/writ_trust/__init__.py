"""Keys, signatures, keyed digests and sealing. No I/O: keys come in as bytes, and nothing here reads a file or a clock.

The only importer of nkeys and PyNaCl (libsodium).
"""
