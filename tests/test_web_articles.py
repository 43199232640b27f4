"""Tests of articles from texts, saved web pages and saved feeds."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from potstill import processes
from potstill.articles import count_articles, foreign, read_all, read_articles
from potstill.errors import ArticleError, MissingExtra
from potstill.web_process import as_text, html_text

pytest.importorskip("trafilatura")
pytest.importorskip("feedparser")

PAGE = """<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><title>The mill turns again | The Herald</title>
<meta property="og:site_name" content="The Herald">
<meta property="article:published_time" content="2024-05-01T21:41:00+02:00">
<link rel="canonical" href="https://herald.example/mill"></head>
<body><nav><a href="/">Home</a> <a href="/sport">Sport</a></nav>
<article><h1>The mill turns again</h1>
<p>A village cooperative has brought its river mill back to life after forty years, and the whole valley came.</p>
<p>The wheel grinds flour for three bakeries, says its chair, Ada Miller &amp; friends of the river are glad.</p>
</article><footer>Copyright 2019. Subscribe to our newsletter.</footer></body></html>
"""

RSS = """<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>
<title>The Herald</title><link>https://herald.example/</link><language>en-gb</language>
<item><title>S&amp;amp;P 500 &lt;b&gt;falls&lt;/b&gt;</title><link>https://herald.example/1</link>
<pubDate>Tue, 01 Jun 2021 21:41:00 CET</pubDate><description>A short summary</description>
<content:encoded><![CDATA[<p>The full <i>text</i>.</p><script>track()</script>
<p>Its second&nbsp;paragraph.</p>]]></content:encoded>
</item>
<item><title>Only a summary</title><link>https://herald.example/2</link><pubDate>01/02/2021</pubDate>
<description>&lt;p&gt;They don&amp;#8217;t know.&lt;/p&gt;</description></item>
</channel></rss>
"""

ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><title>Der Bote</title>
<entry><title type="html">A &amp;amp; B</title><link rel="alternate" href="https://bote.example/a"/><id>urn:1</id>
<updated>2021-06-01T21:41:00Z</updated><author><name>Ada</name></author>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Hallo <b>Welt</b></p></div></content></entry>
<entry><title>Plain</title><link href="https://bote.example/b"/><id>urn:2</id>
<published>2021-06-01T20:00:00+02:00</published><updated>2021-06-02T20:00:00Z</updated>
<summary type="text">1 &lt; 2</summary></entry></feed>
"""


def written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path):
    with pytest.raises(ArticleError) as raised:
        read_all(path)
    message = str(raised.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


class TestTexts:
    def test_a_folder_of_texts_is_an_article_for_each_file(self, tmp_path):
        written(tmp_path / "texts" / "b.txt", "\ufeffZwei\r\nZeilen")
        written(tmp_path / "texts" / "a.txt", "One")
        written(tmp_path / "texts" / "c.TXT", "Tři".encode("utf-16"))
        written(tmp_path / "texts" / ".hidden", b"\xff")
        frame = read_all(tmp_path / "texts")
        assert frame.to_dicts() == [
            {"id": "a.txt", "title": "", "content": "One"},
            {"id": "b.txt", "title": "", "content": "Zwei\nZeilen"},
            {"id": "c.TXT", "title": "", "content": "Tři"},
        ]
        assert count_articles(tmp_path / "texts") == 3
        assert [frame.height for frame in read_articles(tmp_path / "texts", batch_size=2)] == [2, 1]

    def test_one_text_file_is_refused_as_it_may_hold_a_text_a_line(self, tmp_path):
        message = refusal(written(tmp_path / "a.txt", "One"))
        assert message.startswith("unknown kind of file, expected one of .jsonl, ")
        assert message.endswith("; .txt files are read from a folder that contains them, one article per file")

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"caf\xe9", "texts/a.txt: not UTF-8 at byte 4"),
            ("a.txt", b"one\0two", "texts/a.txt: field content: contains a NUL character"),
            ("a.txt", b" \n", "texts/a.txt: field content: the title and the content are both empty"),
            ("a.txt", b"x" * 1_000_001, "texts/a.txt: field content: 1,000,001 characters"),
            ("a.txt", b"x" * 4_000_001, "texts/a.txt: is longer than 4,000,000 bytes"),
            ("a.docx", b"x", 'texts: contains "a.docx"; a folder of articles may contain only .txt, .html, .htm files'),
        ],
    )
    def test_a_file_that_is_no_text_is_named(self, tmp_path, name, content, message):
        written(tmp_path / "texts" / name, content)
        with pytest.raises(ArticleError) as raised:
            read_all(tmp_path / "texts")
        assert str(raised.value).startswith(f"{tmp_path}/{message}")

    def test_a_folder_without_texts_or_with_more_is_refused(self, tmp_path):
        assert refusal(tmp_path).startswith("is empty; a folder of articles may contain only .txt")
        (tmp_path / "more.txt").mkdir()
        assert refusal(tmp_path).startswith('contains "more.txt"; a folder of articles may contain only .txt')

    def test_an_empty_text_is_kept_when_asked(self, tmp_path):
        written(tmp_path / "a.txt", "")
        (frame,) = read_articles(tmp_path, on_empty="keep")
        assert frame["content"].to_list() == [""]

    def test_a_pipe_among_the_texts_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "a.txt")
        assert refusal(tmp_path).startswith('contains "a.txt"')


class TestPages:
    def test_a_page_is_its_article(self, tmp_path):
        path = written(tmp_path / "mill.html", PAGE)
        (row,) = read_all(path).to_dicts()
        assert row["content"].startswith("A village cooperative has brought")
        assert row["content"].endswith("Ada Miller & friends of the river are glad.")
        assert {name: row[name] for name in row if name != "content"} == {
            "id": "mill.html",
            "title": "The mill turns again",
            "source": "The Herald",
            "language": "en-GB",
            "published": "2024-05-01",
            "url": "https://herald.example/mill",
        }
        assert count_articles(path) == 1

    def test_pages_and_texts_share_a_folder(self, tmp_path):
        written(tmp_path / "a.txt", "One")
        written(tmp_path / "b.htm", PAGE)
        frame = read_all(tmp_path)
        assert frame["id"].to_list() == ["a.txt", "b.htm"]
        assert frame["source"].to_list() == [None, "The Herald"]

    def test_a_page_in_the_encoding_that_it_names_is_read(self, tmp_path):
        cyrillic = PAGE.replace("utf-8", "windows-1251").replace("The wheel grinds", "Мельница мелет")
        path = written(tmp_path / "a.html", cyrillic.encode("cp1251"))
        assert "Мельница мелет" in read_all(path)["content"][0]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (PAGE.encode() + b"\xe9", "is not utf-8 at byte"),
            (PAGE.replace("utf-8", "klingon").encode(), "declares an unknown encoding: klingon"),
            (PAGE.replace("utf-8", "zlib_codec").encode(), "declares an unknown encoding: zlib_codec"),
            (PAGE.replace("utf-8", "idna").encode(), "declares an unknown encoding: idna"),
            (RSS.encode(), "is a feed; give it a name that ends in .xml"),
            (b"<html><body></body></html>", "no article text was found in the page"),
            (b"", "no article text was found in the page"),
            (b" " * 16_000_001, "is longer than 16,000,000 bytes"),
        ],
    )
    def test_what_is_no_page_is_refused(self, tmp_path, content, message):
        assert refusal(written(tmp_path / "a.html", content)).startswith(message)

    def test_a_page_without_an_article_is_kept_when_asked(self, tmp_path):
        written(tmp_path / "a.html", "<html><body></body></html>")
        (frame,) = read_articles(tmp_path, on_empty="keep")
        assert frame["content"].to_list() == [""]

    def test_a_page_that_takes_too_long_ends_the_process_that_reads_it_and_no_other(self, tmp_path, monkeypatch):
        slow = written(tmp_path / "slow.html", "<p " + " ".join(f"a{i}=1" for i in range(300_000)) + ">x</p>")
        foreign._WORKER.end()
        program = "from potstill import web_process; web_process.SECONDS = 1; web_process.main()"
        started = processes.subprocess.Popen
        monkeypatch.setattr(
            processes.subprocess, "Popen", lambda _, **how: started([sys.executable, "-c", program], **how)
        )
        assert refusal(slow) == "cannot be read as a page (reading it took too long)"
        assert read_all(written(tmp_path / "mill.html", PAGE)).height == 1
        foreign._WORKER.end()


class TestFeeds:
    def test_rss_is_an_article_for_each_entry(self, tmp_path):
        path = written(tmp_path / "news.xml", RSS)
        first, second = read_all(path).to_dicts()
        assert first == {
            "id": "https://herald.example/1",
            "title": "S&P 500 falls",
            "content": "The full text.\nIts second paragraph.",
            "source": "The Herald",
            "language": "en-gb",
            "published": "2021-06-01T21:41:00+01:00",
            "author": None,
        }
        assert second["content"] == "They don\u2019t know."
        # An ambiguous date is kept as it is, and is refused where a time is needed.
        assert second["published"] == "01/02/2021"
        assert count_articles(path) == 2

    @pytest.mark.parametrize("ending", [".atom", ".xml"])
    def test_atom_is_too(self, tmp_path, ending):
        first, second = read_all(written(tmp_path / f"news{ending}", ATOM)).to_dicts()
        assert (first["id"], first["title"], first["content"]) == ("https://bote.example/a", "A & B", "Hallo Welt")
        assert (first["author"], first["source"], first["language"]) == ("Ada", "Der Bote", "de")
        assert first["published"] == "2021-06-01T21:41:00+00:00"
        assert (second["content"], second["published"]) == ("1 < 2", "2021-06-01T20:00:00+02:00")

    def test_entries_that_lead_to_one_page_are_told_apart_by_their_ids(self, tmp_path):
        same = ATOM.replace("bote.example/b", "bote.example/a")
        assert read_all(written(tmp_path / "news.atom", same))["id"].to_list() == ["urn:1", "urn:2"]

    def test_a_feed_that_is_not_well_formed_is_read_and_said_to_be_so(self, tmp_path, capsys):
        path = written(tmp_path / "news.rss", RSS.replace("A short summary", "Summary & more"))
        assert read_all(path).height == 2
        assert "is not well-formed XML" in " ".join(capsys.readouterr().err.split())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "is empty"),
            ("hello", "is not an RSS or Atom feed"),
            ("<opml></opml>", "is not an RSS or Atom feed"),
            (PAGE, "is not an RSS or Atom feed; it is a web page, so give it a name that ends in .html"),
            (RSS[: len(RSS) * 2 // 3], "is truncated: it does not end in </rss>"),
            (
                RSS.replace("<rss", '<!DOCTYPE x [<!ENTITY a "b">]><rss'),
                "declares entities, which are not allowed in feeds",
            ),
            (
                RSS.replace("<rss", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss').encode("utf-16"),
                "declares entities, which are not allowed in feeds",
            ),
            (RSS.encode() + b"\xff", "is not utf-8 at byte"),
        ],
    )
    def test_what_is_no_whole_feed_is_refused(self, tmp_path, content, message):
        assert refusal(written(tmp_path / "news.xml", content)).startswith(message)

    def test_an_entry_without_text_is_named_by_its_number(self, tmp_path):
        empty = RSS.replace("Only a summary", "").replace("&lt;p&gt;They don&amp;#8217;t know.&lt;/p&gt;", "")
        assert refusal(written(tmp_path / "news.xml", empty)).startswith(
            "entry 2: field content: the title and the content are both empty"
        )

    def test_entries_of_one_id_are_named(self, tmp_path):
        twice = RSS.replace("herald.example/2", "herald.example/1")
        assert refusal(written(tmp_path / "news.xml", twice)) == (
            'entry 2: duplicate id "https://herald.example/1", already at entry 1'
        )

    def test_a_feed_without_entries_is_a_file_without_rows(self, tmp_path):
        empty = RSS[: RSS.index("<item>")] + "</channel></rss>"
        frame = read_all(written(tmp_path / "news.xml", empty))
        assert (frame.height, frame.columns[:3]) == (0, ["id", "title", "content"])


def test_nothing_is_fetched_whatever_a_page_or_a_feed_leads_to(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        page = PAGE.replace("</head>", f'<base href="{address}"><link rel="stylesheet" href="{address}/a.css"></head>')
        feed = RSS.replace("https://herald.example", address)
        feed = feed.replace("<rss", f'<!DOCTYPE rss SYSTEM "{address}/a.dtd"><rss')
        assert read_all(written(tmp_path / "a.html", page)).height == 1
        assert read_all(written(tmp_path / "a.xml", feed)).height == 2
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("https://herald.example/mill", "curl -L -o page.html https://herald.example/mill"),
        (
            "HTTPS://herald.example/feed.xml?a=1&b=2",
            "curl -L -o feed.xml 'HTTPS://herald.example/feed.xml?a=1&b=2'",
        ),
        (
            Path("http://herald.example/news.jsonl.gz"),
            "curl -L -o articles.jsonl.gz http://herald.example/news.jsonl.gz",
        ),
        ("feed://herald.example/atom", "curl -L -o page.html https://herald.example/atom"),
    ],
)
def test_an_address_is_refused_with_the_command_that_fetches_it(address, command):
    for read in (read_all, count_articles):
        with pytest.raises(ArticleError) as raised:
            read(address)
        assert str(raised.value).endswith(f"potstill downloads nothing; download it first: {command}")


@pytest.mark.parametrize(("name", "module"), [("a.html", "trafilatura"), ("a.xml", "feedparser")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"{module} is not installed; run: pip install 'potstill\[web\]'"):
        read_all(written(tmp_path / name, PAGE))


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("plain  words\n\nand more", "plain words\nand more"),
        ("<p>one\ntwo</p>three", "one two\nthree"),
        ("one<br>two<ul><li>a<li>b</ul>", "one\ntwo\na\nb"),
        ("<td>a</td><td>b</td>", "a b"),
        ("a<script>b</script><style>c</style><!-- d -->e", "ae"),
        ("<p>a <b>b</b><i>c</i></p>", "a bc"),
        ("&lt;p&gt; S&amp;P &nbsp; don&#8217;t", "<p> S&P don\u2019t"),
        ("1 < 2 & 3", "1 < 2 & 3"),
        ("", ""),
        ("<div>" * 5000 + "deep", "deep"),
    ],
)
def test_html_becomes_the_text_that_a_reader_sees(fragment, text):
    assert html_text(fragment) == text


def test_text_that_says_latin_1_is_read_as_browsers_do():
    assert as_text(b'<meta charset="iso-8859-1">don\x92t') == '<meta charset="iso-8859-1">don\u2019t'


def test_articles_of_a_feed_go_through_json_lines_and_back(tmp_path):
    frame = read_all(written(tmp_path / "news.xml", RSS))
    lines = [json.dumps(row) for row in frame.to_dicts()]
    again = read_all(written(tmp_path / "news.jsonl", "\n".join(lines)))
    assert again["content"].to_list() == frame["content"].to_list()
