import pytest
from pydantic import Field

from potstill.errors import RecipeError
from potstill.students.recipes import LATER, ConstantRecipe, load_recipe, parse_recipe, presets


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
        ("name: x\n\tstudent: constant", "r.yaml: line 2: a tab; YAML is indented with spaces"),
        ("name: x\nstudent: constant\nname: y", "r.yaml: line 3: the key name is given twice"),
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
