"""Print the catalogue of known datasets, or one entry of it with how to use it."""

import argparse
import sys

from workflow_scripts.catalogue.entries import entries
from workflow_scripts.catalogue.listing import table, whole
from workflow_scripts.errors import UserError


def main() -> None:
    """The command line; `python -m workflow_scripts.fetch --list` calls it."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.catalogue", description=__doc__
    )
    parser.add_argument("name", nargs="?", help="an entry; left out: a table of all")
    name = parser.parse_args().name
    try:
        text = whole(name, entries()) if name else table(entries())
    except UserError as error:
        sys.exit(str(error))
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
