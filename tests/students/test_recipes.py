import json
from pathlib import Path

import pytest
from pydantic import Field

from potstill.errors import RecipeError
from potstill.filters.reading import read_yaml
from potstill.students.recipes import LATER, ConstantRecipe, load_recipe, parse_recipe, presets, recorded_recipe

HASHES = json.loads((Path(__file__).parent / "recipe_hashes.json").read_text())
"""Hashes of the presets, and of what their checkpoints depend on, recorded before options were removed."""

DUMPED = {
    "bidirectional": False,
    "ema": None,
    "freeze_backbone": False,
    "layer_decay": 1.0,
    "layers": [],
    "queries": 4,
    "ranking_weight": 0.0,
    "rare_weight": 0.0,
    "spread_weight": False,
    "window": "head",
}
"""Fields that were removed, as records hold them where they were not set."""


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_under_its_own_name(name):
    assert load_recipe(name).name == name
    assert load_recipe(name).description


def test_the_hash_is_of_what_a_recipe_does_and_not_of_its_name():
    text = "name: {}\nstudent: encoder-head\nhead: {{kind: ridge}}\nmax_tokens: {}\n"
    one, other, longer = (parse_recipe(text.format(*x), "r.yaml") for x in (("a", 256), ("b", 256), ("a", 512)))
    assert one.hash == other.hash != longer.hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nstudent: oracle", "r.yaml: Input tag 'oracle'"),
        ("name: x\nstudent: constant\ncolour: red", "constant -> colour: Extra inputs are not permitted, got 'red'"),
        ("name: x\nstudent: encoder-head\nhead: {kind: ridge, alphas: [0]}", "alphas -> 0: Input should be greater"),
        ("name: x\nstudent: encoder-head\nhead: {kind: ridge, alphas: []}", "at least 1 item"),
        (
            "name: x\nstudent: encoder-head\nhead: {kind: support-vectors, gamma: [-1]}",
            "gamma -> 0: Input should be gr",
        ),
        ("name: x\nstudent: tfidf-ridge\nwords: [2, 1]", "words: .*from 1 up to 3"),
        ("name: x\nstudent: tfidf-ridge\ncharacters: [3, 9]", "characters: .*from 1 up to 5"),
        ("name: x\nstudent: tfidf-ridge\nwords: null\ncharacters: null", "neither words nor characters"),
        ("name: x\n\tstudent: constant", "r.yaml: line 2: a tab; YAML must be indented with spaces"),
        ("name: x\nstudent: constant\nname: y", "r.yaml: line 3: the key name occurs twice"),
        ("name: x\nstudent: &kind constant\ndescription: *kind", "r.yaml: line 3: aliases"),
        (
            "name: x\nstudent: encoder-head\nlearns: distribution\nhead: {kind: support-vectors}",
            "take rbf-ridge or ridge",
        ),
        ("name: x\nstudent: encoder-head\nlayers: [-1, -1]\nhead: {kind: ridge}", "names a layer twice"),
        ("- a", "r.yaml: Input should be an object"),
    ],
)
def test_a_recipe_that_is_not_legal_is_refused_with_the_path_to_the_fault(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "r.yaml")


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(RecipeError, match=r"no such recipe; presets: .*tfidf-ridge"):
        load_recipe("tfdif")


def test_a_recipe_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nstudent: constant\n")
    assert load_recipe(path).name == "mine"
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(tmp_path / "other.yaml")


def test_a_recipe_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("name: mine\nstudent: constant\ndescription: Bücher".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"mine\.yaml: not UTF-8 at byte 43"):
        load_recipe(path)


def test_a_field_that_came_later_changes_the_hash_only_where_it_is_set() -> None:
    class Older(ConstantRecipe):
        pass

    class Newer(ConstantRecipe):
        pace: int = Field(default=1, json_schema_extra=LATER)

    older = Older(name="a", student="constant")
    assert Newer(name="a", student="constant").hash == older.hash
    assert Newer(name="a", student="constant", pace=2).hash != older.hash


@pytest.mark.parametrize("name", sorted(HASHES))
def test_students_that_were_trained_before_are_recognised(name):
    assert load_recipe(name).hash == HASHES[name]["hash"]


@pytest.mark.parametrize(
    ("name", "now", "before"),
    [("e5-static-distilled", "recipe", "pupil"), ("minilm-rbf", "chunks", "pieces")],
)
def test_a_field_that_was_renamed_is_read_by_both_names(name, now, before):
    recipe = load_recipe(name)
    content = recipe.model_dump(mode="json")
    content[before] = content.pop(now)

    again = parse_recipe(json.dumps(content), "before.yaml")

    assert again == recipe == recorded_recipe(content, "record.json")
    assert again.hash == HASHES[name]["hash"]
    with pytest.raises(RecipeError, match=f"{before}: Extra inputs are not permitted"):
        parse_recipe(json.dumps(content | {now: content[before]}), "both.yaml")


FINE_TUNED = "name: x\nstudent: fine-tuned\n"


class TestOptionsThatWereRemoved:
    def test_a_recipe_written_with_them_unset_is_read_and_keeps_its_hash(self):
        recipe = load_recipe("minilm-full")

        again = parse_recipe(json.dumps(recipe.model_dump(mode="json") | DUMPED), "best.yaml")

        assert again == recipe
        assert again.hash == HASHES["minilm-full"]["hash"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("ranking_weight: 0.5", r"fine-tuned: ranking_weight: this option was removed, because a ranking loss did"),
            (
                "rare_weight: 1",
                r"rare_weight: .* raised the error \(MAE 0.940 with huber, 0.902 without it\)",
            ),
            ("spread_weight: true", "spread_weight: this option was removed, because no measurement showed a benefit"),
            ("layer_decay: 0.9", "layer_decay: this option was removed"),
            ("ema: 0.98", "ema: this option was removed"),
            ("bidirectional: true", "bidirectional: this option was removed"),
            ("freeze_backbone: true", "freeze_backbone: .*`student: encoder-head` has a frozen backbone; leave it out"),
            ("queries: 2", "queries: this option was removed"),
            ("layers: [-1, -2]", "layers: this option was removed"),
            ("window: head-tail", "window: this option was removed"),
            ("pooling: attention", "pooling: 'attention' was removed, because no measurement showed a benefit; choose"),
            ("objective: l1", r"objective: 'l1' was removed, because its error is that of huber"),
            ("objective: ordinal", "objective: 'ordinal' was removed, because corn learns the same distribution"),
        ],
    )
    def test_a_recipe_that_sets_one_is_refused_with_the_reason_and_nothing_else(self, line, message):
        with pytest.raises(RecipeError, match=rf"^r\.yaml: .*{message}") as refused:
            parse_recipe(FINE_TUNED + line, "r.yaml")
        assert "got {" not in str(refused.value)

        own = {"name": "x", "student": "fine-tuned", **_read(line)}
        within = {"name": "two", "student": "ensemble", "of": own, "seeds": 2}
        with pytest.raises(RecipeError, match="was removed"):
            parse_recipe(json.dumps(within), "r.yaml")

        # A student's record is still read.
        for content in (own, within):
            assert recorded_recipe(content, "record.json").name == content["name"]

    def test_a_value_that_was_never_legal_is_refused_as_such(self):
        with pytest.raises(RecipeError, match="objective: Input should be 'mse', 'huber', 'corn' or 'distribution'"):
            parse_recipe(FINE_TUNED + "objective: l2", "r.yaml")
        with pytest.raises(RecipeError, match=r"record\.json: .*epochs: Input should be"):
            recorded_recipe({"name": "x", "student": "fine-tuned", "epochs": 0}, "record.json")


def _read(line):
    content, _ = read_yaml(line, "line")
    return content
