import pytest
import torch

from potstill.students.torch.pooling import Learned, features, pool

HIDDEN = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]], [[5.0, 5.0], [7.0, 7.0], [8.0, 6.0]]])
RIGHT_PADDED = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [[2.0, 1.0], [20 / 3, 6.0]]), ("cls", [[1.0, 0.0], [5.0, 5.0]]), ("last", [[3.0, 2.0], [8.0, 6.0]])],
)
def test_padding_is_not_read(pooling, expected):
    assert pool(HIDDEN, RIGHT_PADDED, pooling).tolist() == [pytest.approx(row) for row in expected]


def test_the_last_token_is_found_where_padding_is_on_the_left():
    assert pool(HIDDEN[:1], torch.tensor([[0, 1, 1]]), "last").tolist() == [[9.0, 9.0]]


def test_half_precision_is_pooled_in_float32():
    hidden = torch.full((1, 4096, 1), 0.1, dtype=torch.bfloat16)
    pooled = pool(hidden, torch.ones(1, 4096, dtype=torch.int64), "mean")
    assert pooled.dtype == torch.float32
    assert pooled.item() == pytest.approx(hidden[0, 0, 0].item(), abs=1e-6)


class TestAttention:
    def test_it_begins_as_the_mean_of_what_is_no_padding(self):
        fresh = Learned(2, queries=3)
        pooled = features([HIDDEN], RIGHT_PADDED, "attention", fresh)
        assert pooled.shape == (2, 6)
        for query in range(3):
            assert torch.allclose(pooled[:, 2 * query : 2 * query + 2], pool(HIDDEN, RIGHT_PADDED, "mean"))

    def test_a_query_finds_the_token_that_it_points_at_and_never_padding(self):
        query = torch.tensor([[0.0, 50.0]])
        assert pool(HIDDEN, RIGHT_PADDED, "attention", query).tolist() == [[3.0, 2.0], [7.0, 7.0]]

    def test_more_padding_changes_nothing(self):
        query = torch.tensor([[0.3, -0.2], [1.0, 0.1]])
        wider = torch.cat([HIDDEN, torch.full((2, 5, 2), 99.0)], dim=1)
        mask = torch.cat([RIGHT_PADDED, torch.zeros(2, 5, dtype=torch.int64)], dim=1)
        assert torch.allclose(pool(wider, mask, "attention", query), pool(HIDDEN, RIGHT_PADDED, "attention", query))


class TestAMixOfLayers:
    def test_it_begins_as_the_mean_of_the_layers(self):
        mixed = features([HIDDEN, 3 * HIDDEN], RIGHT_PADDED, "mean", Learned(2, layers=2))
        assert torch.allclose(mixed, 2 * pool(HIDDEN, RIGHT_PADDED, "mean"))

    def test_weights_choose_a_layer(self):
        learned = Learned(2, layers=2)
        learned.mix.data[1] = 100.0
        assert torch.allclose(
            features([HIDDEN, 3 * HIDDEN], RIGHT_PADDED, "cls", learned), 3 * pool(HIDDEN, RIGHT_PADDED, "cls")
        )
