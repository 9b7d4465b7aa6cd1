"""What Slurm says of a job, in the words that Snakemake's Slurm plugin knows.

The plugin (2.8) compares whole words. To it a job that somebody cancelled (`CANCELLED by 1234`) and
one that was preempted run for ever, and it never asks for the nodes of a job again of which one
died: all of them, thousands perhaps, though Slurm itself keeps the dead one out.
"""

from collections.abc import Awaitable, Callable

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

Found = dict[str, str] | None
Query = Callable[..., Awaitable[tuple[Found, float | None]]]

_LOST = frozenset({"NODE_FAIL", "PREEMPTED"})


def known(state: str) -> str:
    """The plugin's word for a state: a job that was cancelled, preempted or lost has failed."""
    word = state.split()[0] if state.split() else state
    return "FAILED" if word in _LOST else word


def translating(query: Query) -> Query:
    """The plugin's query of states (by job, and the seconds it took), its answer translated."""
    told: set[tuple[str, str]] = set()

    async def translated(*arguments: object, **named: object) -> tuple[Found, float | None]:
        states, seconds = await query(*arguments, **named)
        if states is None:
            return None, seconds
        for job, state in states.items():
            if known(state) != state and (job, state) not in told:
                told.add((job, state))
                log.warning(
                    "Slurm job %s: %s; it is submitted again if retries are left", job, state
                )
        return {job: known(state) for job, state in states.items()}, seconds

    return translated


def translate_states() -> None:
    """Let the Slurm plugin of this process see translated states.

    Raises:
        UserError: The plugin is another one than this was written for.
    """
    import snakemake_executor_plugin_slurm as plugin

    name = "query_job_status"
    if not hasattr(plugin, name):
        raise UserError(
            f"this version of the Slurm plugin has no {name}: install the one that "
            "envs/constraints.txt names"
        )
    setattr(plugin, name, translating(getattr(plugin, name)))
