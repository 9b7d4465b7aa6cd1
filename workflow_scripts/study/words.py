"""Statuses of points as people say them."""

from workflow_scripts.scaling.words import DONE, FAILED, OUT_OF_MEMORY, TIMEOUT

STATUS_TEXTS = {
    DONE: "done",
    OUT_OF_MEMORY: "out of memory",
    TIMEOUT: "time limit",
    FAILED: "failed",
}
