//! Rate limits with a timetable: the key `limit`, and what it says at a local time.

use jiff::civil::{DateTime, Time, Weekday};

/// The lowest rate. A slower one stops clips, and a limit must not do that unnoticed.
const RATE_MIN: u64 = 1000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_OF_DAY: u16 = 24 * 60;

/// When which rate holds. Of several entries, the first one that matches counts.
///
/// It is asked with the time that a clock on the wall shows. An hour that summer time leaves out
/// or repeats therefore has one rate, and a range ends when the wall says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timetable(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Monday first.
    days: [bool; 7],
    minutes: Minutes,
    bytes_per_second: Option<u64>,
}

/// Minutes of a day, from 0. Where `end` is not behind `begin`, it is one of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Minutes {
    begin: u16,
    end: u16,
}

impl Timetable {
    /// The rate in bytes a second at a local time; `None` is no limit.
    pub fn rate_at(&self, local: DateTime) -> Option<u64> {
        self.0.iter().find(|entry| entry.matches(local))?.bytes_per_second
    }

    /// Reads the entries in order; each mistake with its index.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Timetable, Vec<(usize, String)>> {
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            match Entry::parse(entry) {
                Ok(entry) => read.push(entry),
                Err(why) => wrong.push((index, why)),
            }
        }
        if wrong.is_empty() { Ok(Timetable(read)) } else { Err(wrong) }
    }
}

impl Entry {
    fn matches(&self, local: DateTime) -> bool {
        let today = self.days[day_index(local.date().weekday())];
        let yesterday = self.days[day_index(local.date().weekday().previous())];
        let minute = minute_of(local.time());
        let Minutes { begin, end } = self.minutes;
        if begin < end {
            return today && (begin..end).contains(&minute);
        }
        // What begins on a day belongs to that day, also behind midnight.
        (today && minute >= begin) || (yesterday && minute < end)
    }

    /// `[DAYS] [HH:MM-HH:MM] = RATE`, or `RATE` alone.
    fn parse(text: &str) -> Result<Entry, String> {
        let all_day = Minutes { begin: 0, end: MINUTES_OF_DAY };
        let Some((when, rate)) = text.split_once('=') else {
            let bytes_per_second = parse_rate(text)?;
            return Ok(Entry { days: [true; 7], minutes: all_day, bytes_per_second });
        };
        let bytes_per_second = parse_rate(rate)?;
        let words: Vec<_> = when.split_whitespace().collect();
        let (days, minutes) = match words[..] {
            [days, minutes] => (parse_days(days)?, parse_minutes(minutes)?),
            [minutes] if minutes.starts_with(|c: char| c.is_ascii_digit()) => {
                ([true; 7], parse_minutes(minutes)?)
            }
            [days] => (parse_days(days)?, all_day),
            _ => return Err("expected such as \"Mon-Fri 08:00-18:00 = 2 MiB/s\"".to_owned()),
        };
        Ok(Entry { days, minutes, bytes_per_second })
    }
}

fn day_index(day: Weekday) -> usize {
    // From 0 to 6.
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// `Mon`, `Mon-Fri`, `Sat,Sun`; a range may go over the end of the week.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |word: &str| {
        let day = DAYS.iter().position(|day| word.eq_ignore_ascii_case(day));
        day.ok_or_else(|| format!("`{word}`: expected Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Ok(days)
}

/// `08:00-18:00`; `22:00-06:00` goes over midnight.
fn parse_minutes(text: &str) -> Result<Minutes, String> {
    let wrong = || format!("`{text}`: expected a range such as 08:00-18:00");
    let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str| {
            let is_two_digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            is_two_digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let minute = hours * 60 + minutes;
        (minutes < 60 && minute <= MINUTES_OF_DAY).then_some(minute)
    };
    let (begin, end) = (minute(begin).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
    if begin == end {
        return Err(format!("`{text}`: the range is empty; leave the times out for the whole day"));
    }
    // 24:00 begins what 00:00 begins.
    Ok(Minutes { begin: begin % MINUTES_OF_DAY, end })
}

/// A rate in bytes a second, such as `2 MiB/s`; `unlimited` is `None`.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text == "unlimited" {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "`{text}`: expected bytes a second such as \"2 MiB/s\", \"500 KB/s\" or \"unlimited\""
        )
    };
    let pauses = || format!("`{text}`: a limit does not pause; the lowest rate is 1 KB/s");
    if matches!(text, "off" | "0") {
        return Err(pauses());
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().strip_suffix("/s").ok_or_else(wrong)? {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let rate = number.checked_mul(factor).ok_or_else(wrong)?;
    if rate < RATE_MIN { Err(pauses()) } else { Ok(Some(rate)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn table(entries: &[&str]) -> Timetable {
        Timetable::parse(entries.iter().copied()).expect("well formed")
    }

    /// 2026-11-23 is a Monday.
    fn at(day: i8, hour: i8, minute: i8) -> DateTime {
        jiff::civil::date(2026, 11, 23 + day - 1).at(hour, minute, 59, 0)
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let limit =
            table(&["08:00-18:00 = 2 MiB/s", "22:00-06:00 = unlimited", "10 MiB/s", "1 MiB/s"]);
        for (hour, minute, rate) in [
            (7, 59, Some(10 * MIB)),
            (8, 0, Some(2 * MIB)),
            (17, 59, Some(2 * MIB)),
            (18, 0, Some(10 * MIB)),
            (21, 59, Some(10 * MIB)),
            (22, 0, None),
            (23, 59, None),
            (0, 0, None),
            (5, 59, None),
            (6, 0, Some(10 * MIB)),
        ] {
            assert_eq!(limit.rate_at(at(1, hour, minute)), rate, "{hour}:{minute}");
        }
        assert_eq!(Timetable::default().rate_at(at(1, 12, 0)), None);
        assert_eq!(table(&["08:00-09:00 = 1 MiB/s"]).rate_at(at(1, 12, 0)), None);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let limit = table(&["Fri 22:00-06:00 = 1 MiB/s", "mon-wed,Sun = 2 MiB/s"]);
        let rates = |day| [1, 12, 23].map(|hour| limit.rate_at(at(day, hour, 0)).map(|r| r / MIB));
        assert_eq!(rates(1), [Some(2); 3]);
        assert_eq!(rates(3), [Some(2); 3]);
        assert_eq!(rates(4), [None; 3]);
        assert_eq!(rates(5), [None, None, Some(1)]);
        assert_eq!(rates(6), [Some(1), None, None]);
        assert_eq!(rates(7), [Some(2); 3]);
        // A range of days over the end of the week.
        let limit = table(&["Sat-Mon 00:00-24:00 = 1 MiB/s"]);
        let days = [1, 2, 3, 4, 5, 6, 7].map(|day| limit.rate_at(at(day, 23, 59)).is_some());
        assert_eq!(days, [true, false, false, false, false, true, true]);
    }

    #[test]
    fn rates_are_read_in_every_unit() {
        for (text, rate) in [
            ("1000 B/s", Some(1000)),
            ("3 KB/s", Some(3000)),
            ("3KiB/s", Some(3072)),
            (" 2 MB/s ", Some(2_000_000)),
            ("2 MiB/s", Some(2 * MIB)),
            ("1 GB/s", Some(1_000_000_000)),
            ("1 GiB/s", Some(1 << 30)),
            ("unlimited", None),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (entry, why) in [
            ("off", "does not pause"),
            ("0", "does not pause"),
            ("0 MiB/s", "does not pause"),
            ("999 B/s", "the lowest rate"),
            ("2 MiB", "expected bytes a second"),
            ("10 Mbit/s", "expected bytes a second"),
            ("1.5 MiB/s", "expected bytes a second"),
            ("-1 MiB/s", "expected bytes a second"),
            ("99999999999999999999 B/s", "expected bytes a second"),
            ("18446744073709551615 GiB/s", "expected bytes a second"),
            ("", "expected bytes a second"),
            ("MiB/s", "expected bytes a second"),
            ("8:00-18:00 = 1 MiB/s", "expected a range such as"),
            ("8-18 = 1 MiB/s", "expected a range such as"),
            ("08:00-24:01 = 1 MiB/s", "expected a range such as"),
            ("08:60-18:00 = 1 MiB/s", "expected a range such as"),
            ("08:00 = 1 MiB/s", "expected a range such as"),
            ("08:00-08:00 = 1 MiB/s", "the range is empty"),
            ("Mo 08:00-18:00 = 1 MiB/s", "expected Mon, Tue"),
            ("Mon- = 1 MiB/s", "expected Mon, Tue"),
            ("Mon Tue 08:00-18:00 = 1 MiB/s", "expected such as"),
            ("= 1 MiB/s", "expected such as"),
            ("08:00-18:00 = 1 MiB/s = 2", "expected bytes a second"),
        ] {
            let wrong = Timetable::parse(["1 MiB/s", entry]).expect_err(entry);
            assert!(wrong.len() == 1 && wrong[0].0 == 1, "{entry}: {wrong:?}");
            assert!(wrong[0].1.contains(why), "{entry}: {wrong:?}");
        }
    }

    #[test]
    fn summer_time_leaves_no_hour_without_a_rate_and_gives_none_two() {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
        let limit = table(&["02:00-03:00 = 1 MiB/s", "2 MiB/s"]);
        for (day, hours) in [("2026-03-29", 0), ("2026-10-25", 2), ("2026-10-26", 1)] {
            let start: jiff::civil::Date = day.parse().expect("a date");
            let mut time = start.to_zoned(zone.clone()).expect("in range");
            let mut slow = 0;
            while time.date() == start {
                slow += u32::from(limit.rate_at(time.datetime()) == Some(MIB));
                time = time.checked_add(jiff::SignedDuration::from_mins(30)).expect("in range");
            }
            assert_eq!(slow, 2 * hours, "{day}: half hours at the night's rate");
        }
    }
}
