"""Tables for people: Markdown, and LaTeX with the rules of booktabs.

Both escape every sign that their readers take for markup: names of classes, files and datasets may
hold any. `figure_data` says why pandas' writers do not serve.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.files import write_text
from workflow_scripts.report.figure_data import SYNTHETIC, Column, Table, Value, write_csv
from workflow_scripts.report.latex_fit import fit


def write_table(table: Table, folder: Path) -> None:
    """Write a table as `<folder>/<name>.csv`, `.md` and `.tex`."""
    write_csv(table, folder)
    write_text(folder / f"{table.name}.md", markdown(table))
    write_text(folder / f"{table.name}.tex", latex(table))


# --- cells -----------------------------------------------------------------------------------


def cells(table: Table) -> tuple[list[Column], list[list[str]]]:
    """What people see of a table: no columns of detail, spreads beside their means.

    Returns:
        The columns, and the texts of every row.
    """
    places = [place for place, one in enumerate(table.heads) if not (one.detail or one.spread)]
    rows = [[_cell(table, row, place) for place in places] for row in table.rows]
    return [table.heads[place] for place in places], rows


def view(table: Table) -> dict[str, Any]:
    """What a page shows: `heads` (text, whether of numbers), `rows` of texts, title and note.

    Rows that say of themselves that they come from generated data do so in their first cell.
    """
    columns, rows = cells(table)
    kept = [place for place, column in enumerate(columns) if column.name != SYNTHETIC]
    if len(kept) < len(columns):
        marks = [value == "yes" for value in table.column(SYNTHETIC)]
        rows = [
            [f"{first} ({SYNTHETIC})" if mark else first, *rest]
            for (first, *rest), mark in zip(rows, marks, strict=True)
        ]
    return {
        "title": table.title,
        "heads": [(columns[place].header, _numeric(table, columns[place])) for place in kept],
        "rows": [[row[place] for place in kept] for row in rows],
        "synthetic": table.synthetic,
        "note": table.note,
    }


def _cell(table: Table, row: Sequence[Value], place: int) -> str:
    text = table.heads[place].shown(row[place])
    after = table.heads[place + 1] if place + 1 < len(row) else None
    if after is None or not after.spread or row[place] is None or row[place + 1] is None:
        return text
    return f"{text} ± {after.shown(row[place + 1])}"


def _numeric(table: Table, column: Column) -> bool:
    """Whether a column holds numbers, if anything."""
    values = [value for value in table.column(column.name) if value is not None]
    return bool(values) and not any(isinstance(value, str) for value in values)


def _mark(table: Table) -> str:
    """What the title says of generated data; where rows differ, a column says which they are."""
    if not table.synthetic:
        return ""
    return " (with synthetic data)" if SYNTHETIC in table.names else " (synthetic data)"


# --- Markdown --------------------------------------------------------------------------------

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~$#])")


def _markdown(text: str) -> str:
    """One line of text without markup: entities, links and mathematics among it."""
    escaped = _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;"))
    return " ".join("".join(_printable(character) for character in escaped).split())


def _printable(character: str) -> str:
    """White space as a blank, what has no form on paper as the sign for that."""
    if character.isspace():
        return " "
    gone = unicodedata.category(character) in ("Cc", "Cs", "Cn")
    return "\N{REPLACEMENT CHARACTER}" if gone else character


def markdown(table: Table) -> str:
    """The table in the form of GitHub: title, table, note."""
    columns, rows = cells(table)
    lines = [[column.header for column in columns], *rows]
    texts = [f"| {' | '.join(_markdown(cell) for cell in line)} |" for line in lines]
    ruler = "|".join("--:" if _numeric(table, column) else "---" for column in columns)
    parts = [f"**{_markdown(table.title + _mark(table))}**"]
    parts.append("\n".join([texts[0], f"|{ruler}|", *texts[1:]]))
    parts += [_markdown(table.note)] if table.note else []
    return "\n\n".join(parts) + "\n"


# --- LaTeX -----------------------------------------------------------------------------------

# Signs that LaTeX reads as markup (`[` and `*` do so after the end of a line), and those beyond
# ASCII that its oldest engine has no glyph for.
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "°": r"$^\circ$",
    "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$", "∞": r"$\infty$",
    "µ": r"$\mu$", "μ": r"$\mu$", "σ": r"$\sigma$", "λ": r"$\lambda$", "α": r"$\alpha$",
    "β": r"$\beta$", "Δ": r"$\Delta$", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}",
    "Æ": r"\AE{}", "ł": r"\l{}", "Ł": r"\L{}", "\N{REPLACEMENT CHARACTER}": "?",
}  # fmt: skip
for _raised, _low, _plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "₀₁₂₃₄₅₆₇₈₉₋", "0123456789-", strict=True):
    _LATEX |= {_raised: f"\\textsuperscript{{{_plain}}}", _low: f"\\textsubscript{{{_plain}}}"}
# Accents as LaTeX writes them, by the sign that Unicode sets after a letter.
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
    "\u0328": "k",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text as LaTeX sets it, whatever signs it holds, in ASCII as far as Latin letters go.

    Signs of other scripts stay: only XeLaTeX and LuaLaTeX have them, with a font that does.
    """
    found = []
    for character in " ".join("".join(map(_printable, text)).split()):
        if character in _LATEX:
            found.append(_LATEX[character])
        elif character.isascii():
            # Two hyphens would be set as one dash.
            found.append(
                "{}-" if character == "-" and found[-1:] in (["-"], ["{}-"]) else character
            )
        else:
            found.append(_accented(character))
    return "".join(found)


def _accented(character: str) -> str:
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if not (letter.isascii() and marks and all(mark in _ACCENTS for mark in marks)):
        return character
    letter = {"i": r"\i", "j": r"\j"}.get(letter, letter) if marks != ["\u0327"] else letter
    for mark in marks:
        letter = f"\\{_ACCENTS[mark]}{{{letter}}}"
    return letter


def latex(table: Table) -> str:
    r"""A table of booktabs to be put in by `\input`, set so that a page holds it.

    Many rows make a `longtable`, many columns a smaller size or a page on its side.
    """
    columns, rows = cells(table)
    form = fit(
        [column.header for column in columns], rows, [_numeric(table, one) for one in columns]
    )
    head = _row([_stacked(*pair) for pair in zip(form.heads, form.kinds, strict=True)])
    body = [
        _row([_cell_of(*pair) for pair in zip(row, form.kinds, strict=True)]) for row in rows
    ]  # fmt: skip
    caption = f"\\caption{{{latex_text(table.title + _mark(table))}}}\\label{{tab:{table.name}}}"
    note = latex_text(table.note)
    lines = [f"% \\usepackage{{{form.packages}}}", *_script_note(caption, note, head, *body)]
    lines += [f"\\begin{{{form.around}}}"] if form.around else []
    kinds = "".join(form.kinds)
    if form.many:
        lines += [f"{{{form.before}"] if form.before else []
        lines += [f"\\begin{{longtable}}{{{kinds}}}", f"{caption}\\\\", "\\toprule", head]
        lines += ["\\midrule", "\\endhead", "\\bottomrule", "\\endfoot", *body, "\\end{longtable}"]
        lines += ["}"] if form.before else []
        lines += [f"{{\\footnotesize {note}\\par}}"] if note else []
    else:
        lines += ["\\centering", caption, *([form.before] if form.before else [])]
        lines += [f"\\begin{{tabular}}{{{kinds}}}"]
        lines += ["\\toprule", head, "\\midrule", *body, "\\bottomrule", "\\end{tabular}"]
        lines += [f"\\par\\medskip{{\\footnotesize {note}\\par}}"] if note else []
    lines += [f"\\end{{{form.around}}}"] if form.around else []
    return "\n".join(lines) + "\n"


def _stacked(lines: list[str], kind: str) -> str:
    """A heading of one or more lines, aligned as its column is."""
    text = r"\\".join(map(latex_text, lines))
    return text if len(lines) == 1 else f"\\shortstack[{kind}]{{{text}}}"


def _cell_of(text: str, kind: str) -> str:
    """A text; where lines break, after underscores too, for names of jobs have no blanks."""
    found = latex_text(text)
    return found.replace(r"\_", r"\_\allowbreak{}") if kind.startswith("p") else found


def _row(texts: list[str]) -> str:
    return " & ".join(texts) + r" \\"


def _script_note(*texts: str) -> list[str]:
    """A comment where a sign is left that only newer engines have."""
    other = not all(text.isascii() for text in texts)
    return (
        ["% XeLaTeX or LuaLaTeX, with a font that has the script of these names"] if other else []
    )
