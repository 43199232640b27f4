import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_network import TEXTS, tiny_tokenizer

from potstill.students.encoding import EncoderFacts
from potstill.training.batches import LengthGrouped, Part, Tokens, tokenise

FACTS = EncoderFacts(backbone="tiny", backbone_sha256="0" * 64, width=8, max_tokens=16, pooling="mean", pad_id=0)


@given(
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_each_row_comes_once_an_epoch_in_as_many_batches_as_said(lengths, batch_size, seed, epoch):
    sampler = LengthGrouped(np.array(lengths), batch_size, seed)
    sampler.set_epoch(epoch)

    batches = list(sampler)

    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert max(map(len, batches)) <= batch_size


def test_the_order_depends_on_seed_and_epoch_alone():
    lengths = np.arange(1, 101)

    def order(seed, epoch):
        sampler = LengthGrouped(lengths, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


def test_grouping_by_length_saves_most_of_the_padding():
    lengths = np.random.default_rng(0).integers(10, 500, size=640)

    def padded(batches):
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    grouped = padded(list(LengthGrouped(lengths, 16, 0)))
    shuffled = padded(np.random.default_rng(1).permutation(640).reshape(-1, 16))

    assert lengths.sum() < grouped < 1.15 * lengths.sum()
    assert shuffled > 1.7 * lengths.sum()


def test_texts_are_cut_and_never_empty():
    tokens = tokenise(tiny_tokenizer(special=False), TEXTS, FACTS)

    assert [len(row) for row in tokens.ids] == [min(16, max(1, len(text))) for text in TEXTS]
    assert tokens.truncated.tolist() == [len(text) > 16 for text in TEXTS]
    assert tokens.ids[TEXTS.index("")].tolist() == [FACTS.pad_id]


def test_the_prefix_stands_before_every_text():
    prefixed = tokenise(tiny_tokenizer(), ["a"], FACTS.model_copy(update={"prefix": "query: "}))

    assert prefixed.ids[0].tolist() == tokenise(tiny_tokenizer(), ["query: a"], FACTS).ids[0].tolist()


def test_a_batch_is_padded_on_the_right_and_masked():
    tokens = Tokens((np.array([5, 6, 7]), np.array([8])), np.zeros(2, dtype=bool), 1)

    ids, mask = tokens.batch([1, 0])

    assert ids.tolist() == [[8, 1, 1], [5, 6, 7]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_a_part_gives_its_rows_labels_with_their_masks():
    part = Part(Tokens((np.array([5]), np.array([6])), np.zeros(2, dtype=bool), 0), np.array([[1.0], [np.nan]]))

    labels = part.collate([1, 0])["labels"].numpy()

    assert np.isnan(labels[0, 0])
    assert labels[1, 0] == pytest.approx(1.0)
