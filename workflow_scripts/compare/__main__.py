"""Set two to eight folders of results side by side, on one page.

python -m workflow_scripts.compare results-a results-b --html compare.html
"""

import argparse
from pathlib import Path

from workflow_scripts.compare.beside import made_anew
from workflow_scripts.compare.page import compare_page
from workflow_scripts.compare.site import MOST, read_sites
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, write_text
from workflow_scripts.logs import log
from workflow_scripts.stage import add_log, run_program


def work(arguments: argparse.Namespace) -> None:
    """Read all folders first, then write the page and, beside it, its figures and tables.

    Raises:
        UserError: A folder cannot be compared, or the page cannot be written there.
    """
    page: Path = arguments.html
    if page.is_dir():
        raise UserError(f"--html {page}: a folder; name the page in it, such as {page / 'x.html'}")
    sites = read_sites(arguments.results)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--html {page}: its folder cannot be made ({error})") from None
    beside = page.with_name(f"{page.stem}_files")
    with exclusive(page):
        with made_anew(beside) as folder:
            text = compare_page(sites, folder, beside.name)
        write_text(page, text)
    log.info("%s: %.1f MB", page, len(text.encode()) / 1e6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.compare", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS",
        help=f"a folder of results that has a report.json; up to {MOST}",
    )  # fmt: skip
    parser.add_argument(
        "--html", type=Path, required=True,
        help="the page; figures and tables go into the folder <its name>_files beside it",
    )  # fmt: skip
    add_log(parser)
    run_program(parser, work)
