import hashlib
import os

import numpy as np
import pytest

from potstill.errors import BadInput
from potstill.students.storage import feature_folder
from potstill.students.torch.features import FeatureCache, most_bytes

KEYS = [hashlib.sha256(text.encode()).digest() for text in ("fire", "flood", "storm")]
FEATURES = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_one_process_keeps_another_finds(tmp_path):
    mine, theirs = FeatureCache(tmp_path, 2), FeatureCache(tmp_path, 2)
    assert theirs.get(KEYS) == {}
    mine.add(KEYS[:2], FEATURES[:2])
    found = theirs.get(KEYS)
    assert [found[key].tolist() for key in KEYS[:2]] == FEATURES[:2].tolist()
    assert KEYS[2] not in found


def test_runs_share_features_and_those_not_used_for_the_longest_time_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path))
    shared = FeatureCache(feature_folder() / "e5", 2)
    for place, key in enumerate(KEYS[:2]):
        shared.add([key], FEATURES[[place]])
    paths = [shared.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.safetensors" for key in KEYS]
    for age, path in enumerate(paths[:2]):
        os.utime(path, (age, age))
    # The cache of a folder of its own reads the shared one, and reading marks the older file as used.
    other = FeatureCache(tmp_path / "run" / "e5", 2)
    assert other.get(KEYS[:1])[KEYS[0]].tolist() == [0, 1]

    monkeypatch.setenv("POTSTILL_FEATURES_GB", str(2.5 * paths[0].stat().st_size / 1e9))
    shared.add(KEYS[2:], FEATURES[2:])

    assert sorted(shared.folder.iterdir()) == sorted([paths[0], paths[2]])
    # A file that another process removed after it was found is as good as none.
    assert list(shared.get(KEYS)) == [KEYS[0], KEYS[2]]
    paths[0].unlink()
    assert list(shared.get(KEYS)) == [KEYS[2]]
    assert list(shared.get(KEYS)) == [KEYS[2]]


@pytest.mark.parametrize("size", ["much", "-1", "inf", "nan"])
def test_a_size_that_is_no_number_is_named(monkeypatch, size):
    monkeypatch.setenv("POTSTILL_FEATURES_GB", size)
    with pytest.raises(BadInput, match=f"POTSTILL_FEATURES_GB: got '{size}', expected a number of gigabytes"):
        most_bytes()


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
