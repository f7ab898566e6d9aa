"""The operations on guests and nodes, and the table of all of them."""
