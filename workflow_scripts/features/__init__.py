"""Features of a benchmark's samples, extracted once for an encoder and kept under their digest."""
