"""A function in a child of this process, for scripts that kill it."""

import os
import traceback
from collections.abc import Callable
from typing import Any

from workflow_scripts.lifetime import die_with_parent


def fork(function: Callable[..., None], *values: Any) -> int:
    """Run a function in a child; its exit status tells whether it returned."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        die_with_parent(parent)
        function(*values)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)
