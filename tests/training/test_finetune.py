from types import SimpleNamespace

import pytest

from potstill.training.finetune import _remarks


@pytest.mark.threshold(name="MANY_TRUNCATED")
@pytest.mark.parametrize(("share", "remarked"), [(0.0999, False), (0.1, False), (0.1001, True)])
def test_a_student_that_truncates_more_than_a_tenth_of_its_texts_says_so(share, remarked):
    tokens = SimpleNamespace(max_tokens=128)
    said = "10% of the training texts are longer than 128 tokens and are cut"
    assert _remarks(tokens, tokens, share) == ([said] if remarked else [])
