"""Tests of hostile servers: the cost limit holds, no label is false, no key leaks, and labelling can resume."""

import pytest
from dialects import DIALECTS
from hostile_servers import ADDRESSES, KEY, MODES, drive, drive_away, kept

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)]


@pytest.mark.parametrize("name", MODES)
@pytest.mark.by_example(3)
def test_labelling_against_a_hostile_server_keeps_its_promises(dialect, name, tmp_path):
    outcome = drive(MODES[name], dialect, tmp_path)
    assert not kept(MODES[name], outcome), outcome


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.by_example(3)
def test_a_call_that_never_leaves_costs_nothing_and_leaves_its_question_open(dialect, name, tmp_path):
    found = drive_away(ADDRESSES[name], dialect, tmp_path)
    assert (found["calls"], found["in_ledger"], found["labels_afterwards"]) == (0, 0.0, 6)
    assert found["message"]
    assert len(found["message"].splitlines()) == 1
    assert KEY not in found["message"]
