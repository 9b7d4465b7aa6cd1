r"""How a table of LaTeX is set so that a page holds it: size, upright or turned, widths of columns.

Widths are told from numbers of characters; LaTeX alone knows them exactly.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_WIDE = 24  # characters: columns of longer texts break their lines
_HEAD = 8  # characters of a heading before it goes on below, over a column of shorter cells
_LEAST = 0.1  # of the page's width, that a column of long texts has at least
# The first of these that holds a table is taken, of a page of class `article`: command of the size,
# points of a character, points between columns, points of the page's width, lines of a page.
_TURNED = 550
_FORMS = (
    ("", 5.2, 12, 345, 40), (r"\footnotesize", 4.4, 6, 345, 45), (r"\scriptsize", 3.9, 4, 345, 50),
    ("", 5.2, 12, _TURNED, 22), (r"\footnotesize", 4.4, 6, _TURNED, 26),
    (r"\scriptsize", 3.9, 4, _TURNED, 30), (r"\tiny", 3.4, 3, _TURNED, 34),
)  # fmt: skip


@dataclass(frozen=True)
class Fit:
    r"""How a table is set.

    Attributes:
        before: Commands before it, for a smaller size than that of the text; may be empty.
        turned: Whether on a page of its own, on its side.
        many: Whether it breaks over pages.
        kinds: Of each column: `l`, `r`, or `p{0.500\linewidth}` where texts break their lines.
        heads: Of each column, the lines of its heading.
    """

    before: str
    turned: bool
    many: bool
    kinds: list[str]
    heads: list[list[str]]

    @property
    def packages(self) -> str:
        """The packages that it needs."""
        turning = ["pdflscape" if self.many else "rotating"] if self.turned else []
        return ", ".join(["booktabs", *(["longtable"] if self.many else []), *turning])

    @property
    def around(self) -> str:
        """The environment that is around it, empty for none."""
        if self.many:
            return "landscape" if self.turned else ""
        return "sidewaystable" if self.turned else "table"


def fit(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Fit:
    """How a table is set so that a page holds it.

    Args:
        heads: Headings of its columns.
        rows: Texts of its cells.
        numeric: Of each column, whether it holds numbers.
    """
    signs = [max((len(row[place]) for row in rows), default=0) for place in range(len(heads))]
    wide = [place for place, width in enumerate(signs) if width > _WIDE and not numeric[place]]
    broken = [
        [head] if place in wide else _broken(head, max(_HEAD, signs[place]))
        for place, head in enumerate(heads)
    ]
    taken = sum(
        max(signs[place], *map(len, lines))
        for place, lines in enumerate(broken) if place not in wide
    )  # fmt: skip
    long = sum(signs[place] for place in wide)
    for form in _FORMS:
        _, sign, gap, page, _ = form
        free = 1 - (taken * sign + len(heads) * gap) / page
        if free >= 2 * _LEAST * len(wide):
            break
    size, sign, gap, page, most = form
    free = min(max(free, _LEAST * len(wide)), max(0.5, long * sign / page))
    spare = free - _LEAST * len(wide)
    share = {place: _LEAST + spare * signs[place] / long for place in wide}
    height = sum(
        max([1, *(-(-len(row[place]) // max(1, int(part * page / sign)))
                  for place, part in share.items())])
        for row in rows
    )  # fmt: skip
    kinds = [
        f"p{{{share[place]:.3f}\\linewidth}}" if place in share else "r" if numeric[place] else "l"
        for place in range(len(heads))
    ]
    before = rf"{size}\setlength{{\tabcolsep}}{{{gap / 2:g}pt}}" if size else ""
    return Fit(before, page == _TURNED, height > most, kinds, broken)


def _broken(head: str, width: int) -> list[str]:
    return textwrap.wrap(head, width, break_long_words=False) or [""]
