"""Ask the source again for the days of granules that it had not whole, or did not give as listed.

Only manifests that change are written, so that only their days are tiled again.

python -m workflow_scripts.fetch.relist        (snakemake relist)
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.catalogue.known import known
from workflow_scripts.config import Config
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.driver import CONFIG_VARIABLE
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.again import ask_again
from workflow_scripts.fetch.laads.archive import connect
from workflow_scripts.fetch.laads.day import in_words
from workflow_scripts.fetch.laads.write import write_day
from workflow_scripts.fetch_recipe import fetch, raw_folder, transfer
from workflow_scripts.incomplete import told_of_days
from workflow_scripts.logs import start_logging
from workflow_scripts.threads import map_in_order


def relist(config: Config, dataset: str, *, every: bool) -> str:
    """List the incomplete days of a dataset again, and those it did not give; what to tell of it.

    Args:
        config: The configuration.
        dataset: One that is fetched day by day.
        every: The complete days too, for granules that were made anew.

    Raises:
        UserError: The source could not be asked for some days, which stay as they were; or there
            is no token.
    """
    listed = list(told_of_days(config, dataset))
    if not listed:
        return f"{dataset}: no day has been listed yet\n"
    asked = [row for row in listed if every or row[2]["incomplete"] or ask_again(row[1]).exists()]
    if not asked:
        return f"{dataset}: none of {len(listed)} days listed is incomplete\n"
    options = transfer(config, dataset)
    client = connect(options)

    def again(row: tuple[str, Path, dict[str, Any]]) -> bool | UserError:
        day, manifest, _ = row
        try:
            return write_day(
                fetch(config, dataset, day), client, url=options["url"], manifest=manifest,
                folder=raw_folder(config, dataset) / day,
            )  # fmt: skip
        except UserError as error:  # told at the end: other days may have changed
            return error

    answers = list(map_in_order(again, asked, workers=options["parallel"]))
    now = {day: told for day, _, told in told_of_days(config, dataset)}
    lines = [
        f"  {day}: {_in_words(answer, now[day])}"
        for (day, _, _), answer in zip(asked, answers, strict=True)
    ]
    left = sum(told["incomplete"] for told in now.values())
    changes = sum(answer is True for answer in answers)
    head = f"{dataset}: {len(asked)} of {len(listed)} days asked for again, {changes} changed"
    text = "\n".join([f"{head}, {left} incomplete", *lines]) + "\n"
    errors = [answer for answer in answers if isinstance(answer, UserError)]
    if errors:
        raise UserError(f"{text}{len(errors)} days could not be asked for; the first: {errors[0]}")
    return text


def _in_words(answer: bool | UserError, told: dict[str, Any]) -> str:
    if isinstance(answer, UserError):
        return "could not be asked for, left as it was"
    changed = "changed, will be tiled again" if answer else "as it was"
    lacks = f"the source lacks {in_words(told)}" if told["incomplete"] else "complete"
    return f"{changed}; {lacks}"


def main() -> None:
    """Ask for all datasets that are fetched day by day."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.fetch.relist", description=__doc__
    )
    parser.add_argument("--all", action="store_true", help="all days listed, complete ones too")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    start_logging()
    try:
        raw = os.environ.get(CONFIG_VARIABLE)
        config = check_config(json.loads(raw)) if raw else load_config(*arguments.configfile)
    except UserError as error:
        sys.exit(str(error))
    failed = False
    for name, entry in config.datasets.items():
        if known(entry).by_day:
            try:
                sys.stdout.write(relist(config, name, every=arguments.all))
                sys.stdout.flush()
            except UserError as error:
                sys.stderr.write(f"{error}\n")
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
