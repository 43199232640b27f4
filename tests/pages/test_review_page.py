"""Tests of the review page, in a real browser and with hand-written requests."""

import http.client
import json
import re
from contextlib import contextmanager
from html import unescape
from urllib.parse import urlsplit

import pytest
from browser import browser
from reviewed import labelled_run, opinions
from serving import exchange, head, running

from potstill.errors import BadInput
from potstill.pages.bodies import LARGEST
from potstill.pages.loopback import Loopback
from potstill.pages.review import Desk
from potstill.pipeline.review import Review


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@contextmanager
def served(folder, *, blind=False, order="random", run=None):
    """Yield a review of 20 reports, and its page."""
    with Review.of(run or labelled_run(folder), "Ann", order=order) as review:
        review.items.sort(key=lambda item: int(item.id[1:]))
        with Loopback(Desk(review, blind=blind)) as server, running(server):
            yield review, server


@contextmanager
def opened(chromium, folder, **how):
    with served(folder, **how) as (review, server):
        page = chromium.open(server.url)
        page.until("!busy && document.activeElement.name === 'wind'")
        yield review, page
        assert page.complaints() == []


def at(page, name):
    page.until(f"!busy && document.getElementById('title').textContent === {name!r}")


class TestByKeyboard:
    def test_enter_accepts_and_goes_on(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            at(page, "Report 0")
            assert page.ask("document.getElementById('save').innerText") == "Accept Enter"
            page.press("Enter")
            at(page, "Report 1")
            page.press("Enter")
            at(page, "Report 2")
            assert [(item.id, item.given) for item in review.judged()] == [("a0", opinions(0)), ("a1", opinions(1))]
            assert review.corrections() == 0
            assert page.ask("document.getElementById('progress').textContent") == "3 of 20 · 2 judged, 0 corrected"

    def test_digits_replace_a_score_and_arrows_move(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            page.press("7", "ArrowDown", "ArrowLeft", "ArrowLeft")
            assert page.ask("document.getElementById('save').innerText") == "Save Enter"
            page.press("Enter")
            at(page, "Report 1")
            assert review.judged()[0].given == {"wind": 7.0, "rain": 9.0}
            assert review.corrections() == 1

    def test_a_score_off_the_scale_is_refused_where_it_was_typed(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            page.press("ArrowDown", "4", "2", "Enter")
            page.until("!busy && !document.getElementById('fault').hidden")
            assert page.ask("document.getElementById('fault').textContent") == "rain: expected a number from 0 to 10"
            assert page.ask("document.activeElement.name") == "rain"
            assert review.judged() == []

    def test_undo_skip_and_back(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            page.press("s")
            at(page, "Report 1")
            page.press("9", "Enter")
            at(page, "Report 2")
            page.press("b")
            at(page, "Report 1")
            assert page.ask("document.getElementById('d-wind').value") == "9"
            page.press("u")
            page.until("!busy && document.getElementById('undo').disabled")
            assert page.ask("document.getElementById('d-wind').value") == "0.5"
            assert review.judged() == []

    def test_a_note_is_kept_with_the_label(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            page.press("n")
            page.type("a breeze")
            page.press("Enter")
            at(page, "Report 1")
            assert review.judged()[0].note == "a breeze"

    def test_agreement_is_shown_with_its_direction(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (_, page):
            page.press("2", "Enter")
            at(page, "Report 1")
            page.press("a")
            page.until("!busy && !document.getElementById('agreement').hidden")
            text = page.ask("document.getElementById('agreement').innerText")
            assert "Ann and replay:mild: 1 articles, the same tier in 0%." in text
            assert [line.split() for line in text.splitlines() if line.startswith("wind")] == [["wind", "2.00", "2.00"]]

    def test_a_blind_review_hides_the_oracle_until_the_reviewer_has_spoken(self, chromium, tmp_path):
        with opened(chromium, tmp_path, blind=True) as (review, page):
            assert page.ask("document.querySelectorAll('.track i').length") == 0
            page.press("Enter")
            page.until("!busy && !document.getElementById('fault').hidden")
            page.press("3", "ArrowDown", "4", "Enter")
            at(page, "Report 1")
            page.press("b")
            at(page, "Report 0")
            assert page.ask("document.querySelectorAll('.track i.oracle').length") == 2
            assert review.judged()[0].given == {"wind": 3.0, "rain": 4.0}

    def test_it_goes_on_where_the_reviewer_left_off(self, chromium, tmp_path):
        run = labelled_run(tmp_path)
        with Review.of(run, "Ann") as review:
            for i in range(3):
                review.judge(f"a{i}", opinions(i))
        with opened(chromium, tmp_path, run=run) as (_, page):
            at(page, "Report 3")

    def test_text_is_shown_as_text(self, chromium, tmp_path):
        with opened(chromium, tmp_path) as (review, page):
            review.items[
                1
            ].text = "<img src=x onerror='document.title=\"taken\"'><script>document.title='taken'</script>"
            page.press("Enter")
            at(page, "Report 1")
            assert page.ask("document.getElementById('text').innerText") == review.items[1].text
            assert page.ask("document.title") == "Review of weather"


def ask(server, method, path, body=None, *, key=None, **headers):
    """Send a hand-written request, and return its status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        secret = urlsplit(server.url).query if key is None else f"key={key}"
        connection.request(method, f"{path}?{secret}", body, {"content-type": "application/json"} | headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if path != "/" or answer.status != 200 else text.decode()
    finally:
        connection.close()


JUDGED = json.dumps({"id": "a1", "scores": {"wind": 1, "rain": 2}})


class TestServer:
    def test_the_page_is_whole(self, tmp_path):
        with served(tmp_path) as (_, server):
            status, page = ask(server, "GET", "/")
        assert status == 200
        assert "Content-Security-Policy" in page
        assert "unsafe" not in page
        assert "http" not in page.replace("http-equiv", "")

    @pytest.mark.parametrize(
        "how",
        [
            {"key": "guessed"},
            {"key": ""},
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"content_type": "text/plain"},
        ],
    )
    def test_other_pages_of_the_browser_cannot_judge(self, tmp_path, how):
        with served(tmp_path) as (review, server):
            status, said = ask(server, "POST", "/api/judge", JUDGED, **how)
            assert status in {403, 415}
            assert said["error"]
            assert review.judged() == []
            assert ask(server, "POST", "/api/judge", JUDGED)[0] == 200

    @pytest.mark.parametrize(
        ("body", "status", "message"),
        [
            ("{", 400, "not JSON"),
            ("[]", 422, "an object with the id"),
            ('{"id": "a1"}', 422, "expected scores by dimension"),
            ('{"id": "a1", "scores": {"wind": 11, "rain": 0}}', 422, "wind: got 11, legal 0 to 10"),
            ('{"id": "a99", "scores": {}}', 422, "no labelled article 'a99'"),
            ('{"id": "a1", "scores": {"wind": null, "rain": 2}}', 422, "wind: got null, expected 0 to 10"),
            ('{"id": "a1", "scores": {"wind": 1, "rain": NaN}}', 422, "rain: got nan, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": Infinity, "rain": 2}}', 422, "wind: got inf, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": -Infinity, "rain": 2}}', 422, "wind: got -inf, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": 1e999, "rain": 2}}', 422, "wind: got inf, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": "7", "rain": 2}}', 422, "wind: got '7', legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": true, "rain": 2}}', 422, "wind: got True, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": [7], "rain": 2}}', 422, "wind: got [7], legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": {}, "rain": 2}}', 422, "wind: got {}, legal 0 to 10"),
            ('{"id": "a1", "scores": {"wind": -0.001, "rain": 2}}', 422, "wind: got -0.001, legal 0 to 10"),
            (
                f'{{"id": "a1", "scores": {{"wind": {"9" * 999}, "rain": 2}}}}',
                422,
                "more than 30 digits, legal 0 to 10",
            ),
            (
                f'{{"id": "a1", "scores": {{"wind": {"9" * 9999}, "rain": 2}}}}',
                400,
                "an integer has thousands of digits",
            ),
            ('{"id": "a1", "scores": {"wind": 1}}', 422, "got scores of wind; expected wind, rain"),
            ('{"id": "a1", "scores": {"wind": 1, "rain": 2, "x\\ny": 3}}', 422, "expected wind, rain"),
            (f'{{"id": "a1", "scores": {{"{"w" * 9999}": 1}}}}', 422, "expected wind, rain"),
            (f'{{"id": "{"a" * 9999}", "scores": {{}}}}', 422, "no labelled article 'aaa"),
            ('{"id": "a1", "scores": [1, 2]}', 422, "expected scores by dimension"),
            ('{"id": "a1", "scores": {"wind": 1, "rain": 2}, "note": 7}', 422, "and a note"),
            ('{"id": "a1", "scores": {"wind": 1, "rain": 2}, "note": "\\ud800"}', 400, "unpaired surrogate"),
            ('{"id": "\\ud800", "scores": {"wind": 1, "rain": 2}}', 400, "unpaired surrogate"),
        ],
    )
    @pytest.mark.by_example(3)
    def test_what_cannot_be_kept_is_told(self, tmp_path, body, status, message):
        with served(tmp_path) as (review, server):
            found, said = ask(server, "POST", "/api/judge", body)
            assert (found, review.judged()) == (status, [])
            assert message in said["error"]
            assert len(said["error"]) <= 300
            assert said["error"].isprintable()

    def test_null_is_legal_where_the_oracle_gave_no_score_and_nowhere_else(self, tmp_path):
        run = labelled_run(tmp_path, samples=lambda i: [opinions(i) | ({"wind": None} if i == 1 else {})])
        with served(tmp_path, run=run) as (review, server):
            masked = {"wind": None, "rain": 2}
            assert ask(server, "POST", "/api/judge", json.dumps({"id": "a1", "scores": masked}))[0] == 200
            status, said = ask(server, "POST", "/api/judge", json.dumps({"id": "a2", "scores": masked}))
            assert (status, [item.id for item in review.judged()]) == (422, ["a1"])
        assert said["error"] == "wind: got null, expected 0 to 10; null is allowed only where the oracle gave no score"

    def test_characters_of_every_plane_are_kept_in_a_note(self, tmp_path):
        note = "caf\u00e9 \N{GRINNING FACE} \u202e \ue000"
        body = json.dumps({"id": "a1", "scores": {"wind": 1, "rain": 2}, "note": note})
        with served(tmp_path) as (review, server):
            assert ask(server, "POST", "/api/judge", body)[0] == 200
            run = review.run
        with Review.of(run, "Ann") as review:
            assert [item.note for item in review.judged()] == [note]

    def test_the_policy_of_the_page_is_sent_as_a_header_too(self, tmp_path):
        with served(tmp_path) as (_, server):
            answer = exchange(server, head(server, "GET /?{key}", "Connection: close")).decode()
        headers, page = answer.split("\r\n\r\n", 1)
        sent = next(line.partition(": ")[2] for line in headers.splitlines() if line.startswith("content-security"))
        written = unescape(re.search(r'Security-Policy" content="([^"]+)"', page)[1])
        assert sent == f"{written}; frame-ancestors 'none'"
        assert "unsafe" not in sent
        assert "cross-origin-opener-policy: same-origin" in headers

    def test_a_body_that_is_too_large_is_not_read(self, tmp_path):
        with served(tmp_path) as (_, server):
            status, said = ask(server, "POST", "/api/judge", JUDGED, content_length=str(LARGEST + 1))
        assert (status, said["error"]) == (413, "expected a body of at most 1000000 bytes")

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/api/item/20",
            "/api/item/-1",
            "/api/item/x",
            "/api/item/",
            "/api/item/0.0",
            "/api/item/0/0",
            "/api/item/%C2%B2",
            "/api/item/%D9%A1",
            f"/api/item/{10**19}",
            f"/api/item/{'9' * 5000}",
            f"/api/item/{'0' * 5000}",
        ],
    )
    def test_there_is_nothing_else(self, tmp_path, path):
        with served(tmp_path) as (_, server):
            assert ask(server, "GET", path)[0] == 404

    def test_a_run_that_is_being_written_to_refuses_for_the_moment(self, tmp_path):
        with served(tmp_path) as (review, server):
            with review.run.locked():
                status, said = ask(server, "POST", "/api/judge", JUDGED)
            assert status == 422
            assert "another potstill process is writing to this run" in said["error"]
            assert ask(server, "POST", "/api/judge", JUDGED)[0] == 200

    def test_a_port_that_is_taken_is_one_clear_line(self, tmp_path):
        with served(tmp_path) as (review, server), pytest.raises(BadInput, match=f"--port {server.server_port}"):
            Loopback(Desk(review), server.server_port)
