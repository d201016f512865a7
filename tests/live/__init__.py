"""`edgedefend run` against real sources and a real broker."""
