"""Find near-duplicate texts and the clusters that they form.

Input: texts. Output: pairs with their exact Jaccard index, and a cluster number per row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import regex

from potstill.errors import require
from potstill.markup import readable
from potstill.prefilter import fold
from potstill.terminal import track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from potstill.types import IntArray

SIMILAR = 0.5
"""Jaccard index of three-word shingles above which two articles are near-duplicates."""

MISSED = 1e-8
"""Probability that a pair exactly at the threshold is missed; pairs above it are missed less often."""

_MOST_HASHES = 256
_SHINGLE = 3
# Scripts without spaces have no visible word ends, so each position starts a token of three characters. Three such
# tokens span five characters, which correspond to about three words, the size of a shingle in other scripts.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\u30fc]"
_WORD = regex.compile(rf"(?V1)(?P<run>{_UNSPACED}+)|[\w--{_UNSPACED}]+")


def near_duplicates(texts: Sequence[str], threshold: float = SIMILAR) -> list[tuple[int, int, float]]:
    """Return pairs of texts whose sets of three-word shingles have a Jaccard index above `threshold`.

    Texts are compared word by word, as a reader sees them (`markup.readable`) and folded for term matching
    (`prefilter.fold`); in scripts without spaces, characters take the place of words. Candidates come from MinHash with
    locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3). The number of bands is chosen such
    that a pair at the threshold is missed with a probability below `MISSED`. The Jaccard index of each candidate is
    then computed exactly, so there are no false pairs, and a fixed seed makes the result reproducible. A text of fewer
    than three words is one shingle. An empty text has no shingle and matches nothing, not even another empty text.

    Args:
        texts: the texts to compare.
        threshold: Jaccard index above which two texts are near-duplicates, above 0 and below 1.

    Returns:
        (i, j, jaccard) with i < j, in order. Texts with identical shingles are each paired only with the first of them,
        which represents them in all other pairs: a thousand copies give 999 pairs instead of half a million, and the
        clusters are the same.

    Raises:
        ValueError: the threshold is not above 0 and below 1.
        MissingExtra: datasketch is not installed.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold} is not between 0 and 1")
    sets = shingles_of(texts)
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int, float]] = []
    for i, shingles in enumerate(sets):
        if shingles.size:
            same = first.setdefault(shingles.tobytes(), i)
            if same != i:
                pairs.append((same, i, 1.0))
    for i, j in _candidates(sets, list(first.values()), threshold):
        # The Jaccard index is at most the smaller size divided by the larger one.
        small, large = sorted((sets[i].size, sets[j].size))
        if small > threshold * large:
            shared = np.intersect1d(sets[i], sets[j], assume_unique=True).size
            jaccard = shared / (small + large - shared)
            if jaccard > threshold:
                pairs.append((i, j, jaccard))
    return sorted(pairs)


def clusters_of(n: int, pairs: Iterable[tuple[int, int, float]]) -> IntArray:
    """Return cluster numbers from 0, shape (n,), in order of first appearance; chains of pairs share a number."""
    return joined(n, ((i, j) for i, j, _ in pairs))


def bands(threshold: float) -> tuple[int, int]:
    """Return bands and rows per band of the hashing: the most rows that keep the miss rate below `MISSED`.

    A pair of Jaccard index J shares a band of r rows with probability J**r, so b bands miss it with probability (1 -
    J**r)**b. More rows per band mean fewer false candidates, but more hashes.
    """

    def wanted(rows: int) -> int:
        return math.ceil(math.log(MISSED) / math.log1p(-(threshold**rows)))

    rows = max((r for r in range(2, 17) if r * wanted(r) <= _MOST_HASHES), default=2)
    return wanted(rows), rows


def _tokens(text: str) -> list[str]:
    folded = fold(readable(text))
    tokens: list[str] = []
    for match in _WORD.finditer(folded):
        word = match.group()
        if match.group("run") is not None and len(word) > _SHINGLE:
            tokens.extend(word[i : i + _SHINGLE] for i in range(len(word) - _SHINGLE + 1))
        else:
            tokens.append(word)
    # A text that consists only of signs is still a text, so it is compared as a whole.
    signs = " ".join(folded.split())
    return tokens or [signs] * bool(signs)


def shingles_of(texts: Sequence[str]) -> list[IntArray]:
    """Return the sorted numbers of each text's distinct shingles; equal numbers mean exactly equal shingles."""
    numbers: dict[str, int] = {}
    words: list[IntArray] = []
    for text in texts:
        tokens = [numbers.setdefault(token, len(numbers) + 1) for token in _tokens(text)]
        # 0 stands for no word and pads texts of fewer than three words.
        tokens += [0] * (_SHINGLE - len(tokens)) * bool(tokens)
        words.append(np.array(tokens, dtype=np.int64))
    counts = np.array([max(0, tokens.size - _SHINGLE + 1) for tokens in words])
    if not counts.sum():
        return [np.empty(0, dtype=np.int64) for _ in texts]
    width = len(numbers) + 1
    codes = np.concatenate([tokens[: tokens.size - 2] for tokens in words if tokens.size])
    for offset in (1, 2):
        following = np.concatenate([tokens[offset : tokens.size - 2 + offset] for tokens in words if tokens.size])
        # Renumbering the pairs after each step keeps the product within 64 bits, so there are no collisions.
        codes = np.unique(codes * width + following, return_inverse=True)[1]
    return [np.unique(part) for part in np.split(codes, np.cumsum(counts)[:-1])]


def _candidates(sets: Sequence[IntArray], which: Sequence[int], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield pairs (earlier, later) of `which` that share a band of MinHashes."""
    datasketch = require("datasketch", "train")
    count, rows = bands(threshold)
    empty = datasketch.MinHash(num_perm=count * rows, seed=1, hashfunc=int)
    index = datasketch.MinHashLSH(num_perm=count * rows, params=(count, rows))
    for i in track(which, "looking for near-duplicates", len(which)):
        minhash = empty.copy()
        minhash.update_batch(_scrambled(sets[i]))
        for j in index.query(minhash):
            yield j, i
        index.insert(i, minhash, check_duplication=False)


def _scrambled(numbers: IntArray) -> list[int]:
    """Return 32-bit hashes of small numbers (the finaliser of splitmix64, Steele et al. 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes: list[int] = ((x ^ (x >> np.uint64(31))) >> np.uint64(32)).tolist()
    return hashes


def joined(n: int, links: Iterable[tuple[int, int]]) -> IntArray:
    """Return the connected components of n nodes, numbered in order of first appearance (union-find)."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in links:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(i), len(numbers)) for i in range(n)], dtype=np.int64)
