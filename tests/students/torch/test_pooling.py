import pytest
import torch

from potstill.students.torch.pooling import pool

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
