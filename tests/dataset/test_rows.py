import polars as pl
import pytest
from weather import FILTER, some_articles, some_labels

from potstill.dataset import (
    PARTS,
    Dataset,
    assemble,
)
from potstill.errors import DatasetError


class TestDataset:
    def test_it_comes_back_as_it_was_saved(self, tmp_path):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        made.save(tmp_path / "rows.parquet")
        back = Dataset.load(tmp_path / "rows.parquet", FILTER.dimension_names)
        assert back.frame.equals(made.frame)
        assert sum(len(back.part(part)) for part in PARTS) == len(back.all()) == 20
        assert not back.has_calibration_part

    def test_a_part_holds_its_rows_alone(self):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        test = made.part("test")
        rows = made.frame.filter(pl.col("split") == "test")
        assert list(test.ids) == rows["id"].to_list()
        assert test.texts == rows["text"].to_list()
        assert test.scores.tolist() == rows.select("y_wind", "y_rain").to_numpy().tolist()
        assert test.clusters.tolist() == rows["cluster"].to_list()

    def test_an_unmade_part_is_empty_and_an_unknown_one_an_error(self):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        assert len(made.part("calibration")) == 0
        assert made.part("calibration").scores.shape == (0, 2)
        with pytest.raises(DatasetError, match="no split 'dev'; splits: train, validation, calibration, test"):
            made.part("dev")

    def test_missing_broken_and_foreign_files_are_named(self, tmp_path):
        with pytest.raises(DatasetError, match=r"absent\.parquet: no such file"):
            Dataset.load(tmp_path / "absent.parquet", ("wind",))
        (tmp_path / "broken.parquet").write_bytes(b"PAR?")
        with pytest.raises(DatasetError, match=r"broken\.parquet: not a readable Parquet file"):
            Dataset.load(tmp_path / "broken.parquet", ("wind",))
        pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "foreign.parquet")
        with pytest.raises(DatasetError, match="no column 'text'"):
            Dataset.load(tmp_path / "foreign.parquet", ("wind",))
