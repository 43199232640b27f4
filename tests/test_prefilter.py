# ruff: noqa: RUF001 - letters of other scripts are what is tested
"""Tests of terms: whole words in languages with spaces, substrings in others."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.prefilter import DropRule, Prefilter, TermRule, fold, fold_all, matcher
from potstill.prefilter import found as found_in


def found(term: str, text: str) -> bool:
    return matches(TermRule(any=(term,)), text)


def matches(rule: TermRule, text: str) -> bool:
    return pl.DataFrame({"folded": fold_all([text])}).select(matcher(rule)).item()


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("war", "The war goes on"),
        ("war", "WAR"),
        ("war", "a war-torn country"),
        ("war", "the war's end"),
        ("war", "(war)"),
        ("war", "the war\nended"),
        ("ärzte", "DIE ÄRZTE STREIKEN"),
        ("ärzte", "die a\u0308rzte"),
        ("straße", "STRASSE"),
        ("strasse", "Straße"),
        ("don't", "they don\u2019t know"),
        ("don\u2019t", "they don't know"),
        ("don't", "they don\u00b4t know"),
        ("build-up", "a build\u2011up of arms"),
        ("share price", "the share   price"),
        ("share price", "the share\n price"),
        ("share price", "the share\u00a0price"),
        ("open source", "open-source code"),
        ("cooperative", "a coop\u00aderative bank"),
        ("fi", "\ufb01"),
        ("股价", "公司股价上涨"),
        ("股价", "股价"),
        ("股价", "up股价up"),
        ("ai", "使用AI技术"),
        ("5g网络", "全国5G网络"),
        ("ミサイル", "弾道ミサイルを発射"),
        ("ミサイル", "弾道ﾐｻｲﾙを発射"),
        ("戦争", "戦争が終わった"),
        ("สงคราม", "เกิดสงครามกลางเมือง"),
        ("ສົງຄາມ", "ເກີດສົງຄາມກາງເມືອງ"),
        ("សង្គ្រាម", "នៅពេលសង្គ្រាមស៊ីវិល"),
        ("စစ်", "ပြည်တွင်းစစ်ဖြစ်"),
        ("война", "Война и мир"),
        ("전쟁", "한국 전쟁 이후"),
        ("c++", "written in C++, mostly"),
        ("$tsla", "buy $TSLA now"),
        ("s&p 500", "the S&P 500 fell"),
        ("a.b", "see a.b here"),
        ("🚀", "to the 🚀🚀"),
    ],
)
def test_a_term_is_found(term, text):
    assert found(term, text)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("war", "an award for software"),
        ("war", "warning"),
        ("war", "wars"),
        ("war", "w a r"),
        ("ipo", "hippo"),
        ("arzt", "ärzte"),
        ("arm", "а\u0440\u043c"),
        ("война", "войнами"),
        ("전쟁", "전쟁이"),
        ("share price", "share of the price"),
        ("share price", "a share, price unknown"),
        ("股价", "股市价格"),
        ("ai", "中文said中文"),
        ("a.b", "axb"),
        ("c++", "c"),
        ("5g", "45g"),
        ("e", "e\u0301"),
    ],
)
def test_a_term_is_not_found(term, text):
    assert not found(term, text)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("s&p 500", "The S&amp;P 500 fell"),
        ("S&amp;P 500", "The S&P 500 fell"),
        ("s&p 500", "The S&amp;amp;P&nbsp;500 fell"),
        ("sponsored content", "sponsored&nbsp;content"),
        ("sponsored content", "<b>sponsored</b> content"),
        ("sponsored content", "<p>sponsored</p>\n<p>content</p>"),
        ("sponsored content", "&lt;i&gt;sponsored&lt;/i&gt; content"),
        ("sponsored content", "_sponsored content_"),
        ("sponsored content", "**sponsored** content"),
        ("sponsored content", "[sponsored](https://x.y/z) content"),
        ("sponsored content", "spon\u00adsored con\u200btent"),
        ("sponsored content", "spon&shy;sored con&#8203;tent"),
        ("don't", "they don&#8217;t know"),
        ("don't", "they don&rsquo;t know"),
        ("don't", "they don`t know"),
        ("don\u2019t", "they don&#39;t know"),
        ("war", "**war**"),
        ("war", "_war_-torn"),
        ("git clone", "run `git clone` first"),
        ("赞助内容", "这是**赞助**内容"),
        ("utm_source", '<a href="http://x.y/?utm_source=z">here</a>'),
        ("example.com", "[here](https://example.com/a)"),
        ("<iframe", '<iframe src="x"></iframe>'),
        ("&nbsp;", "one&nbsp;two"),
        ("f**k", "what the f**k"),
        ("c++", "**C++**"),
    ],
)
def test_a_term_is_found_in_a_text_with_markup(term, text):
    assert found(term, text)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("war", "a<b>war</b>d"),
        ("war", "an _award_"),
        ("war", "a&shy;war&shy;d"),
        ("war", "a<!-- war -->b"),
        ("ward", "<span class='cap'>A</span>ward"),
        ("amp", "the S&amp;P 500"),
        ("nbsp", "one&nbsp;two"),
        ("class", "<p class='lead'>one</p>"),
        ("case", "snake_case"),
        ("sponsored content", "sponsored_content"),
    ],
)
def test_a_term_is_not_found_in_or_across_markup(term, text):
    assert not found(term, text)


def test_an_exception_with_markup_counts():
    rule = TermRule(any=("share price",), unless=("co-op bank",))
    assert not matches(rule, "the share price of the <b>co-op</b>&nbsp;bank")


def test_patterns_read_a_text_with_markup_both_ways():
    assert matches(TermRule(patterns=(r"s&p \d+",)), "the S&amp;P 500")
    assert matches(TermRule(patterns=(r"<iframe\b",)), "see <iframe src='x'></iframe>")
    assert matches(TermRule(patterns=(r"^breaking",)), "**Breaking**: rain")


def test_the_prefilter_drops_by_words_in_markup_and_keeps_the_text_as_it_came():
    prefilter = Prefilter(drop=(DropRule(reason="advertising", any=("sponsored content",)),))
    texts = ["_Sponsored content_ &amp; more", "A sponsor&#8217;s content", None]
    assert prefilter.reasons(fold_all(texts)).to_list() == ["advertising", None, None]
    assert texts[0] == "_Sponsored content_ &amp; more"


words = st.text(
    alphabet=st.characters(categories=["Lu", "Ll"], include_characters="'äß"), min_size=1, max_size=6
).filter(lambda word: word.isalpha() and fold(word.upper()) == fold(word.lower()) == fold(word))


@given(words)
def test_a_word_is_found_in_any_case_between_anything_that_is_no_letter(word):
    for text in (word, word.upper(), word.lower(), word.casefold(), f"«{word}», {word}", f"x {word}.", f"({word})"):
        assert found(word, text)


spaced = st.text(alphabet="abcdefgäöüßéñçабвгдежαβγδεאבגדابتثकखगघ", min_size=1, max_size=6)


@given(spaced, spaced)
def test_in_a_spaced_script_no_word_is_found_inside_a_longer_one(word, more):
    assert not found(word, word + more) or fold(word) in fold(word + more).split() or fold(more) == ""
    assert not found(word, f"x{word}")
    assert not found(word, f"{word}x")


unspaced = st.text(alphabet="战争股价上涨市場ミサイルかなสงครามກາງ", min_size=1, max_size=5).filter(
    lambda text: not unicodedata.combining(text[0]) and unicodedata.category(text[0]) == "Lo"
)


@given(unspaced, unspaced, unspaced)
def test_in_an_unspaced_script_a_term_is_found_wherever_it_stands(before, term, after):
    assert found(term, before + term + after)


@given(st.text())
@example("\u0345\u0301")
@example("ŉ")
@example("İ")
@example("e\u034f\u0301")
@example("\u1e9e")
@example("\u00b4\u00adA")
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


# NFKC decomposes the acute accent that is used as an apostrophe.
@given(st.text().filter(lambda text: "\u00b4" not in text))
def test_case_and_composition_do_not_matter(text):
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)
    assert fold(unicodedata.normalize("NFKC", text)) == fold(text)
    assert fold(text.casefold()) == fold(text)


@given(st.text(min_size=1, max_size=12), st.text(max_size=30), st.text(max_size=30))
def test_any_term_between_spaces_is_found(term, before, after):
    assume(fold(term).strip())
    # A combining mark at the term's start would join the space before it.
    assume(not unicodedata.combining(fold(term).strip()[0]) and not unicodedata.combining(fold(after + "x")[0]))
    assert found(term, f"{before} {term} {after}")


def test_an_exception_anywhere_in_the_text_counts():
    rule = TermRule(any=("share price",), unless=("cooperative",))
    assert matches(rule, "the share price rose")
    assert not matches(rule, "the share price of the Cooperative rose")
    assert matches(rule, "the share price of cooperatives rose")


def test_patterns_read_the_folded_text_in_any_case():
    rule = TermRule(patterns=(r"\bStocks? to buy\b",))
    assert matches(rule, "10 STOCKS TO BUY today")
    assert not matches(rule, "laughingstocks to buy")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no terms and no patterns"),
        ({"unless": ("a",)}, "no terms and no patterns"),
        ({"any": (" ",)}, "a visible character"),
        ({"any": ("\u00ad",)}, "a visible character"),
        ({"patterns": ("(a",)}, "unclosed group"),
        ({"patterns": (r"(a)\1",)}, "backreferences are not supported"),
        ({"patterns": (r"(?=a)b",)}, "look-around"),
        ({"patterns": ("a*",)}, "matches the empty text"),
        ({"patterns": ("",)}, "matches the empty text"),
        ({"patterns": ("(a{1000}){1000}",)}, "size limit"),
        ({"any": ("a",), "unles": ("b",)}, "Extra inputs"),
    ],
)
def test_a_rule_that_can_do_no_work_is_refused(fields, message):
    with pytest.raises(ValidationError) as raised:
        TermRule(**fields)
    assert message in str(raised.value)


def test_the_first_reason_wins_and_what_nothing_matches_is_kept():
    prefilter = Prefilter(
        drop=(DropRule(reason="advertising", any=("promo code",)), DropRule(reason="code", any=("pip install",)))
    )
    reasons = prefilter.reasons(fold_all(["pip install it with promo code X", "pip install it", "news", "", None]))
    assert reasons.to_list() == ["advertising", "code", None, None, None]
    assert reasons.dtype == pl.String


def test_without_rules_all_are_kept():
    assert Prefilter().reasons(fold_all(["a", "b"])).to_list() == [None, None]
    assert Prefilter().reasons(fold_all([])).to_list() == []


def test_ten_thousand_terms_of_several_words_are_looked_for():
    terms = tuple(f"company number {i} of many" for i in range(10_000))
    rule = TermRule(any=terms, unless=terms[:10])
    texts = fold_all(["Company Number 9999 of many rose", "company number 3 of many", "company number", None])
    assert found_in(rule, texts).to_list() == [True, False, False, None]
    assert matches(rule, "<b>company</b> number 77 of many")


def test_many_words_are_found_as_few_are():
    texts = fold_all(["a word7 b", "a word77x b", "WORD8 and <i>word9</i>", "", None, "words"])
    many = TermRule(any=tuple(f"word{i}" for i in range(100)))
    few = TermRule(any=("word7", "word8", "word9"))
    assert found_in(many, texts).to_list() == found_in(few, texts).to_list() == [True, False, True, False, None, False]


letters = st.text(alphabet="ab \u00e9-'\u65e5*&", min_size=1, max_size=4).filter(lambda term: fold(term).strip())
rules = st.builds(
    TermRule,
    any=st.lists(letters, min_size=1, max_size=3).map(tuple),
    patterns=st.lists(st.sampled_from(["a+b", "^b"]), max_size=1).map(tuple),
    unless=st.lists(letters, max_size=2).map(tuple),
)


@given(
    rules,
    st.lists(
        st.one_of(st.none(), st.text(alphabet="abAB \u00e9\u00c9-\u2019\u65e5\n*_&amp;", max_size=12)), max_size=6
    ),
)
def test_what_plain_searches_leave_out_no_pattern_would_have_found(rule, texts):
    folded = fold_all(texts)
    wanted = pl.DataFrame({"folded": folded}).select(matcher(rule)).to_series().to_list()
    assert found_in(rule, folded).to_list() == wanted
    assert [found_in(rule, folded[row : row + 1]).item() for row in range(len(texts))] == wanted


def test_a_term_is_looked_for_by_its_longest_word_whatever_the_space_around_the_others():
    rule = TermRule(any=("due to\u00a0climate", "climate change"))
    texts = fold_all(["Due  to climate", "climate-change now", "climates change", "nothing"])
    assert found_in(rule, texts).to_list() == [True, True, False, False]


def test_of_several_rules_the_first_one_gives_the_reason_in_any_company():
    both = Prefilter(drop=(DropRule(reason="sport", any=("match",)), DropRule(reason="ads", patterns=("buy .*now",))))
    texts = fold_all(["buy a match now", "buy it now", "a river", "match"])
    assert both.reasons(texts).to_list() == ["sport", "ads", None, "sport"]
    assert [both.reasons(texts[row : row + 1]).item() for row in range(4)] == ["sport", "ads", None, "sport"]


@pytest.mark.parametrize("text", ["use the &lt;iframe&gt; element", "use the <iframe> element"])
def test_a_tag_that_an_article_writes_about_is_found(text):
    assert matches(TermRule(patterns=(r"<iframe\b",)), text)


def test_words_are_found_across_the_lines_of_a_quotation():
    assert found("sponsored content", "> sponsored\n> content")
