"""A point of a scaling study: what one layout of a model over ranks takes, in time and memory."""
