"""Bytes that are alive during a computation: every tensor's storage from its making to its end."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Bytes:
    """Bytes that were alive at one time.

    Attributes:
        total: All of them.
        gradients: The part of them that was gradients of parameters.
    """

    total: int = 0
    gradients: int = 0


class Live(TorchDispatchMode):
    """Counts the storages that operations make, each once however many tensors share it.

    Args:
        known: Tensors that are not to be counted: parameters, buffers.

    Attributes:
        total: Bytes alive now.
        gradients: The part of them noted as gradients of parameters.
        peak: The most since `mark`.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = [tensor.untyped_storage() for tensor in known]
        self._sizes: dict[int, int] = {id(storage): 0 for storage in self._known}
        self._watched: dict[int, weakref.ref[Any]] = {}
        self._gradients: set[int] = set()
        self.total = self.gradients = 0
        self.peak = Bytes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self._watched[key] = weakref.ref(storage, partial(self._gone, key))
        self.total += storage.nbytes()
        self._note()

    def _gone(self, key: int, _: object) -> None:
        size = self._sizes.pop(key)
        del self._watched[key]
        self.total -= size
        if key in self._gradients:
            self._gradients.discard(key)
            self.gradients -= size

    def _note(self) -> None:
        if self.total > self.peak.total:
            self.peak = Bytes(self.total, self.gradients)

    def is_gradient(self, tensor: Tensor) -> None:
        """Note that a counted tensor is the gradient of a parameter."""
        key = id(tensor.untyped_storage())
        if key in self._watched and key not in self._gradients:
            self._gradients.add(key)
            self.gradients += self._sizes[key]

    def now(self) -> Bytes:
        """What is alive at this moment."""
        return Bytes(self.total, self.gradients)

    def mark(self) -> Bytes:
        """The peak since the last mark; a new one begins at what is alive now."""
        found, self.peak = self.peak, self.now()
        return found
