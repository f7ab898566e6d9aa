"""Lists as a service reads them, again and again: a large one in a process of its own."""
