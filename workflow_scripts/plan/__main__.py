"""Plan a run before it is started.

python -m workflow_scripts.plan memory --run scenes-mae
python -m workflow_scripts.plan node-hours --configfile examples/frontier.yaml
python -m workflow_scripts.plan run --encoder vit_3b --images 1e6 --epochs 100 --machine frontier
python -m workflow_scripts.plan refit --study results/scaling/mine.json --machine frontier
"""

import argparse

from workflow_scripts.plan import judge, memory, node_hours, refit, run
from workflow_scripts.stage import add_log, run_program


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command for each thing that can be planned."""
    one = argparse.ArgumentParser(prog="python -m workflow_scripts.plan", description=__doc__)
    parts = one.add_subparsers(required=True, metavar="WHAT")
    for name, what, module in (
        ("memory", "bytes a device needs", memory),
        ("node-hours", "what the runs of `all` may take", node_hours),
        ("run", "time, node-hours and energy of a pretraining, by strategy and nodes", run),
        ("refit", "fit the planner to a scaling study of your own", refit),
        ("judge", "hold the planner against published points that it has not seen", judge),
    ):
        part = parts.add_parser(name, help=what, description=module.__doc__)
        module.add_options(part)
        add_log(part)
        part.set_defaults(plan=module.plan)
    return one


if __name__ == "__main__":
    run_program(parser(), lambda arguments: arguments.plan(arguments))
