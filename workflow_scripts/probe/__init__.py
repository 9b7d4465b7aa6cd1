"""Judge an exported encoder, frozen, on a labelled benchmark, beside the same one untrained."""
