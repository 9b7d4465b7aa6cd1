"""The shard format: the only place that reads or writes shard bytes (HDF5).

`docs/shards.md` specifies it. A shard holds encoded images or chips of uint16 counts.
"""
