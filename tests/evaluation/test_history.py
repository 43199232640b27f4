import json

import pytest

from potstill.errors import BadInput
from potstill.evaluation.history import read_history


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "no epochs"),
        ("x", "expected an object, got str"),
        ({"epochs": [{"train_mae": "low"}]}, "epoch 1: train mae: got 'low', expected a number"),
        ({"epochs": [{"epoch": 2}, {"epoch": 2}]}, r"numbered \[2, 2\]"),
        ({"epochs": [{}], "warmup_steps": 1.5}, "warmup_steps: got 1.5, expected a whole number"),
        ({"epochs": [{}], "claims": "51%"}, "claims: expected a list of sentences"),
    ],
)
def test_what_is_no_history_is_refused(tmp_path, content, said):
    (tmp_path / "h.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=said):
        read_history(tmp_path / "h.json")
