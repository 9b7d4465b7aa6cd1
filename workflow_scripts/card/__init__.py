"""The model card of a finished run: what its weights are, for whoever finds them elsewhere."""
