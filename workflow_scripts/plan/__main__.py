"""Plan a run before it is started.

python -m workflow_scripts.plan memory --run scenes-mae
"""

import argparse

from workflow_scripts.plan import memory
from workflow_scripts.stage import add_log, run_program


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command for each thing that can be planned."""
    one = argparse.ArgumentParser(prog="python -m workflow_scripts.plan", description=__doc__)
    parts = one.add_subparsers(required=True, metavar="WHAT")
    part = parts.add_parser("memory", help="bytes a device needs", description=memory.__doc__)
    memory.add_options(part)
    add_log(part)
    part.set_defaults(plan=memory.plan)
    return one


if __name__ == "__main__":
    run_program(parser(), lambda arguments: arguments.plan(arguments))
