"""Digests of a file while it grows."""

import hashlib
import os
import threading
from types import TracebackType

_BLOCK = 2**20


class Digests:
    """Hashes a file's bytes from the first, each algorithm in a thread that follows the writer.

    The threads read what was written back from the file: it comes out of the page cache at a few
    times the speed of SHA-256, nothing has to be handed over or held, and what an interrupted
    download left is read like the rest, while the next bytes are on their way. So a digest is of
    what the file holds, not of what was meant to be written.
    """

    def __init__(self, descriptor: int, algorithms: tuple[str, ...], whole: int = 0) -> None:
        """Start the threads.

        Args:
            descriptor: Of the open file; stays the caller's.
            algorithms: Names for `hashlib`.
            whole: Bytes that are there already.
        """
        self._descriptor = descriptor
        self._whole = whole
        self._ended = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self._threads = [
            threading.Thread(target=self._follow, args=(name,), daemon=True) for name in algorithms
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Digests":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def grown(self, whole: int) -> None:
        """Tell that the file holds so many bytes now."""
        with self._changed:
            self._whole = whole
            self._changed.notify_all()

    def result(self) -> dict[str, str]:
        """The digests of all bytes told of, hexadecimal, by algorithm.

        Raises:
            OSError: The file could not be read.
        """
        self._end(self._whole)
        if self._error:
            raise self._error
        return {name: found.hexdigest() for name, found in self._hashes.items()}

    def stop(self) -> None:
        """End the threads; nothing is hashed any more."""
        self._end(0)

    def _end(self, whole: int) -> None:
        with self._changed:
            self._whole, self._ended = whole, True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _follow(self, name: str) -> None:
        done, block = 0, memoryview(bytearray(_BLOCK))
        while True:
            with self._changed:
                while done >= self._whole and not self._ended:
                    self._changed.wait()
                whole = self._whole
            if done >= whole:
                return
            try:
                count = os.preadv(self._descriptor, [block[: whole - done]], done)
                if not count:
                    raise OSError(f"shorter than the {whole} bytes written")
            except OSError as error:
                self._error = error
                return
            self._hashes[name].update(block[:count])
            done += count
