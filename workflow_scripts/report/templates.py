"""The templates of the pages: how they are filled in, and where they lie."""

from pathlib import Path
from typing import Any

import jinja2

from workflow_scripts.report import blocks

FOLDERS = (Path(__file__).parent, Path(blocks.__file__).parent)


def fill_in(template: str, context: dict[str, Any], *more: Path) -> str:
    """A page as HTML text: every value is escaped, and a name without a value is an error.

    Args:
        template: Name of its file.
        context: What it shows.
        more: Folders that templates lie in, beside the report's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*more, *FOLDERS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(context)
