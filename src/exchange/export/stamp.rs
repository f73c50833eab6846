//! Points in time as a record has them, and as lm-evaluation-harness writes them.

use crate::error::{Error, Result};

/// A second in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    date: [i64; 3],
    time: [i64; 3],
}

impl Stamp {
    /// `2026-11-24T08:15:16Z`
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::bad(format!("expected a time such as 2026-11-24T08:15:16Z, found {text:?}"));
        let shape = text.len() == 20
            && text.bytes().zip(*b"0000-00-00T00:00:00Z").all(|(found, shape)| match shape {
                b'0' => found.is_ascii_digit(),
                _ => found == shape,
            });
        if !shape {
            return Err(bad());
        }
        let number = |from: usize, to: usize| text[from..to].parse::<i64>().map_err(|_| bad());
        let date = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
        let time = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
        let possible = (1..=12).contains(&date[1]) && (1..=31).contains(&date[2]);
        if possible && time[0] < 24 && time[1] < 60 && time[2] < 60 { Ok(Self { date, time }) } else { Err(bad()) }
    }

    /// As it stands in file names: `2026-11-24T08-15-16`, with hyphens for colons.
    pub fn for_file(self) -> String {
        let ([year, month, day], [hour, minute, second]) = (self.date, self.time);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}")
    }

    /// Seconds since 1970-01-01 (Hinnant 2013, `days_from_civil`).
    pub fn unix_seconds(self) -> i64 {
        let ([year, month, day], [hour, minute, second]) = (self.date, self.time);
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year - era * 400;
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        ((days * 24 + hour) * 60 + minute) * 60 + second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-11-24T08:15:16Z", 1_795_508_116),
        ] {
            assert_eq!(Stamp::parse(text).unwrap().unix_seconds(), seconds);
        }
        assert_eq!(Stamp::parse("2026-11-24T08:15:16Z").unwrap().for_file(), "2026-11-24T08-15-16");
    }

    #[test]
    fn a_record_may_not_name_a_file_of_its_choice() {
        for text in ["", "../../../../x/yyyyZ", "2026-13-24T08:15:16Z", "2026-11-24T08:15:16+", "２026-11-24T08:15:16"]
        {
            assert!(Stamp::parse(text).unwrap_err().to_string().contains("expected a time"), "{text}");
        }
    }
}
