"""Tests of the visible text of a document with markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.markup import kinds_in, readable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("S&amp;P 500", "S&P 500"),
        ("S&amp;amp;P 500", "S&P 500"),
        ("S&AMP;P and S&amp P", "S&P and S& P"),
        ("don&#8217;t, don&#x2019;t, don&#8217t, don&rsquo;t", "don\u2019t, don\u2019t, don\u2019t, don\u2019t"),
        ("sponsored&nbsp;content", "sponsored\u00a0content"),
        ("AT&T, R&D; &notaname; &copy=1", "AT&T, R&D; &notaname; &copy=1"),
        ("&#0;&#xD800;&#9999999;", "\ufffd\ufffd\ufffd"),
        ("<b>sponsored</b> content", "sponsored content"),
        ("spon<em class='x'>sored</em> content", "sponsored content"),
        ("one<br/>two</p><p>three", "one two  three"),
        ('<a href="http://x/?a=1" target=_blank>here</a>', "here"),
        ("&lt;b&gt;sponsored&lt;/b&gt; content", "sponsored content"),
        ("a < b and c > d", "a < b and c > d"),
        ("if a <b and c> d", "if a <b and c> d"),
        ("<https://example.com> <ceo@example.com>", "<https://example.com> <ceo@example.com>"),
        ("one <!-- two --> three <!-- four", "one   three <!-- four"),
        ("one<script>two</script><STYLE>p {}</STYLE>three", "one    three"),
        ("<![CDATA[sponsored]]> content", "sponsored content"),
        ("_sponsored content_", "sponsored content"),
        ("**sponsored** content, ***now***", "sponsored content, now"),
        ("~~sponsored~~ `content`", "sponsored content"),
        ("a **_very_** b", "a very b"),
        ("snake_case f**k 2*3 2 * 3", "snake_case f**k 2*3 2 * 3"),
        ("* one\n* two", "* one\n* two"),
        ("这是**赞助**内容", "这是赞助内容"),
        ("don`t", "don't"),
        (r"sponsored\_content \*now\*", "sponsored_content now"),
        ("[sponsored](https://example.com/a_b) content", "sponsored content"),
        ("[sponsored][1] content", "sponsored content"),
        ("[![chart](a.png)](b.html) shows", "!chart shows"),
        ("array[1] [sic]", "array[1] [sic]"),
    ],
)
def test_a_reader_sees(text, seen):
    assert readable(text) == seen


@given(st.text(alphabet=st.characters(exclude_characters="&<>[\\*_`~")))
def test_a_text_without_marks_is_the_same_object(text):
    assert readable(text) is text


@given(st.text(alphabet="ab &;#<>/[]()*_`~\\!-\n'\"=8amp"))
def test_any_text_can_be_read_and_its_kinds_told(text):
    assert len(readable(text)) <= len(text) + 2
    assert set(kinds_in(text)) <= {"html", "entities", "markdown"}


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("AT&T pays 5 < 6 of 2 * 3, see snake_case and 100% [sic]", ()),
        ("price* of it (*unaudited)", ()),
        ("<p>One</p>", ("html",)),
        ("S&amp;P", ("entities",)),
        ("it is _here_", ("markdown",)),
        ("[here](there)", ("markdown",)),
        ("# Title\ntext", ("markdown",)),
        ("**S&amp;P**<br>", ("html", "entities", "markdown")),
    ],
)
def test_the_kinds_of_marks_are_told(text, kinds):
    assert kinds_in(text) == kinds
