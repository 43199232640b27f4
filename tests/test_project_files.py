"""Tests that everything that the contributors' files name exists: commands, paths, modules, versions of Python."""

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCUMENTS = ("CONTRIBUTING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md")
FORMS = (".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml")
WORKFLOW, HOOKS = ".github/workflows/test.yml", ".pre-commit-config.yaml"
NOT_MADE_BY_THE_REPOSITORY = (".venv", "dist/")


def text_of(file):
    return (ROOT / file).read_text(encoding="utf-8")


def content_of(file):
    return yaml.safe_load(text_of(file))


def verbs():
    return set(re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)[0].split())


def quoted(text):
    """Return everything in backticks outside code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def paths(text):
    """Return the repository paths that a document names; a name in capitals stands for any file."""
    blocks = re.findall(r"^\$ .*pytest (.*)$", text, re.MULTILINE)
    words = [word for part in [*quoted(text), *blocks] for word in part.split()]
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    found = {word for word in words if re.fullmatch(r"\.?\w[\w./-]*(/|\.(py|md|toml|txt|ya?ml|json))(::\w+)?", word)}
    found |= {word for word in words if re.fullmatch(r"(\.\w+|benchmarks|docs|fuzz|src|tests)/[\w./:-]+", word)}
    return sorted(path for path in found | set(links) if not path.startswith(NOT_MADE_BY_THE_REPOSITORY))


def pythons():
    prefix = "Programming Language :: Python :: 3."
    return [line.removeprefix("Programming Language :: Python :: ") for line in PROJECT["project"]["classifiers"]
            if line.startswith(prefix)]  # fmt: skip


@pytest.mark.parametrize("file", [*DOCUMENTS, WORKFLOW, HOOKS])
def test_every_make_command_that_is_named_exists(file):
    named = set(re.findall(r"(?:`|run: |\$ )make ([a-z][a-z-]*)", text_of(file)))
    assert named <= verbs()


def test_every_make_command_has_a_recipe_and_is_explained():
    assert verbs() <= set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    explained = re.findall(r"^\| `make ([a-z-]+)` \|", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert set(explained) == verbs()


@pytest.mark.parametrize(("file", "path"), [(file, path) for file in DOCUMENTS for path in paths(text_of(file))])
def test_every_path_that_is_named_exists(file, path):
    path, _, test = path.partition("::")
    if re.fullmatch(r"[\w.]+", path) and not (ROOT / path).exists():
        # A file that may be in any folder, such as a bundle's `bundle.json`, has no fixed path.
        assert any(ROOT.glob(f"src/**/{path}")), path
        return
    place = ROOT / path
    place = place.parent if re.fullmatch(r"[A-Z]+", place.stem) and place.suffix == ".yaml" else place
    assert place.exists()
    assert not test or f"\ndef {test}(" in place.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", sorted({word for word in quoted(text_of("CONTRIBUTING.md")) if word[:9] == "potstill."})
)
def test_every_name_of_the_code_that_is_quoted_exists(name):
    resolve_name(name)


def test_the_map_lists_every_module_in_the_order_of_the_layers():
    mapped = re.findall(r"^\| `(\w+)` \| ", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert [f"potstill.{name}" for name in mapped] == PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]


def test_the_versions_of_python_that_are_tested_are_those_that_are_promised():
    assert content_of(WORKFLOW)["jobs"]["test"]["strategy"]["matrix"]["python-version"] == pythons()
    assert PROJECT["project"]["requires-python"] == f">={pythons()[0]}"


def test_the_workflow_may_only_read_and_pins_its_actions():
    workflow = content_of(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used), used


@pytest.mark.parametrize("file", FORMS)
def test_a_form_for_issues_has_all_that_github_asks_for(file):
    form = content_of(file)
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in fields}) == len(fields) > 0
    assert all(part["attributes"]["label"] for part in fields)


def test_links_of_the_project_lead_to_one_repository():
    urls = PROJECT["project"]["urls"]
    assert list(urls) == ["Homepage", "Documentation", "Changelog", "Issues", "Source"]
    home = urls["Homepage"]
    contacts = [contact["url"] for contact in content_of(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]]
    written = re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", "".join(map(text_of, DOCUMENTS[:2])))
    assert all(url.startswith(home) for url in [*urls.values(), *contacts, *written])


def test_the_hooks_are_local_and_run_the_programs_of_the_environment():
    repos = content_of(HOOKS)["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = repos[0]["hooks"]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)
    ran = {hook["entry"].removeprefix(".venv/bin/").split(" --force")[0] for hook in hooks}
    checked = re.findall(r"^\t\$\(BIN\)/((?:ruff|mypy|lint-imports).*)$", text_of("Makefile"), re.MULTILINE)
    assert set(checked) <= ran
