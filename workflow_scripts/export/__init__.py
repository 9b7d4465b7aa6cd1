"""A finished run as files that stand alone: weights, model card, curve, pictures."""
