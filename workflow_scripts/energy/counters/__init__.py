"""Counters of energy, and what tells how busy a device is; each kind in a file of its own."""
