"""Draw the graph of jobs as Snakemake plans it, without graphviz.

python -m workflow_scripts.dag --output results/dag.svg        (snakemake dag)
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import networkx as nx

from workflow_scripts.dag_picture import draw
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, start_logging
from workflow_scripts.nested import Planned, ask_snakemake, planned_jobs

MOST_JOBS = 60  # beyond this the graph of rules is drawn instead of the graph of jobs
_LEFT_OUT = frozenset({"all", "dag_figure"})  # they move no data


def job_graph(jobs: Iterable[Planned]) -> nx.DiGraph:
    """Jobs joined by the files that one makes and another takes, without redundant edges.

    More than `MOST_JOBS` jobs become a graph of their rules.
    """
    jobs = [job for job in jobs if job.rule not in _LEFT_OUT]
    by_rule = len(jobs) > MOST_JOBS
    counts = Counter(job.rule for job in jobs)

    def name(job: Planned) -> tuple[str, ...]:
        if not by_rule:
            return (job.rule, *job.wildcards)
        return (job.rule, f"{counts[job.rule]} job{'s' * (counts[job.rule] > 1)}")

    maker = {file: name(job) for job in jobs for file in job.outputs}
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({name(job) for job in jobs}))
    for job in jobs:
        edges = ((maker[file], name(job)) for file in job.inputs if file in maker)
        graph.add_edges_from(edge for edge in edges if edge[0] != edge[1])
    return nx.transitive_reduction(graph)


def main() -> None:
    """Ask Snakemake for the graph of `all` and draw it."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.dag", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the SVG file")
    options = parser.parse_args()
    start_logging()
    try:
        plan = ask_snakemake("all", "-n", "--forceall")
        graph = job_graph(planned_jobs(plan))
        draw(graph, options.output)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("%s: %d jobs or rules", options.output, len(graph))


if __name__ == "__main__":
    main()
