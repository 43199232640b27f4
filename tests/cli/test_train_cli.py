import json
import shutil

import pytest
import typer
from evaluated_run import FILTER, stories
from typer.testing import CliRunner

from potstill.cli import train as command
from potstill.errors import RecipeError, RunError
from potstill.oracle import open_oracle
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run

runner = CliRunner()


def invoke(*arguments):
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    articles, answers = stories(40, passes=1)
    for name, lines in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    label_run(folder / "run", FILTER, folder / "articles.jsonl", open_oracle(f"replay:{folder / 'answers.jsonl'}"))
    build_dataset(Run.open(folder / "run"))
    return folder / "run"


class TestTrain:
    def test_fits_the_recipes_that_are_named(self, run):
        result = invoke("train", run, "--recipe", "constant", "--recipe", "tfidf-ridge")

        assert result.exit_code == 0
        head, *rows = result.stdout.splitlines()
        assert head.split() == ["student", "validation", "MAE", "seconds"]
        assert [row.split()[0] for row in rows] == ["constant", "tfidf-ridge"]

    def test_gives_its_records_as_json(self, run):
        record = json.loads(invoke("train", run, "--recipe", "constant", "--seed", "3", "--json").stdout)[0]

        assert record["recipe"]["name"] == "constant"
        assert record["seeds"] == {"train": 3}
        assert record["counts"] is None

    def test_says_that_a_tiny_student_means_nothing(self, run):
        result = invoke("train", run, "--recipe", "minilm-ridge", "--tiny", "--folds", "0")

        assert "its scores are meaningless" in result.stdout

    def test_names_the_presets_when_a_recipe_is_unknown(self, run):
        error = invoke("train", run, "--recipe", "nothing").exception

        assert isinstance(error, RecipeError)
        assert str(error).startswith("nothing: no such recipe; presets: constant")

    def test_trains_with_another_run_and_names_both(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "other")
        filter_yaml = tmp_path / "other" / "filter" / "filter.yaml"
        filter_yaml.write_text(filter_yaml.read_text().replace(f"name: {FILTER.name}", "name: another"))
        wanted = ("--recipe", "constant", "--recipe", "minilm-full", "--tiny")
        arguments = ("train", run, "--with", tmp_path / "other", *wanted)

        result = invoke(*arguments)

        assert result.exit_code == 0
        assert [line for line in result.stdout.splitlines() if ": " in line and not line.startswith(" ")] == [
            f"{run}: {FILTER.name} v{FILTER.version}",
            f"{tmp_path / 'other'}: {FILTER.name} v{FILTER.version}",
        ]
        made = json.loads(invoke(*arguments, "--resume", "--json").stdout)
        assert set(made) == {str(run), str(tmp_path / "other")}
        assert [record["recipe"]["name"] for record in made[str(run)]] == ["constant", "minilm-full"]
        assert len(made[str(run)][1]["together"]) == 1

    def test_asks_for_a_dataset_first(self, tmp_path):
        Run.create(tmp_path / "new", FILTER)

        error = invoke("train", tmp_path / "new").exception

        assert isinstance(error, RunError)
        assert "run: potstill dataset" in str(error)


class TestParams:
    def test_prints_the_counts_of_the_reference_recipe(self):
        assert invoke("params", "qwen2.5-1.5b-lora").stdout.splitlines() == [
            "                          parameters       trainable",
            "base                   1,543,714,304               0",
            "adapter                   18,464,768      18,464,768",
            "head                          12,288          12,288",
            "head's frozen copy            12,288               0",
            "total                  1,562,203,648      18,477,056",
        ]

    def test_gives_them_as_json(self):
        counts = json.loads(invoke("params", "qwen2.5-1.5b-lora-printed", "--json").stdout)

        assert (counts["trainable"], counts["total"]) == (2_191_360, 1_545_917_952)

    def test_follows_the_number_of_dimensions(self):
        counts = json.loads(invoke("params", "qwen2.5-1.5b-lora", "--dimensions", "1", "--json").stdout)

        assert counts["head"] == 1536

    def test_refuses_a_recipe_without_a_network(self):
        error = invoke("params", "tfidf-ridge").exception

        assert isinstance(error, RecipeError)
        assert str(error) == "tfidf-ridge: a tfidf-ridge student trains no network, so there are no parameters to count"


class TestRecipes:
    def test_lists_what_ships(self):
        lines = invoke("recipes").stdout.splitlines()

        assert any(line.startswith("qwen2.5-1.5b-lora-printed") and "fine-tuned" in line for line in lines)

    def test_gives_them_whole_as_json(self):
        found = {one["name"]: one for one in json.loads(invoke("recipes", "--json").stdout)}

        assert found["qwen2.5-1.5b-lora"]["lora"]["rank"] == 16
        assert found["qwen2.5-1.5b-lora"]["warmup_steps"] == 500
