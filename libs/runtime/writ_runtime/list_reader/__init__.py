"""Lists of a service, read again and again: large ones in a process of their own."""
