"""What the Slurm plugin would misunderstand."""

import asyncio
import logging

import pytest
import snakemake_executor_plugin_slurm as plugin

from workflow_scripts import job_states
from workflow_scripts.errors import UserError


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("CANCELLED by 1234", "CANCELLED"), ("CANCELLED", "CANCELLED"), ("PREEMPTED", "FAILED"),
        ("NODE_FAIL", "FAILED"), ("COMPLETED", "COMPLETED"), ("RUNNING", "RUNNING"),
        ("TIMEOUT", "TIMEOUT"), ("OUT_OF_MEMORY", "OUT_OF_MEMORY"), ("", ""),
    ],
)  # fmt: skip
def test_a_state_in_the_words_of_the_plugin(state, word):
    assert job_states.known(state) == word


def test_the_plugins_own_query_is_translated(monkeypatch, caplog):
    """Through the program that the plugin starts: `echo` in place of sacct."""
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)  # put back afterwards
    job_states.translate_states()
    ask = "printf '7|CANCELLED by 0\\n8|RUNNING\\n'"
    with caplog.at_level(logging.WARNING, logger="orbweaver"):
        for _ in range(2):
            found, seconds = asyncio.run(plugin.query_job_status(ask, logging.getLogger("plugin")))
    assert found == {"7": "CANCELLED", "8": "RUNNING"}
    assert seconds > 0
    told = [record.getMessage() for record in caplog.records]
    assert told == ["Slurm job 7: CANCELLED by 0; it is submitted again if retries are left"]


def test_no_answer_stays_no_answer(monkeypatch):
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)
    job_states.translate_states()
    assert asyncio.run(plugin.query_job_status("false", logging.getLogger("plugin"))) == (
        None,
        None,
    )


def test_another_plugin_is_refused(monkeypatch):
    monkeypatch.delattr(plugin, "query_job_status")
    with pytest.raises(UserError, match=r"constraints\.txt"):
        job_states.translate_states()
