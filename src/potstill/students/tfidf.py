"""Ridge regression on TF-IDF of word and character n-grams: a student for every language without a model file.

Input: examples. Output: a student that needs only numpy for scoring. Terms are n-grams of symbols (words or
characters), each packed into one 64-bit key, so that a text is looked up as a sorted array of keys and not as strings.
The ridge weights are multiplied by the inverse document frequency in advance, so that a text's terms sum directly to
its scores. The results equal those of scikit-learn's `TfidfVectorizer(sublinear_tf=True)` followed by `Ridge`, on
lower-cased text with single spaces.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise, repeat
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from potstill.errors import BundleError, require
from potstill.students import Outputs
from potstill.students.constant import check_labelled, check_shape
from potstill.students.levels import Levels
from potstill.students.novelty import WordNovelty, novelty_arrays, novelty_from
from potstill.students.ridge import choose, dual
from potstill.students.words import normalised, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.students.recipes import TfidfRecipe
    from potstill.types import FloatArray, IntArray

Symbols = Literal["words", "characters"]
Span = tuple[int, int]

LARGEST_GRAM = 8_000
"""Number of rows above which ridge is solved by conjugate gradients: the Gram matrix would take over 0.5 GB."""

_LONGEST_SPAN = 64
"""Maximum length of an n-gram in symbols, since a key has 64 bits."""

_CODE_POINTS = 0x110000
MOST_KEPT = 4_000_000
"""Total characters of all texts up to which their counted n-grams are kept between passes: up to about 200 MB."""

_MERGE = 2_000
"""Number of texts whose terms are counted before they are merged into the running table."""


@dataclass(frozen=True)
class Terms:
    """A vocabulary of n-grams over known symbols.

    A symbol's number is its index in `symbols` plus 1; 0 is an unknown symbol, which no term contains. A term's key is
    the concatenation of its symbols' numbers, `bits` each, so that keys are unique. `keys` are sorted.
    """

    kind: Symbols
    span: Span
    symbols: tuple[str, ...]
    keys: NDArray[np.uint64]

    @property
    def bits(self) -> int:
        """Bits per symbol in a key."""
        return bits_for(self.kind, self.span)

    @cached_property
    def _words(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols, start=1)}

    @cached_property
    def _characters(self) -> NDArray[np.uint64]:
        table = np.zeros(_CODE_POINTS, dtype=np.uint64)
        table[[ord(symbol) for symbol in self.symbols]] = np.arange(1, len(self.symbols) + 1, dtype=np.uint64)
        return table

    def numbers(self, text: str) -> NDArray[np.uint64]:
        """Return the numbers of the text's symbols, in order; `text` must be `normalised`."""
        if self.kind == "words":
            found = words_of(text)
            return np.fromiter(map(self._words.get, found, repeat(0)), dtype=np.uint64, count=len(found))
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        return np.asarray(self._characters[points])

    def grams(self, text: str) -> tuple[NDArray[np.uint64], IntArray]:
        """Return the sorted distinct keys of all n-grams of known symbols in a text, and their counts."""
        numbers = self.numbers(text)
        found = []
        packed = numbers
        whole = numbers > 0
        shift = np.uint64(self.bits)
        for size in range(1, self.span[1] + 1):
            if size > 1:
                packed = (packed[:-1] << shift) | numbers[size - 1 :]
                whole = whole[:-1] & (numbers[size - 1 :] > 0)
            if size >= self.span[0]:
                found.append(packed[whole])
            if packed.size < 2:
                break
        keys = np.concatenate(found) if found else np.empty(0, dtype=np.uint64)
        keys.sort()
        first = np.ones(keys.size, dtype=bool)
        first[1:] = keys[1:] != keys[:-1]
        starts = np.flatnonzero(first)
        return keys[starts], np.diff(starts, append=keys.size)

    def look_up(self, text: str) -> tuple[IntArray, FloatArray]:
        """Return the indices of the text's terms in `keys`, ascending, and 1 + ln(count) of each."""
        return self.known(*self.grams(text))

    def known(self, grams: NDArray[np.uint64], counts: IntArray) -> tuple[IntArray, FloatArray]:
        """Do the same as `look_up`, for a text whose n-grams are already counted."""
        if not self.keys.size:
            return np.empty(0, dtype=np.int64), np.empty(0)
        places = np.searchsorted(self.keys, grams)
        places[places == self.keys.size] = 0
        known = self.keys[places] == grams
        return places[known], 1.0 + np.log(counts[known])


@dataclass(frozen=True)
class Block:
    """A vocabulary with the contribution of each term to the scores.

    `idf` has shape (terms,); `weights`, shape (terms, outputs), are the ridge weights times `idf`.
    """

    terms: Terms
    idf: NDArray[np.float32]
    weights: NDArray[np.float32]

    def score(self, text: str) -> FloatArray | float:
        """Return the sum of a text's terms, shape (outputs,); 0 if it has no known term."""
        places, frequency = self.terms.look_up(text)
        if not places.size:
            return 0.0
        values = frequency * self.idf[places]
        length = np.sqrt(values @ values)
        added: FloatArray = (frequency @ self.weights[places].astype(np.float64)) / length
        return added


@dataclass(frozen=True)
class TfidfStudent:
    """Blocks of terms and a bias, shape (outputs,): one per dimension, or per level if scores are medians."""

    dimensions: tuple[str, ...]
    blocks: tuple[Block, ...]
    bias: FloatArray
    alpha: float
    levels: Levels | None = None
    novelty: WordNovelty | None = None
    kind: ClassVar[str] = "tfidf-ridge"

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict scores from the column `text`, shape (articles, dimensions), holding one text in memory at a time."""
        scores = np.tile(self.bias, (articles.height, 1))
        for row, text in enumerate(articles["text"]):
            lowered = (text or "").lower()
            for block in self.blocks:
                # Words do not depend on the white space between them.
                scores[row] += block.score(lowered if block.terms.kind == "words" else " ".join(lowered.split()))
        return scores if self.levels is None else self.levels.median(scores)

    def outputs(self, articles: pl.DataFrame) -> Outputs:
        """Return the scores, and the distances from the training texts if the student measures them."""
        texts = (text or "" for text in articles["text"])
        return Outputs(self.predict(articles), None, None if self.novelty is None else self.novelty.distances(texts))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for `student.safetensors`; a vocabulary is one UTF-8 blob with offsets, and its keys."""
        stored: dict[str, NDArray[Any]] = {"bias": self.bias}
        for block in self.blocks:
            name = block.terms.kind
            blob, offsets = _packed(block.terms.symbols)
            stored |= {
                f"{name}.symbols": blob,
                f"{name}.offsets": offsets,
                f"{name}.keys": block.terms.keys,
                f"{name}.idf": block.idf,
                f"{name}.weights": block.weights,
            }
        return stored | (self.levels.arrays() if self.levels else {}) | novelty_arrays(self.novelty)

    def settings(self) -> dict[str, Any]:
        """Return the settings for `student.json`: the n-gram ranges and the selected alpha."""
        return {"alpha": self.alpha, "spans": {block.terms.kind: list(block.terms.span) for block in self.blocks}}

    @classmethod
    def restore(
        cls, dimensions: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> TfidfStudent:
        """Rebuild the student from `arrays` and `settings`."""
        kinds: tuple[Symbols, ...] = ("words", "characters")
        spans, bias = settings["spans"], arrays["bias"]
        check_shape("bias", bias, (bias.size,))
        blocks = tuple(_restored_block(kind, spans[kind], arrays, bias.size) for kind in kinds if kind in spans)
        levels = Levels.from_arrays(arrays, bias.size) if "levels" in arrays else None
        if (levels.counts.size if levels else bias.size) != len(dimensions):
            raise BundleError(f"student: its arrays do not produce {len(dimensions)} scores")
        novelty = novelty_from(arrays)
        if novelty is not None and not isinstance(novelty, WordNovelty):
            raise BundleError("novelty: made for features, and the student counts words")
        return cls(dimensions, blocks, bias, float(settings["alpha"]), levels, novelty)


def _restored_block(kind: Symbols, span: Sequence[Any], arrays: Mapping[str, NDArray[Any]], outputs: int) -> Block:
    """Rebuild a block from the arrays whose names begin with its kind.

    Raises:
        BundleError: the n-gram range or an array does not match the others.
    """
    first, last = span
    if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last <= _LONGEST_SPAN):
        raise BundleError(
            f"student: n-grams of {kind} from {first} to {last}, expected 1 to {_LONGEST_SPAN}, in increasing order"
        )
    keys, idf, weights = (arrays[f"{kind}.{name}"] for name in ("keys", "idf", "weights"))
    if keys.dtype != np.uint64 or keys.ndim != 1:
        raise BundleError(f"student: {kind}.keys holds {keys.dtype} {keys.shape}, expected uint64, one for each term")
    check_shape(f"{kind}.idf", idf, keys.shape)
    check_shape(f"{kind}.weights", weights, (keys.size, outputs))
    symbols = _unpacked(arrays[f"{kind}.symbols"], arrays[f"{kind}.offsets"])
    if kind == "characters" and any(len(symbol) != 1 for symbol in symbols):
        raise BundleError(f"student: {kind}.symbols are not single characters")
    return Block(Terms(kind, (first, last), symbols, keys), idf, weights)


def bits_for(kind: Symbols, span: Span) -> int:
    """Return the bits per symbol in a 64-bit key: words need many numbers, characters at most 16 bits."""
    return min(64 // span[1], 32 if kind == "words" else 16)


def fit_tfidf(recipe: TfidfRecipe, train: Examples, *, seed: int = 0) -> TfidfStudent:
    """Fit vocabularies, document frequencies and ridge weights; alpha is chosen by inner cross-validation.

    The cross-validation keeps clusters whole.

    Raises:
        DatasetError: a dimension has no label.
        MissingExtra: scikit-learn is not installed (it is not needed for scoring).
    """
    check_labelled(train)
    texts = [normalised(text or "") for text in train.frame["text"]]
    spans: dict[Symbols, Span | None] = {"words": recipe.words, "characters": recipe.characters}
    terms, built = [], []
    for kind, span in spans.items():
        if span is not None:
            counted = Counted(symbols_of(kind, span, texts, recipe.min_documents), texts)
            terms.append(learn_terms(counted, recipe.min_documents, recipe.max_features))
            built.append(_matrix(terms[-1], counted))
    sparse = require("scipy.sparse", "train")
    features = sparse.hstack([matrix for matrix, _ in built], format="csr")
    levels = Levels.of(train.scores) if recipe.learns == "distribution" else None
    weights, bias, alpha = _ridge(features, train.scores, levels, train.clusters, recipe.alphas, seed)
    blocks, start = [], 0
    for vocabulary, (_, idf) in zip(terms, built, strict=True):
        own = weights[start : start + idf.size]
        start += idf.size
        blocks.append(Block(vocabulary, idf.astype(np.float32), (own * idf[:, None]).astype(np.float32)))
    return TfidfStudent(tuple(train.dimensions), tuple(blocks), bias, alpha, levels)


class Counted:
    """Each text's counted n-grams, as `Terms.grams` returns them; cached for the next pass unless they are too many."""

    def __init__(self, terms: Terms, texts: Sequence[str]) -> None:
        """Use the symbols of `terms`."""
        self.terms = terms
        self.texts = texts
        few = sum(map(len, texts)) <= MOST_KEPT
        self._kept = [terms.grams(text) for text in texts] if few else None

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint64], IntArray]]:
        return map(self.terms.grams, self.texts) if self._kept is None else iter(self._kept)

    def __len__(self) -> int:
        return len(self.texts)


def symbols_of(kind: Symbols, span: Span, texts: Sequence[str], min_documents: int) -> Terms:
    """Return a vocabulary without terms, with the most common symbols that occur in at least `min_documents`."""
    documents: Counter[str] = Counter()
    for text in texts:
        documents.update(set(words_of(text)) if kind == "words" else set(text))
    # A term is at most as common as its symbols, so rare symbols can be dropped before terms are counted.
    common = [item for item in documents.items() if item[1] >= min_documents]
    common.sort(key=lambda item: (-item[1], item[0]))
    room = (1 << bits_for(kind, span)) - 1
    return Terms(kind, span, tuple(symbol for symbol, _ in common[:room]), np.empty(0, dtype=np.uint64))


def learn_terms(counted: Counted, min_documents: int, max_features: int) -> Terms:
    """Return the vocabulary: terms in at least `min_documents`, limited to the most common `max_features`."""
    keys, counts = _document_frequencies(counted)
    kept = counts >= min_documents
    keys, counts = keys[kept], counts[kept]
    if keys.size > max_features:
        keys = np.sort(keys[np.argsort(-counts, kind="stable")[:max_features]])
    return replace(counted.terms, keys=keys)


def _document_frequencies(counted: Counted) -> tuple[NDArray[np.uint64], IntArray]:
    keys, counts = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    each = iter(counted)
    while some := [grams for grams, _ in islice(each, _MERGE)]:
        new = np.concatenate(some)
        found, number = np.unique(new, return_counts=True)
        merged, place = np.unique(np.concatenate([keys, found]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, number]), merged.size).astype(np.int64)
        keys = merged
    return keys, counts


def _matrix(terms: Terms, counted: Counted) -> tuple[Any, FloatArray]:
    """Return unit-length TF-IDF rows as a sparse matrix (texts, terms), and the inverse document frequencies."""
    sparse = require("scipy.sparse", "train")
    found = [terms.known(grams, counts) for grams, counts in counted]
    columns = np.concatenate([places for places, _ in found])
    ends = np.cumsum([0, *(places.size for places, _ in found)])
    idf = np.log((1.0 + len(counted)) / (1.0 + np.bincount(columns, minlength=terms.keys.size))) + 1.0
    values = [frequency * idf[places] for places, frequency in found]
    unit = [row / np.sqrt(row @ row) if row.size else row for row in values]
    return sparse.csr_matrix((np.concatenate(unit), columns, ends), shape=(len(counted), terms.keys.size)), idf


def _ridge(
    features: Any,  # noqa: ANN401 - a scipy matrix; scipy has no types
    scores: FloatArray,
    levels: Levels | None,
    clusters: IntArray,
    alphas: Sequence[float],
    seed: int,
) -> tuple[FloatArray, FloatArray, float]:
    """Return weights (terms, outputs), bias and the selected alpha."""
    whole = scores if levels is None else levels.targets(scores)
    rows = np.arange(scores.shape[0])
    if rows.size > LARGEST_GRAM:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:LARGEST_GRAM])
    inner = _gram(features[rows])
    targets = whole[rows]

    def fit_predict(inside: IntArray, outside: IntArray, alpha: float) -> FloatArray:
        coefficients, bias = dual(inner[np.ix_(inside, inside)], targets[inside], alpha)
        outputs = np.asarray(inner[np.ix_(outside, inside)] @ coefficients + bias)
        return outputs if levels is None else levels.median(outputs)

    alpha = choose(alphas, fit_predict, scores[rows], clusters[rows], seed)
    if rows.size == scores.shape[0]:
        coefficients, bias = dual(inner, whole, alpha)
        return np.asarray(features.T @ coefficients), bias, alpha
    linear = require("sklearn.linear_model", "train")
    weights, bias = np.empty((features.shape[1], whole.shape[1])), np.empty(whole.shape[1])
    for column, target in enumerate(whole.T):
        known = ~np.isnan(target)
        fitted = linear.Ridge(alpha=alpha, solver="sparse_cg", tol=1e-5).fit(features[known], target[known])
        weights[:, column], bias[column] = fitted.coef_, fitted.intercept_
    return weights, bias, alpha


def _gram(features: Any) -> FloatArray:  # noqa: ANN401 - as in _ridge
    """Compute the Gram matrix; common terms, for which sparse products are slow, are multiplied as a dense matrix."""
    count = np.bincount(features.indices, minlength=features.shape[1])
    common = count > max(features.shape[0] // 20, 1)
    by_column = features.tocsc()
    dense = by_column[:, common].toarray()
    rare = by_column[:, ~common].tocsr()
    return np.asarray(dense @ dense.T + (rare @ rare.T).toarray())


def _packed(symbols: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [symbol.encode("utf-8") for symbol in symbols]
    offsets = np.cumsum([0, *(len(symbol) for symbol in encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def _unpacked(blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[str, ...]:
    whole = blob.tobytes()
    edges = offsets.tolist()
    return tuple(whole[start:end].decode("utf-8") for start, end in pairwise(edges))
