"""Tests that secrets are removed from texts in every encoding, and that nothing else is removed."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.oracle.redaction import REDACTED, Redaction, secret_headers, secrets_of_address

KEY = 'sk-proj-7Yb"+/&%3x&amp;Q<z>é_0AvKp9'

spellings = pytest.mark.parametrize(
    "spelling",
    [
        lambda key: key,
        lambda key: f"Bearer {key}",
        str.upper,
        str.lower,
        lambda key: json.dumps(key)[1:-1],
        lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
        lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
        quote,
        lambda key: quote(key, safe=""),
        quote_plus,
        lambda key: quote(key, safe="").lower(),
        lambda key: quote(quote(key, safe=""), safe=""),
        html.escape,
        lambda key: html.escape(key, quote=False),
        lambda key: "".join(f"&#{ord(letter)};" for letter in key),
        lambda key: "".join(f"&#x{ord(letter):X};" for letter in key),
        lambda key: b64encode(key.encode()).decode(),
        lambda key: b64encode(f":{key}".encode()).decode(),
        lambda key: b64encode(f"user:{key}".encode()).decode(),
        lambda key: b64encode(f"me:{key}\n".encode()).decode(),
        lambda key: urlsafe_b64encode(f"user:{key}".encode()).decode(),
        lambda key: quote(b64encode(f"user:{key}".encode()).decode(), safe=""),
    ],
)


@spellings
def test_a_key_is_taken_out_however_it_is_written(spelling):
    written = spelling(KEY)
    hidden = Redaction([KEY]).hide(f"HTTP 401: the header said {written}, which is wrong. {written}")
    assert hidden.count(REDACTED) == 2
    assert hidden.startswith("HTTP 401: the header said ")
    # The remaining base64 characters also encode bits of the text next to the key.
    assert not any(hidden[at : at + 12] in written for at in range(len(hidden) - 12))


@spellings
def test_a_key_that_is_cut_short_is_taken_out_too(spelling):
    written = spelling(KEY)
    for end in range(len(written) - 1, len(written) // 2, -1):
        hidden = Redaction([KEY]).hide(f"it said {written[:end]}")
        assert REDACTED in hidden


@given(st.text(max_size=80), st.text(max_size=80), st.text(min_size=8, max_size=60).map(str.strip))
def test_no_key_of_eight_characters_is_left_in_any_text(before, after, key):
    if len(key) >= 8:
        assert key not in Redaction([key]).hide(before + key + after).replace(REDACTED, "")


@given(st.text(max_size=300))
def test_a_text_without_the_key_is_left_as_it_is(text):
    assert Redaction(["c29tZXRoaW5nIGVsc2U", "7Yb3xQz0AvKp9"]).hide(text) == text


def test_a_key_that_is_a_word_is_taken_out_behind_the_name_of_a_header_alone():
    redaction = Redaction(["test"])
    assert redaction.hide("A test of the tested bridge: Bearer test.") == (
        f"A test of the tested bridge: Bearer {REDACTED}."
    )
    assert redaction.hide('"x-api-key": "test", "Authorization": "test"') == (
        f'"x-api-key": "{REDACTED}", "Authorization": "{REDACTED}"'
    )


def test_no_secrets_hide_nothing():
    assert Redaction(["", "  "]).hide("none") == "none"


def test_headers_hold_keys_and_phrases():
    told = {"Authorization": "Bearer abcdefghij", "X-My-Token": "klmnopqrst", "X-Title": "application of news"}
    keys, phrases = secret_headers(told)
    assert (keys, phrases) == (["abcdefghij", "klmnopqrst"], ["application of news"])
    redaction = Redaction(keys, phrases)
    assert redaction.hide("abcdefghi klmnopqr") == f"{REDACTED} {REDACTED}"
    assert redaction.hide("an application of news") == f"an {REDACTED}"
    assert redaction.hide("an application of texts") == "an application of texts"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("http://user:p%40ssword@proxy:3128", ["p%40ssword", "p@ssword"]),
        ("http://token1234@proxy", ["token1234"]),
        ("https://host/v1?api-key=abcdefgh&v=1", ["abcdefgh"]),
        ("https://host/v1", []),
        ("http://[::1/v1", []),
        ("", []),
    ],
)
def test_an_address_holds_a_password_and_a_query(address, secrets):
    assert secrets_of_address(address) == secrets
