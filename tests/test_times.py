from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.times import TimeError, read_time, seconds_of, year_of


def read(text):
    return read_time(text).isoformat()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-06-01", "2021-06-01T00:00:00"),
        ("20210601", "2021-06-01T00:00:00"),
        ("2021-W22-2", "2021-06-01T00:00:00"),
        ("2021-06-01T21:41", "2021-06-01T21:41:00"),
        ("2021-06-01 21:41:00.250000", "2021-06-01T21:41:00.250000"),
        ("2021-06-01t21:41:00z", "2021-06-01T21:41:00+00:00"),
        ("20210601T214100Z", "2021-06-01T21:41:00+00:00"),
        ("2021-06-01T21:41:00-03:30", "2021-06-01T21:41:00-03:30"),
        ("2021-06-01 21:41:00 +0200", "2021-06-01T21:41:00+02:00"),
        ("2021-06-01 21:41:00 UTC", "2021-06-01T21:41:00+00:00"),
        ("2021/06/01 09:41 PM", "2021-06-01T21:41:00"),
    ],
)
def test_iso_dates_and_their_neighbours(text, moment):
    assert read(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Tue, 01 Jun 2021 21:41:00 GMT", "2021-06-01T21:41:00+00:00"),
        ("1 Jun 2021 21:41 +0200", "2021-06-01T21:41:00+02:00"),
        ("Tue, 01 Jun 2021 21:41:00 +0200 (CEST)", "2021-06-01T21:41:00+02:00"),
        ("Tue, 01 Jun 2021 21:41:00 EST", "2021-06-01T21:41:00-05:00"),
        ("Tue, 01 Jun 2021 21:41:00 PDT", "2021-06-01T21:41:00-07:00"),
        ("Tuesday, 01-Jun-21 21:41:00 GMT", "2021-06-01T21:41:00+00:00"),
        ("01 Jun 99 21:41:00 GMT", "1999-06-01T21:41:00+00:00"),
        ("Tue Jun  1 21:41:00 2021", "2021-06-01T21:41:00"),
        ("Tue Jun  1 21:41:00 CEST 2021", "2021-06-01T21:41:00+02:00"),
        ("Tue Jun 01 2021 21:41:00 GMT+0200 (Central European Summer Time)", "2021-06-01T21:41:00+02:00"),
    ],
)
def test_dates_of_mail_feeds_and_browsers(text, moment):
    assert read(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("June 1, 2021 9:41 PM", "2021-06-01T21:41:00"),
        ("June 1, 2021 9:41 AM", "2021-06-01T09:41:00"),
        ("june 1st 2021 at 9:41 p.m.", "2021-06-01T21:41:00"),
        ("June 1, 2021 12:00 AM", "2021-06-01T00:00:00"),
        ("June 1, 2021 12:00 PM", "2021-06-01T12:00:00"),
        ("June 1, 2021 12:59 am", "2021-06-01T00:59:00"),
        ("June 1, 2021 9 PM", "2021-06-01T21:00:00"),
        ("June 1, 2021 9:41\u202fPM", "2021-06-01T21:41:00"),
        ("Sept. 3, 2021", "2021-09-03T00:00:00"),
        ("3 September 2021, 21:41 CEST", "2021-09-03T21:41:00+02:00"),
        ("Tuesday, June 1, 2021 9:41 PM EDT", "2021-06-01T21:41:00-04:00"),
    ],
)
def test_english_dates_with_their_half_of_the_day(text, moment):
    assert read(text) == moment


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("UTC", 0), ("GMT", 0), ("CET", 1), ("CEST", 2), ("EET", 2), ("EEST", 3), ("MSK", 3), ("JST", 9), ("AEST", 10)],
)
@pytest.mark.parametrize("form", ["Tue, 01 Jun 2021 21:41:00 {}", "2021-06-01 21:41 {}", "June 1, 2021 9:41 PM {}"])
def test_a_zone_that_means_one_offset_is_that_offset(form, zone, hours):
    assert read_time(form.format(zone)) == datetime(2021, 6, 1, 21, 41, tzinfo=timezone(timedelta(hours=hours)))


@pytest.mark.parametrize(
    "text", ["1622583660", "1622583660.0", "1622583660000", "1622583660000000", "1622583660000000000"]
)
def test_counts_since_1970_tell_their_unit_by_their_digits(text):
    assert read(text) == "2021-06-01T21:41:00+00:00"


def test_fractions_of_counts_are_kept():
    assert read("1622583660.5") == "2021-06-01T21:41:00.500000+00:00"
    assert read("1622583660123") == "2021-06-01T21:41:00.123000+00:00"


def test_fourteen_digits_are_a_date_and_a_clock():
    assert read("20210601214100") == "2021-06-01T21:41:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("01/02/2021", "is ambiguous, because the day or the month may come first"),
        ("1.2.2021 10:00", "is ambiguous, because the day or the month may come first"),
        ("June 1, 2021 9:41 PM EST", "time zone EST, which has several meanings"),
        ("2021-06-01 21:41 CST", "time zone CST, which has several meanings"),
        ("2021-06-01 21:41 IST", "time zone IST, which has no certain meaning"),
        ("Tue, 01 Jun 2021 21:41:00 BST", "time zone BST, which has no certain meaning"),
        ("Tue, 01 Jun 2021 21:41:00 XYZ", "time zone XYZ, which has no certain meaning"),
        ("Mon, 01 Jun 2021 21:41:00 GMT", "that day is a Tuesday"),
        ("mar., 01 Jun 2021 21:41:00 GMT", "'mar' is not an English day of the week"),
        ("1 juin 2021 10:00", "'juin' is not an English month"),
        ("June 1, 2021 13:41 PM", "13 pm is not an hour"),
        ("June 1, 2021 0:41 AM", "0 am is not an hour"),
        ("June 1, 21 9:41 PM", "expected ISO 8601"),
        ("1 Jun 21", "a year of two digits"),
        ("2021-06-01+02:00", "expected ISO 8601"),
        ("2021-06-01T21:41:00+15:00", "the offset"),
        ("2021-02-30", "day is out of range"),
        ("2021-06-01T25:00:00", "hour must be"),
        ("2021", "is a number of unknown unit"),
        ("0", "is a number of unknown unit"),
        ("202106012141", "is a number of unknown unit"),
        ("9" * 5000, "expected ISO 8601"),
        ("yesterday", "expected ISO 8601"),
        ("", "expected ISO 8601"),
        ("10", "is a number of unknown unit"),
        ("9:41 PM", "expected ISO 8601"),
    ],
)
def test_what_is_not_certain_is_refused_with_its_reason(text, why):
    with pytest.raises(TimeError, match=why):
        read_time(text)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_every_way_to_write_a_moment_reads_back_to_it(moment):
    moment = moment.replace(microsecond=0)
    english = f"{moment:%B} {moment.day}, {moment.year} {moment:%I:%M:%S %p} UTC"
    ways = [moment.isoformat(), format_datetime(moment), english, f"{moment:%A, %d %b %Y %H:%M:%S} GMT"]
    if moment.timestamp() >= 1e8:
        ways += [str(int(moment.timestamp()))]
    if moment.timestamp() >= 1e9:
        ways += [str(int(moment.timestamp()) * 1000)]
    assert [read_time(way) for way in ways] == [moment] * len(ways)


@given(st.text(alphabet="0123456789 :-+/.,TZapmPMJunECST", max_size=40))
def test_any_text_is_a_moment_or_a_reason(text):
    with suppress(TimeError):
        assert -7e10 < seconds_of(read_time(text)) < 3e11


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2021", 2021),
        ("2021-06", 2021),
        ("12 June 2021", 2021),
        ("1622583660", 2021),
        ("2021-12-31T23:30:00-05:00", 2021),
        ("1622", 1622),
        ("16225", None),
        ("01/02/2021", None),
    ],
)
def test_the_year_is_the_written_one_where_it_is_certain(text, year):
    assert year_of(text) == year
