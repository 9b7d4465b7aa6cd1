"""Pretraining: one run on any number of ranks, resumed from its checkpoints, bit for bit.

`order`, `augment`: what is seen when, pure functions of (seed, epoch, sample). `loader`: from the
shards to batches. `launch`: which rank this process is. `parallel`: strategies. `checkpoint`: what
survives a kill. `run_digest`: which run a checkpoint belongs to. `schedule`, `history`, `trainer`:
the loop and its curve.
"""
