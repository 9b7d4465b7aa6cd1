"""The report in a real browser: phone and desktop, light and dark, without JavaScript, in print."""

import shutil
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser import chromium
from tests.report_tree import make_page, make_tree
from workflow_scripts.compare.page import compare_page
from workflow_scripts.compare.site import read_sites

CHECKS = Path(__file__).with_name("page_checks.js").read_text(encoding="utf-8")
PHONE, DESKTOP = 360, 1280
CHECKED = ("overflow", "images", "anchors", "headings", "tables")
VOID = {"meta", "link", "br", "img", "hr", "input", "col", "wbr"}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    make_page(root, make_tree(root))
    return root / "results" / "report.html"


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, timeout=120_000)
        yield browser
        browser.close()


@contextmanager
def opened(browser, file, width=DESKTOP, **how):
    """The page, and the list that everything it complains of and asks for is noted in."""
    context = browser.new_context(viewport={"width": width, "height": 800}, **how)
    context.set_default_timeout(60_000)
    noted = []

    def asked(route):
        if route.request.url == file.as_uri():
            return route.continue_()
        noted.append(f"asked for {route.request.url[:80]}")
        return route.abort()

    try:
        context.route(lambda url: not url.startswith("data:"), asked)
        tab = context.new_page()
        tab.on("console", lambda message: noted.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: noted.append(str(error)))
        tab.on("requestfailed", lambda request: noted.append(f"failed: {request.url[:80]}"))
        tab.goto(file.as_uri())
        yield tab, noted
    finally:
        context.close()


def wrong(tab, check):
    """What one of the checks finds."""
    return tab.evaluate(f"({CHECKS}).{check}()")


def open_all(tab):
    """Unfold everything and read every picture, as a reader does who goes through the page."""
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.evaluate("Promise.all([...document.images].map(one => { one.loading = 'eager';"
                 " return one.decode(); }))")  # fmt: skip


@pytest.mark.parametrize("scripts", [True, False], ids=["", "no-javascript"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_page_is_whole_and_asks_for_nothing(browser, page_file, width, scripts):
    with opened(browser, page_file, width, java_script_enabled=scripts) as (tab, noted):
        assert wrong(tab, "overflow") == []
        open_all(tab)
        for check in CHECKED:
            assert wrong(tab, check) == [], check
        assert tab.evaluate("document.images.length") > 15
        assert noted == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_comparing_page_is_as_whole(browser, page_file, tmp_path_factory, width, scheme):
    folder = page_file.parent
    file = folder.parent / "compare.html"
    if not file.exists():
        other = tmp_path_factory.mktemp("other") / "elsewhere"
        shutil.copytree(folder, other)
        text = compare_page(read_sites([folder, other]), folder.parent / "compare_files")
        file.write_text(text, encoding="utf-8")
    with opened(browser, file, width, color_scheme=scheme) as (tab, noted):
        open_all(tab)
        for check in (*CHECKED, "contrast"):
            assert wrong(tab, check) == [], check
        assert tab.evaluate("document.images.length") > 3
        assert wrong(tab, "tree") == Tree(file.read_text(encoding="utf-8")).found
        assert noted == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(browser, page_file, scheme):
    with opened(browser, page_file, color_scheme=scheme) as (tab, _):
        open_all(tab)
        assert wrong(tab, "contrast") == []
        tab.emulate_media(media="print")
        assert wrong(tab, "contrast") == []
        assert (
            tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        )


def test_wide_tables_scroll_in_their_own_boxes_on_a_phone(browser, page_file):
    with opened(browser, page_file, PHONE) as (tab, _):
        wide = tab.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth >"
            " one.clientWidth).map(one => getComputedStyle(one).overflowX)"
        )
        assert wide
        assert set(wide) == {"auto"}


def test_keyboard_reaches_the_content_first_and_then_what_follows(browser, page_file):
    with opened(browser, page_file) as (tab, _):
        places = []
        for _ in range(12):
            tab.keyboard.press("Tab")
            places.append(tab.evaluate("document.activeElement.getAttribute('href')"))
        assert places[0] == "#content"
        links = tab.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
        assert places == links[:12]


def test_print_has_everything_that_is_folded_or_not_read_yet(browser, page_file):
    with opened(browser, page_file) as (tab, noted):
        pdf = tab.pdf(format="A4")
        assert pdf.startswith(b"%PDF-")
        assert wrong(tab, "images") == []  # though nobody scrolled there
        tab.emulate_media(media="print")
        hidden = tab.evaluate(
            "[...document.querySelectorAll('details > :not(summary)')]"
            ".filter(one => !one.checkVisibility({contentVisibilityAuto: true}) ||"
            " one.getBoundingClientRect().height === 0).length"
        )
        assert hidden == 0
        assert noted == []


def test_no_table_is_wider_than_the_paper(browser, page_file):
    with opened(browser, page_file) as (tab, _):
        tab.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
        tab.emulate_media(media="print")
        cut = tab.evaluate(
            "[...document.querySelectorAll('table')].map(one => Math.round("
            "one.getBoundingClientRect().right)).filter(right => right > 718)"
        )
        assert cut == []


def test_print_names_where_links_lead_and_cuts_no_row(browser, page_file):
    with opened(browser, page_file) as (tab, _):
        tab.emulate_media(media="print")
        named = tab.evaluate(
            "[...document.querySelectorAll('main a[href^=\"https:\"]')].map(one =>"
            " [one.href, one.textContent + getComputedStyle(one, '::after').content])"
        )
        assert named
        for address, shown in named:
            assert address.rstrip("/") in shown
        broken = tab.evaluate(
            "[...document.querySelectorAll('tr, figure')].filter(one =>"
            " getComputedStyle(one).breakInside !== 'avoid').length"
        )
        assert broken == 0


class Tree(HTMLParser):
    """Elements as the text of a page nests them, refusing what a browser would have to mend."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.found.append([tag, len(self.open)])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> in {self.open} at {self.getpos()}"


def test_browser_builds_what_the_text_says(browser, page_file):
    text = page_file.read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    with opened(browser, page_file) as (tab, _):
        assert wrong(tab, "tree") == Tree(text).found
        assert tab.evaluate("document.compatMode") == "CSS1Compat"
