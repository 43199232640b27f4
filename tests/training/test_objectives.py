import pytest
import torch

from potstill.training.objectives import masked_loss

NAN = float("nan")


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("mse", (0.5**2 + 3.0**2) / 2),
        ("l1", (0.5 + 3.0) / 2),
        # Half the square below one point, linear above it.
        ("huber", (0.5 * 0.5**2 + (3.0 - 0.5)) / 2),
    ],
)
def test_the_loss_is_the_mean_over_labels_that_are_there(objective, expected):
    predictions = torch.tensor([[4.5, 100.0], [7.0, -100.0]])
    scores = torch.tensor([[4.0, NAN], [4.0, NAN]])

    assert masked_loss(predictions, scores, objective).item() == pytest.approx(expected)


@pytest.mark.parametrize("objective", ["mse", "l1", "huber"])
def test_a_masked_label_has_no_gradient(objective):
    predictions = torch.tensor([[5.0, 5.0]], requires_grad=True)

    masked_loss(predictions, torch.tensor([[1.0, NAN]]), objective).backward()

    assert predictions.grad[0, 0] != 0
    assert predictions.grad[0, 1] == 0


def test_a_batch_without_any_label_teaches_nothing():
    predictions = torch.tensor([[5.0]], requires_grad=True)

    loss = masked_loss(predictions, torch.tensor([[NAN]]), "mse")
    loss.backward()

    assert loss.item() == 0
    assert predictions.grad.item() == 0
