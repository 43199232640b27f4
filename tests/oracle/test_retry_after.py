"""Tests of the time that a server asks to wait, in each form that servers use."""

import math
import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.oracle.retry_after import retry_after

USED_UP = {"x-ratelimit-remaining-requests": "0"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "1.5"}, 1.5),
        (USED_UP | {"X-RateLimit-Reset-Requests": "6m0s"}, 360.0),
        (USED_UP | {"x-ratelimit-reset-requests": "120ms"}, 0.12),
        (USED_UP | {"x-ratelimit-reset-requests": "30"}, 30.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, 12.0),
        # The server's statement about this call takes precedence over its reported limits.
        (USED_UP | {"x-ratelimit-reset-requests": "6m0s", "retry-after": "2"}, 2.0),
        (USED_UP | {"x-ratelimit-reset-requests": "6m0s", "retry-after": "0"}, 360.0),
        # If two limits are used up, both must be renewed.
        (USED_UP | {"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-tokens": "0",
                    "x-ratelimit-reset-tokens": "2h"}, 7200.0),
        # A limit that is not used up is not the reason for the refusal.
        ({"x-ratelimit-remaining-tokens": "512", "x-ratelimit-reset-tokens": "2h"}, None),
        ({"x-ratelimit-reset-tokens": "2h"}, None),
        # Without a time, or with one in the past, the server does not determine how long to wait.
        ({}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after-ms": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        (USED_UP | {"x-ratelimit-reset-requests": "0s"}, None),
        (USED_UP | {"x-ratelimit-reset-requests": "1400000000"}, None),
        (USED_UP | {"x-ratelimit-reset-requests": "2015-10-21T07:28:00Z"}, None),
        (USED_UP | {"x-ratelimit-reset-requests": "9" * 40}, None),
    ],
)  # fmt: skip
def test_the_time_to_wait(headers, seconds):
    assert retry_after(headers) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "write",
    [
        lambda moment: {"retry-after": formatdate(moment, usegmt=True)},
        lambda moment: USED_UP | {"x-ratelimit-reset-requests": str(int(moment))},
        lambda moment: USED_UP | {"x-ratelimit-reset-requests": str(int(moment) * 1000)},
        lambda moment: {"anthropic-ratelimit-tokens-remaining": "0",
                        "anthropic-ratelimit-tokens-reset": datetime.fromtimestamp(moment, UTC).isoformat()},
    ],
)  # fmt: skip
def test_a_moment_is_as_far_as_it_is_away(write):
    # On a busy machine, time may pass between the two calls.
    assert 9_000.0 < retry_after(write(time.time() + 10_000)) <= 10_000.0


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-requests"]), st.text()))
def test_no_header_is_an_error_or_a_wait_without_end(headers):
    found = retry_after(headers | USED_UP)
    assert found is None or (found > 0 and math.isfinite(found))
