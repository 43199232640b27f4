import hashlib

import numpy as np
import pytest

from potstill.errors import BadInput
from potstill.students.torch.features import FeatureCache

KEYS = [hashlib.sha256(text.encode()).digest() for text in ("fire", "flood", "storm")]
FEATURES = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_one_process_keeps_another_finds(tmp_path):
    mine, theirs = FeatureCache(tmp_path, 2), FeatureCache(tmp_path, 2)
    assert theirs.get(KEYS) == {}
    mine.add(KEYS[:2], FEATURES[:2])
    found = theirs.get(KEYS)
    assert [found[key].tolist() for key in KEYS[:2]] == FEATURES[:2].tolist()
    assert KEYS[2] not in found


def test_a_broken_file_is_as_good_as_none(tmp_path):
    cache = FeatureCache(tmp_path, 2)
    cache.add(KEYS, FEATURES)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    assert FeatureCache(tmp_path, 2).get(KEYS) == {}


def test_features_of_another_width_or_not_finite_are_not_taken(tmp_path):
    FeatureCache(tmp_path, 2).add(KEYS, FEATURES)
    assert FeatureCache(tmp_path, 3).get(KEYS) == {}
    FeatureCache(tmp_path / "nan", 2).add(KEYS, FEATURES * np.nan)
    assert FeatureCache(tmp_path / "nan", 2).get(KEYS) == {}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        FeatureCache(tmp_path / "file" / "cache", 2).add(KEYS, FEATURES)
