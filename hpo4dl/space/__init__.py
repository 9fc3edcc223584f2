"""A ConfigSpace as a unit cube."""
