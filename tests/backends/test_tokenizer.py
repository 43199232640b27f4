"""Tests that the operations in a tokenizer's file are checked before it processes a text."""

import copy
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_network import tiny_tokenizer

from potstill.backends import tokenizer as module
from potstill.backends.tokenizer import open_tokenizer
from potstill.errors import BundleError

TINY = json.loads(tiny_tokenizer().backend_tokenizer.to_str())


def replace(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def replace_regex(pattern, content):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def sequence(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


def template(*single, ids=(2,), **special):
    tokens = {"[CLS]": {"id": "[CLS]", "ids": list(ids), "tokens": ["[CLS]"] * len(ids)}}
    return {"type": "TemplateProcessing", "single": list(single), "pair": [], "special_tokens": special or tokens}


CLS, TEXT = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
OTHER = {"Sequence": {"id": "B", "type_id": 0}}
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
PIECES = {"type": "WordPiece", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}

HOSTILE = {
    "a letter replaced by a million": {"normalizer": replace("r", "x" * 1_000_000)},
    "a letter doubled twenty times": {"normalizer": sequence(*[replace("r", "rr")] * 20)},
    "replacements that hand on to each other": {
        "normalizer": sequence(replace("a", "b" * 10), replace("b", "c" * 10), replace("c", "d" * 10))
    },
    "a pattern for everything": {"normalizer": replace_regex(".", "x" * 30)},
    "a million letters before a text": {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
    "a broken pattern": {"normalizer": replace_regex("(", "x")},
    "a pattern that never ends": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "(a+)+$"}}},
    "a table that is none": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "a table that leads nowhere": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAAEAAAABAAAAYWJj"}
    },
    "a hundred thousand tokens before a text": {"post_processor": template(*[CLS] * 100_000, TEXT)},
    "a token that is a hundred thousand": {"post_processor": template(CLS, TEXT, ids=[2] * 100_000)},
    "a text a hundred times": {"post_processor": template(*[TEXT] * 100)},
    "a second text": {"post_processor": template(OTHER)},
    "no text": {"post_processor": template(CLS)},
    "a token that is not there": {"post_processor": template({"SpecialToken": {"id": "[NO]", "type_id": 0}}, TEXT)},
    "pieces of length 0": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "no unknown token": {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[NO]"}},
    "no vocabulary": {"model": {"type": "Unigram", "vocab": [], "unk_id": None}},
    "merges of what is not there": {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"], "unk_token": "a"}
    },
    "a number that no token has": {"model": {"type": "WordLevel", "vocab": {"a": 2**70}, "unk_token": "a"}},
    "an endless prefix": {
        "model": PIECES | {"continuing_subword_prefix": "#" * 1_000_000, "max_input_chars_per_word": 9}
    },
    "endless words": {"model": PIECES | {"continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9}},
    "a kind that is not known": {"normalizer": {"type": "Shell", "command": "rm"}},
    "another file": {"version": "9.9"},
}

HARMLESS = {
    "as it is": {},
    "lower case, accents and quotes": {
        "normalizer": sequence(
            replace("``", '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            replace_regex(" {2,}", " "),
        )
    },
    "spaces made visible": {"normalizer": sequence({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁"))},
    "many that do not hand on to each other": {"normalizer": sequence(*[replace(sign, "...") for sign in "…‥⋯"] * 20)},
    "words in a row": {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}},
    "a cut and padding of its own": {
        "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
    },
}  # fmt: skip


def written(folder, change):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(copy.deepcopy(TINY) | change))
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tokenizer_is_refused_in_one_line_and_the_library_stays_silent(tmp_path, what, capfd):
    path = written(tmp_path, HOSTILE[what])
    with pytest.raises(BundleError) as refused:
        open_tokenizer(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_tokenizer_is_opened(tmp_path, what):
    assert open_tokenizer(written(tmp_path, HARMLESS[what])).encode("a library").ids


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "too large"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    path = tmp_path / "tokenizer.json"
    if kind == "too large":
        with path.open("wb") as stream:
            stream.truncate(10**10)
    else:
        {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "nothing": lambda: None}[kind]()
    with pytest.raises(BundleError, match=r"tokenizer\.json: (is a|no such file|has 10,000,000,000 bytes)"):
        open_tokenizer(path)


@given(content=st.text("ab", max_size=20), pattern=st.sampled_from(["a", "b", "ab"]), times=st.integers(1, 4))
def test_growth_is_never_underrated(tmp_path_factory, content, pattern, times):
    from tokenizers import normalizers

    parts = [replace(pattern, content)] * times
    bound = module._growth(parts)
    real = normalizers.Sequence([normalizers.Replace(pattern, content)] * times) if bound <= 10_000 else None
    if real is not None:
        assert len(real.normalize_str("abba" * 5)) <= 20 * bound


def test_stderr_is_there_again_after_tokenizers_were_opened_side_by_side(tmp_path, capfd):
    path = written(tmp_path, {})
    threads = [threading.Thread(target=open_tokenizer, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
