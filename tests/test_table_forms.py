"""Markdown and LaTeX of tables: whatever a name holds, it stays text and the table keeps form."""

import re
import shutil
import subprocess
import unicodedata

import pytest

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.table_forms import latex, latex_text, markdown, view

NASTY = [
    "a|b", "50 % & more", "x_{y}^2$$", "\\input{/etc/passwd}", "\\", "{", "}", "}}", "#1", "~", "^",
    "[1]", "*x", "--option", "---", "`tick`", "<script>alert(1)</script>", "[a](https://b.c)",
    "two\nlines\r\nand\ttab", "bell\x07", "bad\udcffname", '"q" \'s\'', "&amp;", "%", "a\\", "$1$",
]  # fmt: skip


def table(rows, **changed):
    plain = {
        "name": "a_b",
        "title": "One",
        "columns": ["who", Column("top-1", "%", ".1f"),
                    Column("its spread", "%", ".1f", spread=True), Column("digest", detail=True)],
        "rows": rows,
        "synthetic": False,
    }  # fmt: skip
    return Table(**plain | changed)


def check_latex(text):
    """Balanced braces, no bare special sign, and as many cells in each row as columns."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    body = "\n".join(lines)
    depth = 0
    for sign in re.findall(r"\\.|[{}]", body, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    bare = re.sub(r"\\.", "", body, flags=re.DOTALL)
    assert not re.search(r"[%#~]", bare)
    assert bare.count("$") % 2 == 0
    kinds = re.search(r"begin\{(?:tabular|longtable)\}\{(.*)\}$", body, re.MULTILINE)[1]
    columns = len(re.sub(r"\{[^}]*\}", "", kinds))
    rows = [line for line in lines if line.endswith(r" \\")]
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == columns - 1, row
    return rows


@pytest.mark.parametrize("name", NASTY)
def test_no_name_breaks_a_latex_table(name):
    text = latex(table([[name, 1.0, 0.5, "d"]], title=name, note=name))
    assert len(check_latex(text)) == 2
    assert "\\input" not in text
    # What a row begins with is never read as an argument of the end of the row before.
    assert not re.search(r"\\\\\n\s*[\[*]", text)


@pytest.mark.parametrize("name", NASTY)
def test_no_name_breaks_a_markdown_table(name):
    lines = markdown(table([[name, 1.0, 0.5, "d"]])).splitlines()
    assert lines[0] == "**One**"
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines[2:]} == {3}
    bare = re.sub(r"\\.", "", lines[4])
    assert not re.search(r"[<>`*_$\[\]]", bare)
    assert not re.search(r"&(?!amp;)", bare)


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("71.2 ± 0.4", r"71.2 $\pm$ 0.4"),
        ("−5.53", "$-$5.53"),
        ("W m⁻² sr⁻¹ µm⁻¹",
         r"W m\textsuperscript{-}\textsuperscript{2} sr\textsuperscript{-}\textsuperscript{1} "
         r"$\mu$m\textsuperscript{-}\textsuperscript{1}"),
        ("CO₂", r"CO\textsubscript{2}"),
        ("Müller, Çelik, naïve", r"M\"{u}ller, \c{C}elik, na\"{\i}ve"),
        ("2 × 3 ≥ 5 … “so” – 3°", r"2 $\times$ 3 $\geq$ 5 \ldots{} ``so'' -- 3$^\circ$"),
        ("a--b", "a-{}-b"),
        ("\\", r"\textbackslash{}"),
    ],
)  # fmt: skip
def test_signs_as_latex_sets_them(text, set_as):
    assert latex_text(text) == set_as
    assert set_as.isascii()


def test_every_latin_letter_with_one_accent_has_a_form_in_ascii():
    for code in range(0xC0, 0x100):
        if unicodedata.decomposition(chr(code)):
            assert latex_text(chr(code)).isascii(), chr(code)


def test_other_scripts_stay_and_say_which_engine_has_them():
    text = latex(table([["日本", 1.0, 0.5, "d"]]))
    assert "日本" in text
    assert "% XeLaTeX or LuaLaTeX" in text
    assert "XeLaTeX" not in latex(table([["München", 1.0, 0.5, "d"]]))


def test_people_see_means_with_spreads_and_no_details():
    shown = view(
        table([["a", 71.234, 0.42, "0123"], ["b", 50.0, None, None], ["c", None, None, ""]])
    )
    assert shown["heads"] == [("who", False), ("top-1 (%)", True)]
    assert shown["rows"] == [["a", "71.2 ± 0.4"], ["b", "50.0"], ["c", "–"]]


def test_generated_data_are_named_in_the_title():
    assert "One (synthetic data)" in markdown(table([], synthetic=True))
    assert "One (synthetic data)" in latex(table([], synthetic=True))
    own = Table(name="a", title="One", columns=["a", "synthetic"], rows=[["x", True]],
                synthetic=True)  # fmt: skip
    assert "One (with synthetic data)" in markdown(own)
    assert "| x | yes |" in markdown(own)
    assert view(own)["rows"] == [["x (synthetic)"]]
    assert view(own)["heads"] == [("a", False)]


def test_many_rows_break_over_pages_and_long_texts_break_their_lines():
    text = latex(table([[f"row {n} " + 30 * "x", 1.0, None, None] for n in range(50)]))
    assert "longtable" in text
    assert len(check_latex(text)) == 51
    assert re.search(r"begin\{longtable\}\{p\{0\.5\d+\\linewidth\}r\}", text)


def test_an_empty_table_has_its_head():
    assert len(check_latex(latex(table([])))) == 1
    assert markdown(table([])).splitlines()[2] == "| who | top-1 (%) |"


WORDS = "waiting for data in a step"


def broad(columns, rows):
    """A table of so many columns of numbers under long headings, and one of long texts."""
    heads = ["job", *(Column(f"{WORDS} {n}", "images/s") for n in range(columns))]
    texts = [[f"a_name_without_blanks_{n}_" + 20 * "x_", *[1234.5] * columns] for n in range(rows)]
    return table(texts, columns=heads, title="50 % ± 2 × µ", note="– “so” ≥ 3°")


@pytest.mark.parametrize(("columns", "turned"), [(2, False), (9, True), (12, True)])
def test_a_table_of_many_columns_is_turned_and_its_headings_break(columns, turned):
    for rows, around in ((3, "sidewaystable"), (60, "landscape")):
        text = latex(broad(columns, rows))
        assert (f"begin{{{around}}}" in text) == turned
        assert ("longtable" in text) == (rows > 50)
        assert WORDS not in text
        assert len(check_latex(text)) == rows + 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("columns", [2, 6, 9, 12])
@pytest.mark.parametrize("rows", [3, 60])
def test_latex_sets_a_table_within_its_page(tmp_path, columns, rows):
    text = latex(broad(columns, rows))
    packages = re.match(r"% (.*)", text)[1]
    page = rf"\documentclass{{article}}{packages}\begin{{document}}{chr(10)}{text}\end{{document}}"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log = (tmp_path / "page.log").read_text(encoding="latin-1")
    assert run.returncode == 0, log[-2000:]
    over = [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(over, default=0) < 15, over  # points: less than the page's margin by far
