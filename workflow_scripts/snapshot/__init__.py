"""A run along its steps: the encoder of a snapshot as a model folder."""
