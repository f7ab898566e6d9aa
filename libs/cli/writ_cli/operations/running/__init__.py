"""Commands that request operations, follow and cancel them."""
