import numpy as np
import pytest
import torch
import trainings

from potstill.errors import RecipeError
from potstill.students.heads import LinearHead
from potstill.students.ordinal import decoded
from potstill.students.torch.model import build_model
from potstill.training import loop
from potstill.training.batches import Part, Tokens
from potstill.training.counts import implied_counts
from potstill.training.objectives import Target, near

NAN = float("nan")
SCORES = ("mse", "huber")
GRADED = ("corn", "distribution")


def target(objective, labels=((0.0,), (5.0,), (10.0,)), **changes):
    return Target.of(trainings.recipe_of(objective=objective, **changes), np.array(labels))


class TestScores:
    @pytest.mark.parametrize(
        ("objective", "expected"),
        [
            ("mse", (0.5**2 + 3.0**2) / 2),
            # The loss is half the square below one point and linear above it.
            ("huber", (0.5 * 0.5**2 + (3.0 - 0.5)) / 2),
        ],
    )
    def test_the_loss_is_the_mean_over_labels_that_are_there(self, objective, expected):
        outputs = torch.tensor([[4.5, 100.0], [7.0, -100.0]])
        scores = torch.tensor([[4.0, NAN], [4.0, NAN]])

        assert target(objective).loss(outputs, scores).item() == pytest.approx(expected)

    def test_outputs_are_scores_and_begin_at_the_mean(self):
        made = target("huber")
        assert made.outputs == 1
        assert made.start(np.array([[1.0], [NAN], [4.0]])).tolist() == [2.5]
        assert made.scores(np.array([[3.25]])).tolist() == [[3.25]]


@pytest.mark.parametrize("objective", [*SCORES, *GRADED])
class TestMasks:
    def test_a_masked_label_has_no_gradient(self, objective):
        made = target(objective, [[0.0, 0.0], [5.0, 5.0]])
        outputs = torch.full((1, made.outputs), 0.3, requires_grad=True)

        made.loss(outputs, torch.tensor([[0.0, NAN]])).backward()

        first, second = outputs.grad[0].tensor_split(2)
        assert (first != 0).all()
        assert (second == 0).all()

    def test_a_batch_without_any_label_teaches_nothing(self, objective):
        made = target(objective)
        outputs = torch.full((1, made.outputs), 5.0, requires_grad=True)

        loss = made.loss(outputs, torch.tensor([[NAN]]))
        loss.backward()

        assert loss.item() == 0
        assert (outputs.grad == 0).all()


class TestDistributions:
    @pytest.mark.parametrize("objective", GRADED)
    def test_the_start_is_where_the_loss_of_the_labels_is_least(self, objective):
        labels = np.array([[0.0]] * 60 + [[3.0]] * 30 + [[7.0]] * 10)
        made = target(objective, labels)
        start = torch.tensor(made.start(labels), requires_grad=True)

        made.loss(start.expand(len(labels), -1), torch.from_numpy(labels)).backward()

        # The remainder is the half answer that each level has in advance.
        assert start.grad.abs().max() < 0.01

    @pytest.mark.parametrize("objective", GRADED)
    def test_the_gradient_is_that_of_small_differences(self, objective):
        labels = torch.tensor([[0.0, 2.0], [5.0, NAN], [10.0, 2.5]], dtype=torch.float64)
        made = target(objective, [[0.0, 2.0], [5.0, 2.5], [10.0, 3.0]])
        outputs = torch.randn(3, made.outputs, dtype=torch.float64, requires_grad=True)

        assert torch.autograd.gradcheck(lambda given: made.loss(given, labels), outputs)

    @pytest.mark.parametrize("objective", GRADED)
    def test_outputs_that_are_sure_say_their_level(self, objective):
        made = target(objective, decode="mean")
        outputs = torch.zeros(3, made.outputs, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([outputs], lr=1.0)
        labels = torch.tensor([[0.0], [5.0], [10.0]], dtype=torch.float64)
        for _ in range(100):
            optimizer.zero_grad()
            made.loss(outputs, labels).backward()
            optimizer.step()

        assert made.scores(outputs.detach().numpy()) == pytest.approx(labels.numpy(), abs=0.05)

    def test_labels_that_are_all_alike_are_no_distribution(self):
        with pytest.raises(RecipeError, match="tiny: every dimension has one label alone"):
            target("corn", [[3.0], [3.0]])

    def test_a_label_between_two_levels_belongs_to_both(self):
        shared = near(torch.tensor([[2.0], [2.5], [99.0], [NAN]]), torch.tensor([2.0, 4.0, 10.0]))

        assert shared[:3].tolist() == [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]
        assert torch.isfinite(shared).all()

    @pytest.mark.parametrize("objective", GRADED)
    def test_the_head_in_numpy_says_what_the_model_says(self, objective):
        made = target(objective)
        weights, bias = np.random.default_rng(0).normal(size=(4, made.outputs)), np.zeros(made.outputs)
        features = np.random.default_rng(1).normal(size=(20, 4))

        head = made.head(LinearHead(weights, bias))

        assert head.predict(features).tolist() == made.scores(features @ weights).tolist()
        assert head.predict(features).tolist() == decoded(features @ weights, made.levels, objective, "median").tolist()


class TestTwoMeanings:
    """Identical articles with label 0 in six of ten cases and else 5, so that the label cannot be predicted."""

    @staticmethod
    def trained_mae(tmp_path, objective):
        random = np.random.default_rng(0)
        ids = tuple(np.array([7, 8, 9], dtype=np.int32) for _ in range(200))
        labels = np.where(random.random((200, 1)) < 0.6, 0.0, 5.0)
        part = Part(Tokens(ids, np.zeros(200, dtype=bool), 0), labels)
        recipe = trainings.recipe_of(
            objective=objective, lora=None, epochs=4, learning_rate=1e-2, checkpoint_steps=None
        )
        made = Target.of(recipe, labels)
        network = trainings.tiny_bert()
        implied = implied_counts(network, trainings.WIDTH, made.outputs, recipe)
        torch.manual_seed(0)
        model = build_model(network, trainings.WIDTH, made.outputs, recipe)
        task = loop.Task(recipe, made, part, part, ("signal",), implied, 0, "cpu")
        return loop.train_model(model, task, tmp_path).best.validation.mae, float(np.mean(labels > 0))

    @pytest.mark.parametrize("objective", GRADED)
    @pytest.mark.by_example(3)
    def test_the_median_of_a_distribution_errs_less_than_the_mean_that_squares_learn(self, tmp_path, objective):
        graded, share = self.trained_mae(tmp_path / "graded", objective)
        squared, _ = self.trained_mae(tmp_path / "squared", "mse")

        # The median is 0, with an error of 5 where the label is 5; the mean has an error everywhere.
        assert graded == pytest.approx(5 * share, abs=0.1)
        assert squared == pytest.approx(5 * 2 * share * (1 - share), abs=0.15)
        assert graded < squared


def test_levels_of_two_dimensions_stand_side_by_side():
    made = target("corn", [[0.0, 1.0], [5.0, 2.0], [10.0, 1.0]])

    assert made.outputs == 3
    assert made.levels.counts.tolist() == [3, 2]
