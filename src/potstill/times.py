"""Parse the publication time of an article, or raise an error that says why it is ambiguous.

Input: the text of a date and time as in feeds, files and logs. Output: a `datetime`. Supported are ISO 8601, the dates
of mail and RSS (RFC 822 and 5322), English dates such as `June 1, 2021 9:41 PM`, and the seconds, milliseconds,
microseconds or nanoseconds since 1970. Texts with two meanings (01/02/2021, EST) or none are rejected, never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

EXPECTED = "ISO 8601 such as 2024-05-01T10:00:00Z"
"""The format to suggest if a time was rejected."""

_LONGEST = 100

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july", "aug august",
            "sep sept september", "oct october", "nov november", "dec december",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_WEEKDAYS = {
    name: number
    for number, names in enumerate(
        (
            "mon monday", "tue tues tuesday", "wed wednesday", "thu thur thurs thursday", "fri friday",
            "sat saturday", "sun sunday",
        )
    )
    for name in names.split()
}  # fmt: skip

# Abbreviations with the same offset everywhere they are used today, in hours.
_ZONES = {
    "z": 0, "utc": 0, "ut": 0, "gmt": 0, "wet": 0, "west": 1, "cet": 1, "cest": 2, "eet": 2, "eest": 3, "msk": 3,
    "sast": 2, "jst": 9, "kst": 9, "hkt": 8, "sgt": 8, "awst": 8, "acst": 9.5, "acdt": 10.5, "aest": 10, "aedt": 11,
    "nzst": 12, "nzdt": 13, "hst": -10, "akst": -9, "akdt": -8, "edt": -4, "mdt": -6, "pdt": -7,
}  # fmt: skip
# RFC 822 defines these abbreviations for the dates of mail and RSS. Elsewhere they are ambiguous: EST is also the
# standard time of Sydney, CST that of China, PST that of the Philippines, and MST that of Malaysia.
_MAIL_ZONES = {"est": -5, "cst": -6, "cdt": -5, "mst": -7, "pst": -8}

_DATE = r"""
    (?: (?P<iso_year>\d{4}) (?P<sign>[-/.]) (?P<iso_month>\d{1,2}) (?P=sign) (?P<iso_day>\d{1,2})
      | (?P<mail_day>\d{1,2}) (?:st|nd|rd|th)? (?P<gap>[ -]) (?P<mail_month>[a-z]{3,9}) \.? ,? (?P=gap)
        (?P<mail_year>\d{4}|\d\d)
      | (?P<name>[a-z]{3,9}) \.? [ ] (?P<day>\d{1,2}) (?:st|nd|rd|th)? ,? [ ] (?P<year>\d{4}) )
"""
_CLOCK = r"""
    (?P<hour>\d{1,2}) (?: : (?P<minute>\d\d) (?: : (?P<second>\d\d) (?: [.,] (?P<fraction>\d{1,9}) )? )? )?
    (?: [ ]? (?P<half>[ap]) \.? m\b \.? )?
"""
_ZONE = r"""
    (?P<zone> (?: (?:utc|gmt)? [+-] \d{1,2} (?: :? \d\d )? | [a-z]{1,5} ) ) (?: [ ] \( [a-z0-9: +-]* \) )?
"""
_WEEKDAY = r"(?: (?P<weekday>[a-z]{3,9}) \.? ,? [ ] )?"
_FORMS = tuple(
    re.compile(form, re.VERBOSE | re.ASCII)
    for form in (
        rf"{_WEEKDAY} {_DATE} (?: (?: t | ,? [ ] (?: at [ ] )? ) {_CLOCK} (?: [ ]? {_ZONE} )? )?",
        # The format of C's ctime and date(1): Tue Jun  1 21:41:00 CEST 2021.
        rf"""{_WEEKDAY} (?P<name>[a-z]{{3}}) [ ] (?P<day>\d{{1,2}}) [ ] {_CLOCK} (?: [ ] {_ZONE} )?
             [ ] (?P<year>\d{{4}})""",
    )
)
_ISO = re.compile(
    r"\d{4}(?:-\d\d-\d\d|\d{4}|-W\d\d-\d|W\d{3})"
    r"(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_COUNT = re.compile(r"(\d+)(?:\.(\d{1,9})0*)?", re.ASCII)
_PER_SECOND = {9: 1, 10: 1, 13: 1_000, 16: 1_000_000, 19: 1_000_000_000}
_DAY_OR_MONTH_FIRST = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d\d)\b.*", re.ASCII | re.DOTALL)


class TimeError(ValueError):
    """A text does not name exactly one time; the message gives the reason, without the text."""


def read_time(text: str) -> datetime:
    """Parse a time; the result has no zone (`tzinfo` None) if the text has none.

    Args:
        text: a time in one of the module's formats; surrounding white space and letter case are ignored.

    Raises:
        TimeError: the text is not a time or is ambiguous.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text[: _LONGEST + 1]).split())
    if len(text) > _LONGEST:
        raise TimeError(f"is not a time; expected {EXPECTED}")
    count = _COUNT.fullmatch(plain)
    if count is not None and len(count[1]) != 8:
        return _since_1970(count)
    try:
        if found := _ISO.fullmatch(plain.upper()):
            if found[1]:
                _zone(found[1].lower(), mail=False)
            return datetime.fromisoformat(found[0])
        for form in _FORMS:
            if found := form.fullmatch(plain.lower()):
                return _moment(found)
    except TimeError:
        raise
    except ValueError as error:
        raise TimeError(f"is not a time ({error})") from None
    if _DAY_OR_MONTH_FIRST.fullmatch(plain):
        raise TimeError(f"is ambiguous, because the day or the month may come first; expected {EXPECTED}")
    raise TimeError(f"is not a time; expected {EXPECTED}")


def year_of(text: str) -> int | None:
    """Return the year that a text contains, as written; None if it is ambiguous."""
    if re.fullmatch(r"\s*[12]\d{3}(?:-\d\d)?\s*", text, re.ASCII):
        return int(text.strip()[:4])
    try:
        return read_time(text).year
    except TimeError:
        return None


def seconds_of(moment: datetime) -> float:
    """Return seconds since 1970; a time without a zone is taken as UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _since_1970(count: re.Match[str]) -> datetime:
    """Parse a count since 1970; its unit follows from its number of digits, for times from 1973 to 2286."""
    digits = count[1]
    if len(digits) == 14 and digits[:2] in {"19", "20"} and not count[2]:
        try:
            return datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - the text has no zone
        except ValueError:
            raise TimeError("is not a time") from None
    if len(digits) not in _PER_SECOND:
        raise TimeError(f"is a number of unknown unit; expected {EXPECTED}, or seconds since 1970")
    microseconds = int(digits) * 1_000_000 // _PER_SECOND[len(digits)]
    if count[2] and len(digits) <= 10:
        microseconds += int(count[2][:6].ljust(6, "0"))
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _moment(found: re.Match[str]) -> datetime:
    part = found.groupdict()
    # The form of RFC 822: the day first, and a 24-hour clock with a zone.
    mail = bool(part.get("mail_day")) and bool(part["zone"]) and not part["half"]
    year = part.get("iso_year") or part.get("mail_year") or part["year"]
    month = part.get("iso_month") or _month(part.get("mail_month") or part["name"])
    day = part.get("iso_day") or part.get("mail_day") or part["day"]
    fraction = (part["fraction"] or "")[:6].ljust(6, "0")
    moment = datetime(
        _year(year, mail=mail),
        int(month),
        int(day),
        _hour(part),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int(fraction),
        tzinfo=None if part["zone"] is None else _zone(part["zone"], mail=mail),
    )
    if part["weekday"] is not None:
        if part["weekday"] not in _WEEKDAYS:
            raise TimeError(f"is not a time; {part['weekday']!r} is not an English day of the week")
        if _WEEKDAYS[part["weekday"]] != moment.weekday():
            raise TimeError(f"names the wrong weekday: that day is a {moment:%A}")
    return moment


def _year(text: str, *, mail: bool) -> int:
    if len(text) == 4:
        return int(text)
    if not mail:
        raise TimeError(f"has a year of two digits; expected {EXPECTED}")
    # Two-digit years follow RFC 5322, section 4.3.
    return int(text) + (2000 if int(text) < 50 else 1900)


def _month(name: str) -> int:
    if name not in _MONTHS:
        raise TimeError(f"is not a time; {name!r} is not an English month; expected {EXPECTED}")
    return _MONTHS[name]


def _hour(part: dict[str, str | None]) -> int:
    hour, half = int(part["hour"] or 0), part["half"]
    if half is None:
        if part["hour"] is not None and part["minute"] is None:
            raise TimeError("has an hour without minutes")
        return hour
    if not 1 <= hour <= 12:
        raise TimeError(f"is not a time; {hour} {half}m is not an hour")
    return hour % 12 + (12 if half == "p" else 0)


def _zone(name: str, *, mail: bool) -> timezone:
    offset = re.fullmatch(r"(?:utc|gmt)?([+-])(\d{1,2}):?(\d\d)?", name, re.ASCII)
    if offset is not None:
        sign, hours, minutes = offset[1], int(offset[2]), int(offset[3] or 0)
        away = timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)
        if minutes > 59 or not timedelta(hours=-12) <= away <= timedelta(hours=14):
            raise TimeError(f"has the offset {name}, expected -12:00 to +14:00")
        return timezone(away)
    known = _ZONES | _MAIL_ZONES if mail else _ZONES
    if name not in known:
        kind = "several meanings" if name in _MAIL_ZONES else "no certain meaning"
        raise TimeError(f"has the time zone {name.upper()}, which has {kind}; write its offset, such as +02:00")
    return timezone(timedelta(hours=known[name]))
