"""Tests of the explorer and the report in a real browser: by keyboard, on a phone, in print, with hostile articles."""

import pytest
from browser import browser
from evaluated_run import evaluated_run
from serving import running

from potstill.pages.view import open_view
from potstill.pipeline.run import Run
from potstill.report import write_report

ROWS = "document.querySelectorAll('#rows tr').length"


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("view"))
    write_report(run)
    with open_view(Run.open(run.folder)) as server, running(server):
        yield server.url


def opened(chromium, url, **settings):
    page = chromium.open(url, **settings)
    page.until(f"{ROWS} > 0")
    return page


def focused(page):
    return page.ask("document.activeElement.textContent")


def test_the_whole_table_is_usable_by_keyboard(chromium, url):
    page = opened(chromium, url)
    page.press("/")
    everything = page.ask("document.getElementById('status').textContent")
    page.type("Story 7")
    page.until(f"document.getElementById('status').textContent !== {everything!r}")
    page.press("ArrowDown")
    first = focused(page)
    page.press("ArrowDown")
    second = focused(page)
    assert first.startswith("Story")
    assert second != first
    page.press("Enter")
    page.until("document.getElementById('article').open")
    assert page.ask("document.getElementById('title').textContent") == second
    page.press("ArrowLeft")
    page.until(f"document.getElementById('title').textContent === {first!r}")
    page.press("Escape")
    # The dialog returns the focus to where it was opened; closing it then moves the focus to the last shown article.
    page.until(f"document.activeElement.textContent === {first!r}")
    assert page.complaints() == []


def test_a_row_reached_by_keyboard_keeps_its_place_when_an_answer_comes_late(chromium, url):
    page = opened(chromium, url)
    page.press("ArrowDown", "ArrowDown")
    before = focused(page)
    page.ask(
        "(() => { const s = document.getElementById('sort'); s.selectedIndex = s.options.length - 1;"
        "s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.until(f"document.querySelectorAll('#rows button')[1].textContent !== {before!r}")
    assert page.ask("document.activeElement === document.querySelectorAll('#rows button')[1]")


def test_a_filter_and_a_sort_change_what_is_shown(chromium, url):
    page = opened(chromium, url)
    everything = page.ask("document.getElementById('status').textContent")
    page.ask(
        "(() => { const s = document.querySelector('select[data-facet=tier_oracle]'); s.value = 'lead';"
        "s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.until(f"document.getElementById('status').textContent !== {everything!r}")
    tiers = page.ask("[...document.querySelectorAll('#rows td:last-child')].map((cell) => cell.textContent)")
    assert all(tier.startswith("lead") for tier in tiers)


def test_what_if_is_asked_and_answered_by_keyboard(chromium, url):
    page = opened(chromium, url)
    page.ask("document.querySelector('#what-if summary').click()")
    page.ask("document.getElementById('settings').focus()")
    # A slash in a text field is a character and not the shortcut for the search.
    page.type("weights.gain=0.1")
    page.press("/")
    assert page.ask("document.getElementById('settings').value") == "weights.gain=0.1/"
    page.ask("document.getElementById('settings').value = 'weights.gain=0.1'")
    page.press("Tab", "Enter")
    page.until("!document.getElementById('decided').hidden")
    assert page.ask("document.querySelectorAll('#volumes tr').length") == 3
    assert "after the change" in page.ask("document.getElementById('summary').textContent")
    page.ask("document.getElementById('settings').value = 'nonsense'")
    page.ask("document.querySelector('#edited button').click()")
    page.until("!document.getElementById('fault').hidden")
    assert "PATH=VALUE" in page.ask("document.getElementById('fault').textContent")


def test_an_article_is_shown_as_text_beside_both_scores(chromium, url):
    page = opened(chromium, url)
    page.press("/")
    # The article's id would close a script element, and its title opens a tag.
    page.type("a0</script>")
    page.until(f"{ROWS} === 1")
    page.press("ArrowDown")
    page.press("Enter")
    page.until("document.getElementById('article').open")
    assert page.ask("document.getElementById('title').textContent") == "Story 0 <b>&"
    assert page.ask("document.querySelectorAll('#article b').length") == 0
    assert page.ask("document.querySelectorAll('#scores svg circle.student').length") == 2
    assert page.complaints() == []


def test_a_script_that_gets_into_the_page_does_not_run(chromium, url):
    page = opened(chromium, url)
    page.ask(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
        "document.body.append(s); })()"
    )
    assert page.ask("window.bad") is None


def test_nothing_is_asked_of_any_other_machine(chromium, url):
    page = opened(chromium, url)
    origin = url.split("?")[0]
    assert page.requested()
    assert all(address.startswith((origin, "data:")) for address in page.requested())


@pytest.mark.parametrize("width", [360, 1440])
def test_neither_page_is_wider_than_its_window(chromium, url, width):
    page = opened(chromium, url, width=width)
    assert page.ask("document.documentElement.scrollWidth") <= width
    page.ask("document.querySelector('#rows button').click()")
    page.until("document.getElementById('article').open")
    assert page.ask("document.getElementById('article').scrollWidth") <= width
    report = chromium.open(url.replace("/?", "/report?"), width=width)
    report.until("document.querySelectorAll('.plot svg').length > 4")
    assert report.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("settings", [{"width": 360}, {"width": 1440}, {"media": "print"}])
def test_the_report_draws_every_plot_without_a_complaint_or_a_connection(chromium, url, settings):
    report = chromium.open(url.replace("/?", "/report?"), **settings)
    report.until("document.querySelectorAll('.plot svg').length === document.querySelectorAll('script.spec').length")
    assert report.complaints() == []
    assert [address.split("?")[0] for address in report.requested() if not address.startswith(("data:", "blob:"))] == [
        url.split("?")[0] + "report"
    ]


def test_a_report_opens_from_disk(chromium, tmp_path_factory, url):
    file = next(tmp_path_factory.getbasetemp().glob("view*/run/report/report.html"))
    report = chromium.open(file.as_uri())
    report.until("document.querySelectorAll('.plot svg').length === document.querySelectorAll('script.spec').length")
    assert report.complaints() == []
    assert report.requested() == [file.as_uri()]


@pytest.mark.parametrize("place", ["served", "file"])
def test_no_text_becomes_a_script_of_the_report(chromium, tmp_path_factory, url, place):
    file = next(tmp_path_factory.getbasetemp().glob("view*/run/report/report.html"))
    report = chromium.open(file.as_uri() if place == "file" else url.replace("/?", "/report?"))
    report.until("document.querySelectorAll('.plot svg').length > 4")
    report.ask(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
        "document.body.append(s); const b = document.createElement('p'); document.body.append(b);"
        "b.setAttribute('onclick', 'window.bad = 2'); b.click(); })()"
    )
    assert report.ask("window.bad") is None
    told = report.call("Runtime.evaluate", expression="Function('return 1')()", allowUnsafeEvalBlockedByCSP=False)
    assert told["result"]["className"] == "EvalError"


def test_the_served_report_cannot_reach_the_articles(chromium, url):
    report = chromium.open(url.replace("/?", "/report?"))
    report.until("document.querySelectorAll('.plot svg').length > 4")
    assert report.ask("window.origin") == "null"
    assert report.ask(f"fetch({url!r}).then(() => 'read', () => 'refused')") == "refused"


def test_a_plot_tells_of_what_the_pointer_is_on(chromium, url):
    report = chromium.open(url.replace("/?", "/report?"))
    report.until("document.querySelectorAll('.plot svg').length > 4")
    x, y = report.ask(
        "(() => { const mark = document.querySelector('#plot-ladder .mark-symbol path');"
        "mark.scrollIntoView({block: 'center', behavior: 'instant'}); const box = mark.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    report.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    report.until("document.querySelector('#vg-tooltip-element.visible')")
    shown = report.ask("document.getElementById('vg-tooltip-element').innerText")
    assert "mae" in shown
    assert report.complaints() == []
