"""Batches of a corpus as a `torch.utils.data` dataset: item `step` is one rank's whole batch.

    DataLoader(batches, sampler=range(start, len(batches)), batch_size=None, num_workers=…)

A batch depends on (seed, step) alone. It is read in the order of the files and decoded straight
into its place, so that nothing is collated afterwards.
"""

import math
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from workflow_scripts.errors import UserError
from workflow_scripts.loader.draws import NOISE, bits, uniform32
from workflow_scripts.loader.order import Order
from workflow_scripts.loader.pixels import seen_chip, seen_image
from workflow_scripts.loader.views import View, centre_view, random_view, view_draws
from workflow_scripts.logs import log
from workflow_scripts.models.scaling import fill_missing_counts
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.reader import SampleError

Batch = dict[str, Any]

_PAUSE_SECONDS = 0.1  # before the first new try; doubled before each other
_MOST_IN_A_ROW = 16  # bad samples that are skipped before a whole file is thought lost


def shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An empty tensor in memory that processes share, made as torch's default_collate makes it."""
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(dtype).view(shape)


def _has_all_values(corpus: Corpus) -> bool:
    """Whether the index says that every pixel of every chip has a value."""
    _, height, width = corpus.chip_shape
    pixels = corpus.index["count"] * height * width
    return all(values == pixels for values in corpus.index.get("values", [None]))


class Batches(Dataset[Batch]):
    """The batches that a rank sees, by step.

    A batch holds `images`, uint8 (B, size, size, 3), or for chips uint16 counts (B, bands, size,
    size) with `scale` and `offset` float32 (B, bands); `noise` float32 (B, cells) in [0, 1);
    `labels` int64 (B,), −1 where there is none; and how many samples were `skipped`, how many reads
    `retried`, and how many samples read from a `local` copy, plain numbers.

    Args:
        corpus: The packed corpus.
        order: Which samples each step sees; its seed is that of views and noise too.
        augment: As for `views.random_view`; None shows the square in the middle.
        size: Height and width of what is seen, pixels.
        cells: Numbers that each sample needs for its mask.
        rank: Which slice of the global batches.
        ranks: Into how many they are cut.
        retries: How often a sample that cannot be read is tried again.
        skip_bad: Whether the next sample takes the place of one that cannot be read (else an error
            ends it).

    Raises:
        UserError: A batch that cannot be divided among the ranks.
    """

    def __init__(
        self, corpus: Corpus, order: Order, *, augment: dict[str, Any] | None, size: int,
        cells: int = 0, rank: int = 0, ranks: int = 1, retries: int = 2, skip_bad: bool = False,
    ) -> None:  # fmt: skip
        self.corpus, self.order, self.augment, self.size = corpus, order, augment, size
        self.cells, self.rank, self.ranks = cells, rank, ranks
        self.retries, self.skip_bad = retries, skip_bad
        self.lethal: set[int] = set()  # samples that ended the process that read them
        self.desk: NDArray[np.int64] | None = (
            None  # in a worker of `feed`: process, sample it is at
        )
        self.is_chips = corpus.kind == layout.CHIPS
        self._complete = self.is_chips and _has_all_values(corpus)
        self._straight = self.is_chips and augment is None and corpus.chip_shape[1:] == (size, size)
        self._retried = 0
        order.batch_at(0, rank=rank, ranks=ranks)  # refuses what cannot be divided

    def __len__(self) -> int:
        return self.order.total_steps

    def __getitem__(self, step: int) -> Batch:
        return self.at(step)

    def at(self, step: int, room: Tensor | None = None) -> Batch:
        """The batch of a step, its images in `room` if given."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of {len(self)}")
        samples = self.order.batch_at(step, rank=self.rank, ranks=self.ranks)
        return self.of(samples, epoch=self.order.epoch_of(step), room=room)

    def of(self, samples: NDArray[np.int64], *, epoch: int, room: Tensor | None = None) -> Batch:
        """The batch of some samples as an epoch sees them.

        Args:
            samples: (n,) their numbers.
            epoch: Epoch from 0.
            room: Where the images go; a new tensor by default.

        Raises:
            UserError: A sample cannot be read or decoded; names shard, row and key.
        """
        images = self._new_room(len(samples)) if room is None else room
        self._retried, local = 0, self.corpus.local_reads
        shown = samples
        if not self._read_whole(samples, images):
            shown = self._read_each(samples, images.numpy(), epoch)
        noise = bits(shown, self.cells, seed=self.order.seed, kind=NOISE, epoch=epoch)
        return {
            "images": images,
            **(self._calibration(shown) if self.is_chips else {}),
            "noise": torch.from_numpy(uniform32(noise)),
            "labels": torch.from_numpy(self.corpus.labels_of(shown).astype(np.int64)),
            "skipped": int((shown != samples).sum()),
            "retried": self._retried,
            "local": self.corpus.local_reads - local,
        }

    def _read_whole(self, samples: NDArray[np.int64], images: Tensor) -> bool:
        """Read chips that need nothing done, straight into their places; False if one needs it."""
        if not (self._straight and self._complete) or self.lethal:
            return False
        try:
            self.corpus.counts_into(samples, images.numpy(), note=self.note)
        except UserError:  # which is told, tried again or skipped where samples are read one by one
            return False
        return True

    def _read_each(
        self, samples: NDArray[np.int64], pixels: NDArray[Any], epoch: int
    ) -> NDArray[np.int64]:
        """Read samples one by one, in the order of the files; returns which are shown."""
        draws, shown = view_draws(samples, seed=self.order.seed, epoch=epoch), samples.copy()
        for slot in np.argsort(samples).tolist():
            shown[slot] = self._show(int(samples[slot]), draws[slot], pixels[slot], epoch)
        return shown

    def parts(self, count: int | None = None) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of each tensor of a batch: of one rank's share, or of `count` samples."""
        n = self.order.batch // self.ranks if count is None else count
        size, bands = (self.size, self.size), self.corpus.channels
        found = {
            "noise": ((n, self.cells), torch.float32),
            "labels": ((n,), torch.int64),
        }
        if not self.is_chips:
            return {"images": ((n, *size, 3), torch.uint8), **found}
        calibration = ((n, bands), torch.float32)
        counts = ((n, bands, *size), torch.uint16)
        return {"images": counts, "scale": calibration, "offset": calibration, **found}

    def _new_room(self, count: int) -> Tensor:
        """An empty array for a batch: in a worker in shared memory, to be handed over uncopied."""
        shape, dtype = self.parts(count)["images"]
        return (
            torch.empty(shape, dtype=dtype) if get_worker_info() is None else shared(shape, dtype)
        )

    def _show(self, sample: int, draws: NDArray[np.float64], out: NDArray[Any], epoch: int) -> int:
        """Put a sample, or the next that can be read, in its place; returns which it was."""
        for ahead in range(_MOST_IN_A_ROW):
            chosen = (sample + ahead) % len(self.corpus)
            if ahead:
                draws = view_draws(np.array([chosen]), seed=self.order.seed, epoch=epoch)[0]
            try:
                self._try(chosen, draws, out)
            except SampleError as error:
                if not self.skip_bad:
                    raise
                log.warning("skipped: %s", error)
            else:
                return chosen
        raise UserError(
            f"{_MOST_IN_A_ROW} samples in a row cannot be read, from {self.corpus.name(sample)} "
            "on; the shard is lost: pack it again"
        )

    def _try(self, sample: int, draws: NDArray[np.float64], out: NDArray[Any]) -> None:
        """Read and decode a sample, again if it fails.

        Raises:
            SampleError: It cannot be read or decoded.
            UserError: Its shard cannot be opened.
        """
        if sample in self.lethal:
            raise SampleError(f"{self.corpus.name(sample)}: ended the process that read it")
        self.note(sample)
        for left in range(self.retries, -1, -1):
            try:
                self._read(sample, draws, out)
                return
            except UserError as error:  # of the sample, or of opening its shard
                if not left:
                    raise
                self._retried += 1
                log.warning("trying again: %s", error)
                time.sleep(_PAUSE_SECONDS * 2 ** (self.retries - left))

    def note(self, sample: int) -> None:
        """Tell, in a worker of `feed`, which sample is read next."""
        if self.desk is not None:
            self.desk[1] = sample

    def _read(self, sample: int, draws: NDArray[np.float64], out: NDArray[Any]) -> None:
        if self.is_chips:
            self._read_chip(sample, draws, out)
            return
        data = self.corpus.image(sample)
        height, width = self.corpus.image_size(sample)
        view = self._view(draws, width=width, height=height)
        try:
            out[:] = seen_image(data, view, size=self.size)
        except ValueError as error:
            raise SampleError(
                f"{self.corpus.name(sample)}: not a readable image ({error}); pack it again"
            ) from None

    def _read_chip(self, sample: int, draws: NDArray[np.float64], out: NDArray[Any]) -> None:
        counts = self.corpus.counts(sample)
        if not self._complete:
            scale, offset = self.corpus.calibration(sample)
            missing = self.corpus.index["mean"]
            counts = fill_missing_counts(counts, scale=scale, offset=offset, missing=missing)
        view = self._view(draws, width=counts.shape[2], height=counts.shape[1])
        out[:] = seen_chip(counts, view, size=self.size)

    def _view(self, draws: NDArray[np.float64], *, width: int, height: int) -> View:
        if self.augment is None:
            return centre_view(width=width, height=height)
        return random_view(self.augment, draws, width=width, height=height)

    def _calibration(self, samples: NDArray[np.int64]) -> dict[str, Tensor]:
        """`scale` and `offset`, float32 (B, bands)."""
        scale, offset = self.corpus.calibrations_of(samples)
        return {
            "scale": torch.from_numpy(scale.astype(np.float32)),
            "offset": torch.from_numpy(offset.astype(np.float32)),
        }
