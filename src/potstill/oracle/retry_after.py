"""Parse how long a server asks to wait.

Input: the headers of an answer. Output: seconds, from `Retry-After` or from the time at which an exhausted limit is
renewed. If the server names no time, or one in the past, `labelling.pace` decides how long to wait.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Numbers from here on are points in time: seconds, or milliseconds, since 1970.
_MOMENT, _MOMENT_IN_MS = 1e9, 1e12
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, 0 or more; None if the server names no time, or one in the past.

    `retry-after-ms` and `Retry-After` (seconds or a date) take precedence. Without them, the renewal time of an
    exhausted limit is used, for example `x-ratelimit-reset-requests` together with `x-ratelimit-remaining-requests: 0`.

    Args:
        headers: the headers, with names in any case.
    """
    known = {name.lower(): value for name, value in headers.items()}
    requested = _number(known.get("retry-after-ms", ""), 1000.0) or _seconds_until(known.get("retry-after", ""))
    return requested or max(filter(None, map(_seconds_until, _renewals(known))), default=None)


def _renewals(headers: Mapping[str, str]) -> list[str]:
    """Return when each exhausted limit is renewed."""
    resets = [name for name in headers if "ratelimit" in name and "reset" in name]
    return [headers[name] for name in resets if headers.get(name.replace("reset", "remaining"), "").strip() == "0"]


def _seconds_until(value: str) -> float | None:
    """Return the seconds until a time in any common form; None if it is in the past or not a time."""
    value = value.strip()
    found = _number(value) or span(value) or _date(value)
    if found is None or not found > _MOMENT:
        return found
    moment = found / 1000.0 if found > _MOMENT_IN_MS else found
    return _left(datetime.fromtimestamp(moment, UTC)) if moment < 1e11 else None


def _number(value: str, unit: float = 1.0) -> float | None:
    try:
        number = float(value) / unit
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def span(value: str) -> float | None:
    """Return the seconds of a duration such as `6m0s`, `1.5s` or `120ms`; None if it is invalid or zero."""
    parts = _PART.findall(value)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != value:
        return None
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts) or None


def _date(value: str) -> float | None:
    """Return the seconds until a date in the format of mail or of RFC 3339."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return _left(read(value))
        except (ValueError, OverflowError):
            continue
    return None


def _left(moment: datetime) -> float | None:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None
