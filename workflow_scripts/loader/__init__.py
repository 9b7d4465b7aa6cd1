"""From a packed corpus to batches: the order of samples, their views, and `torch.utils.data`.

Order, view and mask noise are functions of (seed, epoch, sample) alone, whatever rank or worker
asks. `docs/loader.md` shows how to use it in a loop of one's own.
"""
