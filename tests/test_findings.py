import re
import subprocess
import sys
from pathlib import Path

import pytest
from threshold_mutations import TESTS, marked, thresholds

from potstill.findings import Finding, is_weak

SOURCE = TESTS.parent / "src" / "potstill"


def users():
    """Return the package, or the module outside packages, and the name of each threshold that it imports."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r"^from potstill\.findings import (\([^)]*\)|.*)$", text, re.MULTILINE)
        names = set(re.findall(r"\w+", " ".join(imported))) & set(thresholds())
        found |= {(path.relative_to(SOURCE).parts[0].removesuffix(".py"), name) for name in names}
    return sorted(found)


def test_every_threshold_has_a_test_at_its_boundaries():
    assert {name for _, name in marked()} == set(thresholds())


@pytest.mark.parametrize(("user", "name"), users())
def test_every_package_tests_the_boundaries_of_the_thresholds_that_it_uses(user, name):
    tested = {path.relative_to(TESTS) for path, named in marked() if named == name}
    assert any(path.parts[0] in {user, f"test_{user}.py"} for path in tested), tested


@pytest.mark.parametrize("name", thresholds())
def test_every_threshold_is_a_positive_number_with_its_reason(name):
    value = thresholds()[name]
    assert isinstance(value, int | float)
    assert value > 0
    source = (SOURCE / "findings.py").read_text(encoding="utf-8")
    assert re.search(rf'^{name} = .*\n"""(.|\n)+?"""$', source, re.MULTILINE)


@pytest.mark.long
def test_no_threshold_can_be_changed_without_a_failing_test():
    script = Path(__file__).with_name("threshold_mutations.py")
    done = subprocess.run([sys.executable, script], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == []


@pytest.mark.threshold(name="WEAK_SKILL")
@pytest.mark.parametrize(("skill", "weak"), [(0.199, True), (0.2, False), (0.201, False)])
def test_less_than_20_percent_skill_is_weak(skill, weak):
    assert is_weak(skill) is weak


def test_a_skill_that_differs_from_20_percent_by_rounding_alone_is_not_weak():
    assert 1 - 1.6 / 2 < 0.2
    assert not is_weak(1 - 1.6 / 2)


@pytest.mark.parametrize(
    "recorded",
    [
        {"tone": "bad", "text": "Too few.", "rule": "few", "evidence": {"rows": 9, "share": None}},
        {"tone": "neutral", "text": "Unknown.", "rule": "floor-unknown"},
        {"tone": "caution", "text": "Narrow.", "section": "scores"},
    ],
)
def test_findings_of_evaluations_and_of_audits_are_read_and_written_as_they_were(recorded):
    found = Finding.validated(recorded, "a file")
    assert found.model_dump(mode="json") == recorded


def test_a_finding_without_figures_was_written_with_empty_evidence_before():
    old = {"rule": "floor-unknown", "tone": "neutral", "text": "Unknown.", "evidence": {}}
    assert Finding.validated(old, "a file").rule == "floor-unknown"
