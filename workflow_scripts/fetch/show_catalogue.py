"""The option that prints the catalogue of known datasets."""

import argparse
import subprocess
import sys
from typing import Any


class ShowCatalogue(argparse.Action):
    """Prints the catalogue, or one entry of it, and ends the program, as `--help` does.

    In a process of its own: what a stage imports is part of its digest, and a new entry of the
    catalogue must not make every dataset stale.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Run `python -m workflow_scripts.catalogue [<entry>]`."""
        name = [values] if values else []
        done = subprocess.run([sys.executable, "-m", "workflow_scripts.catalogue", *name])
        sys.exit(done.returncode)
