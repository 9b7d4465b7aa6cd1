"""The catalogue: known datasets, each with its source, checksums, licence and expected counts."""
