import json

import pytest

from potstill.evaluation.flags import evaluate_history, flags, plateau_of, training_of
from potstill.evaluation.history import parse_history, read_history
from potstill.pipeline.evaluate import _training
from potstill.training.facts import EpochRecord, Measures

REFERENCE = [
    (2.0123, 1.4365, 6.7313, 3.1386),
    (1.1763, 1.0544, 2.2566, 1.8634),
    (0.9289, 0.9838, 1.4661, 1.6356),
    (0.8615, 0.9807, 1.2769, 1.6227),
    (0.8582, 0.9755, 1.2667, 1.6130),
    (0.8544, 0.9786, 1.2606, 1.6262),
    (0.8526, 0.9777, 1.2552, 1.6219),
    (0.8509, 0.9725, 1.2509, 1.5972),
    (0.8503, 0.9730, 1.2483, 1.6047),
]
TABLE = {
    "collective_benefit": 0.8661, "progress": 0.8823, "agency": 0.8760, "innovation": 0.8962, "wonder": 0.9688,
    "connection": 1.0415, "justice": 1.0814, "resilience": 1.1721,
}  # fmt: skip
CLAIMS = [
    "rapid improvement in the first 3 epochs (51.8% MAE reduction)",
    "gradual refinement in epochs 4-9 (1.2%)",
    "only 1.2% improvement in epochs 6-9",
    "train/val gap 0.122 (12.6%)",
    "train/val gap 12.5%",
]


def published():
    return {
        "epochs": [
            {"epoch": i, "train_mae": a, "val_mae": b, "train_loss": c, "val_loss": d}
            for i, (a, b, c, d) in enumerate(REFERENCE, start=1)
        ],
        "metadata": {
            "trainable_parameters": 12_288,
            "total_parameters": 1_562_203_648,
            "best_epoch": 8,
            "per_dimension_mae": TABLE,
            "warmup_steps": 500,
            "train_examples": 5_365,
            "batch_size": 8,
            "claims": CLAIMS,
            "targets": {"mae": 1.5, "train/val gap": 0.3},
            "constant_mae": 1.652,
        },
    }


def raised(content):
    return [flag.rule for flag in flags(parse_history(content, "history"))]


def test_the_published_history_raises_each_flag_that_its_facts_support():
    found = flags(parse_history(published(), "history"))
    assert [flag.rule for flag in found] == [
        "only-the-head-trains",
        "train-metrics-of-a-moving-model",
        "table-of-another-epoch",
        "weak-target",
        "a-constant-meets-the-target",
        *["percentage-does-not-follow"] * 4,
    ]
    by_rule = {flag.rule: flag.evidence for flag in found}
    assert by_rule["table-of-another-epoch"]["table_epoch"] == 9
    wrong = [flag.evidence["claimed"] for flag in found if flag.rule == "percentage-does-not-follow"]
    assert wrong == [51.8, 1.2, 1.2, 12.6]


def test_with_the_resume_recorded_its_plateau_is_seen_too():
    content = published()
    content["metadata"]["resumed_after"] = 3
    assert "plateau-begins-at-a-resume" in raised(content)


def sound(**facts):
    """Return a history without faults: an adapter is trained, errors decrease, metrics are of the shipped epoch."""
    errors = [(1.5, 1.6), (1.2, 1.35), (1.05, 1.25), (1.0, 1.2)]
    content = {
        "epochs": [{"epoch": i, "train": {"mae": a}, "validation": {"mae": b}} for i, (a, b) in enumerate(errors, 1)],
        "parameters": {"total": 1_000_000, "trainable": 40_000 + 200, "head": 200},
        "dimensions": ["harm", "reach"],
        "shipped_epoch": 4,
        "dimension_table": {"epoch": 4, "mae": {"harm": 1.1, "reach": 1.3}},
        "schedule": {"warmup_steps": 10, "steps": 400},
        "resumed_after": [2],
        "constant_mae": 2.0,
        "targets": {"validation mae": 1.3},
        "claims": ["validation MAE fell 7.4% in epochs 2-3", "gap 0.2 (16.7%)"],
    }
    return {**content, **facts}


def test_a_sound_run_raises_none():
    assert raised(sound()) == []


def with_validation(*errors):
    """Return the same history with other validation errors, without the claims and table that would become false."""
    epochs = [{"epoch": i, "train": {"mae": b - 0.1}, "validation": {"mae": b}} for i, b in enumerate(errors, start=1)]
    return sound(epochs=epochs, claims=[], dimension_table={})


FIRST = {"epoch": 1, "train": {"mae": 1.9}, "validation": {"mae": 1.6}}


@pytest.mark.parametrize(
    ("rule", "broken", "mended"),
    [
        (
            "only-the-head-trains",
            sound(parameters={"total": 1_000_000, "trainable": 200, "head": 200}),
            sound(parameters={"total": 1_000_000, "trainable": 40_200, "head": 200}),
        ),
        (
            "only-the-head-trains",
            sound(parameters={"total": 9_000_000, "trainable": 2 * 768}),
            sound(parameters={"total": 9_000_000, "trainable": 2 * 768 + 100_000}),
        ),
        ("only-the-head-trains", sound(trainable=200), sound(trainable=200, method="frozen")),
        ("plateau-begins-at-a-resume", with_validation(1.6, 1.3, 1.299, 1.298), with_validation(1.6, 1.3, 1.25, 1.2)),
        (
            "plateau-begins-at-a-resume",
            with_validation(1.6, 1.3, 1.299, 1.298),
            {**with_validation(1.6, 1.3, 1.299, 1.298), "resumed_after": []},
        ),
        ("train-metrics-of-a-moving-model", sound(train_metrics="averaged"), sound(train_metrics="evaluated")),
        (
            "train-metrics-of-a-moving-model",
            sound(epochs=[FIRST, *sound()["epochs"][1:]]),
            sound(epochs=[FIRST, *sound()["epochs"][1:]], train_metrics="evaluated"),
        ),
        (
            "table-of-another-epoch",
            sound(dimension_table={"epoch": 3, "mae": {"harm": 1.2, "reach": 1.3}}),
            sound(dimension_table={"epoch": 4, "mae": {"harm": 1.1, "reach": 1.3}}),
        ),
        ("table-of-another-epoch", sound(dimension_table={"harm": 1.2, "reach": 1.3}),
         sound(dimension_table={"harm": 1.2, "reach": 1.3}, shipped_epoch=3, claims=[])),
        ("a-constant-meets-the-target", sound(targets={"mae": 2.1}), sound(targets={"mae": 1.5})),
        ("a-constant-meets-the-target", sound(targets={"gap": 0.3}), sound(targets={})),
        ("weak-target", sound(targets={"mae": 1.9}), sound(targets={"mae": 1.6})),
        ("percentage-does-not-follow", sound(claims=["8.9% less MAE in epochs 2-3"]),
         sound(claims=["7.4% less MAE in epochs 2-3"])),
        ("percentage-does-not-follow", sound(claims=["gap 0.2 (18%)"]), sound(claims=["gap 0.2 (20%)"])),
        ("warm-up-longer-than-the-run", sound(schedule={"warmup_steps": 500, "steps": 400}),
         sound(schedule={"warmup_steps": 500, "steps": 4000})),
    ],
)  # fmt: skip
def test_each_flag_is_raised_alone_and_silenced_by_mending_one_fact(rule, broken, mended):
    assert raised(broken) == [rule]
    assert raised(mended) == []


def test_no_figure_of_the_reference_stands_in_the_source():
    from pathlib import Path

    import potstill.evaluation.flags as flags_
    import potstill.evaluation.history as history_

    source = Path(flags_.__file__).read_text() + Path(history_.__file__).read_text()
    figures = [f"{value:.4f}" for row in REFERENCE for value in row] + [f"{value:.4f}" for value in TABLE.values()]
    assert not [figure for figure in (*figures, "12288", "12_288", "1562203648", "51.8", "12.6") if figure in source]


def measures(mae):
    return Measures(rows=50, loss=mae, mae=mae, rmse=mae, mae_by_dimension={"harm": mae - 0.1, "reach": mae + 0.1},
                    rmse_by_dimension={})  # fmt: skip


def student(folder, *, counts=None, resumed=()):
    errors = [(1.5, 1.6), (1.2, 1.35), (1.0, 1.2), (0.9, 1.21)]
    history = [
        EpochRecord(
            epoch=i, step=10 * i, learning_rate=0.1, train=measures(a), validation=measures(b), best=i < 4, seconds=1
        )
        for i, (a, b) in enumerate(errors, start=1)
    ]  # fmt: skip
    record = {
        "recipe": {"student": "fine-tuned", "lora": {"rank": 4}},
        "counts": counts or {"total": 10_000, "trainable": 1_200, "head": 200},
        "dimensions": ["harm", "reach"],
        "resumed_from": list(resumed),
        "best_epoch": 3,
        "validation": {"mae_by_dimension": {"harm": 1.1, "reach": 1.3}},
        "warmup_steps": 4,
        "steps": 40,
    }
    (folder / "history.json").write_text(json.dumps([row.model_dump(mode="json") for row in history]))
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def test_potstills_own_student_is_read_from_its_folder_or_its_history(tmp_path):
    student(tmp_path)
    for path in (tmp_path, tmp_path / "history.json"):
        found = evaluate_history(path)
        assert found.training.flags == ()
        assert found.training.best_epoch == 3
        assert found.training.gap == pytest.approx(0.2)


def test_potstills_own_student_with_a_frozen_adapter_is_flagged(tmp_path):
    student(tmp_path, counts={"total": 10_000, "trainable": 200, "head": 200})
    assert [flag.rule for flag in evaluate_history(tmp_path).training.flags] == ["only-the-head-trains"]


def test_steps_of_a_resume_become_epochs(tmp_path):
    assert read_history(student(tmp_path, resumed=[25])).resumed_after == (2,)


def test_metadata_may_be_a_file_of_its_own(tmp_path):
    content = published()
    (tmp_path / "h.json").write_text(json.dumps(content["epochs"]))
    (tmp_path / "m.json").write_text(json.dumps({**content["metadata"], "gpu": "a big one"}))
    found = evaluate_history(tmp_path / "h.json", tmp_path / "m.json")
    assert found.training == training_of(parse_history(content, ""))
    assert found.unread == ("gpu",)


def test_a_plateaus_slope_has_the_interval_of_least_squares():
    found = plateau_of([3.0, 2.0, 1.0, 0.9, 1.0, 1.1, 1.0, 1.0], last=5)
    assert found.epochs == 5
    assert found.slope == pytest.approx(0.02)
    # By hand: residual sum of squares 0.016, over 3 and over 10, times t(3) = 3.182.
    assert found.interval.high - found.slope == pytest.approx(3.182 * (0.016 / 3 / 10) ** 0.5, abs=1e-6)
    assert found.interval.low < 0 < found.interval.high


@pytest.mark.parametrize(("errors", "epochs"), [(4, 4), (5, 5), (6, 5)])
def test_a_plateau_is_fitted_to_the_last_five_epochs(errors, epochs):
    assert plateau_of([9.0, 1.0, 1.1, 1.0, 1.1, 1.0][:errors]).epochs == epochs


def test_a_falling_curve_is_no_plateau_and_two_epochs_tell_nothing():
    assert plateau_of([5.0, 4.0, 3.0, 2.1, 1.0]).interval.high < 0
    assert plateau_of([2.0, 1.0]) is None


def test_an_evaluation_records_the_history_of_a_rung_trained_by_epochs(tmp_path):
    found = _training(student(tmp_path))
    assert (found.epochs, found.best_epoch, found.flags) == (4, 3, ())
    assert found.plateau.epochs == 4
    (tmp_path / "history.json").write_text("[]")
    assert _training(tmp_path) is None


@pytest.mark.threshold(name="STALLED_PROGRESS")
@pytest.mark.parametrize(("last", "stalled"), [(8.02, True), (8.0, False), (7.98, False)])
def test_progress_that_falls_below_a_tenth_at_a_resume_has_stalled(last, stalled):
    # In epoch 2 the error falls by 10, and after the resume it falls over two epochs.
    found = raised(with_validation(20.0, 10.0, 9.0, last))
    assert found == (["plateau-begins-at-a-resume"] if stalled else [])


@pytest.mark.threshold(name="MOVING_MODEL_RATIO")
@pytest.mark.parametrize(("train", "moving"), [(10.9, False), (11.0, False), (11.1, True)])
def test_a_first_train_error_of_more_than_1_1_times_the_validation_error_is_an_average(train, moving):
    first = {"epoch": 1, "train": {"mae": train}, "validation": {"mae": 10.0}}
    epochs = [first, *sound()["epochs"][1:]]
    found = raised(sound(epochs=epochs, resumed_after=[], claims=[], dimension_table={}))
    assert found == (["train-metrics-of-a-moving-model"] if moving else [])


@pytest.mark.threshold(name="TABLE_TOLERANCE")
@pytest.mark.parametrize(("off", "same"), [(1.99e-4, True), (2e-4, True), (2.01e-4, False)])
def test_a_table_belongs_to_the_epoch_from_which_its_mean_differs_by_rounding_alone(off, same):
    # The error of epoch 3, which is not the shipped one, is 1.25.
    found = raised(sound(dimension_table={"harm": 1.25 + off, "reach": 1.25 + off}))
    assert found == (["table-of-another-epoch"] if same else [])


@pytest.mark.threshold(name="WIDEST_ENCODER")
@pytest.mark.parametrize(("width", "head"), [(32_767, True), (32_768, True), (32_769, False)])
def test_a_count_of_parameters_is_that_of_a_head_up_to_the_widest_encoder(width, head):
    found = raised(sound(parameters={"total": 9_000_000, "trainable": 2 * width}))
    assert found == (["only-the-head-trains"] if head else [])


@pytest.mark.threshold(name="WEAK_SKILL")
@pytest.mark.parametrize(("target", "weak"), [(1.601, True), (1.6, False), (1.599, False)])
def test_a_target_less_than_20_percent_below_the_constant_is_weak(target, weak):
    assert raised(sound(targets={"mae": target})) == (["weak-target"] if weak else [])
