"""Draw the graph of jobs as Snakemake plans it, without graphviz.

python -m workflow_scripts.dag --output results/dag.svg        (snakemake dag)
"""

import argparse
import sys
from pathlib import Path

from workflow_scripts.dag_picture import draw, job_graph
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, start_logging
from workflow_scripts.nested import ask_snakemake
from workflow_scripts.planned import planned_jobs


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
