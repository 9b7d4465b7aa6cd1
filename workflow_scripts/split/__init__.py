"""The splits of a benchmark: made from its dataset, drawn by fraction and seed, or read from lists.

A table with a row an item of the dataset's manifest says on which side of each split it stands.
"""
