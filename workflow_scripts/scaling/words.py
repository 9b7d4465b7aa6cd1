"""Statuses and modes of points, as results hold them."""

DONE, OUT_OF_MEMORY, FAILED, TIMEOUT = "done", "out_of_memory", "failed", "timeout"
REAL, SYNTHETIC, NO_COMMUNICATION, IO = "real", "synthetic", "no_communication", "io"
READING = (REAL, IO)  # modes that read a corpus
STEPS = (SYNTHETIC, REAL)  # modes whose step is that of a run
