//! A certificate's times as Unix seconds: UTCTime and GeneralizedTime in the one form that RFC 5280, section 4.1.2.5,
//! leaves of each.

use crate::der::{Element, GENERALIZED_TIME, MalformedDer, UTC_TIME};

const DAY: i64 = 24 * 3600;

/// Seconds since 1970, before it too.
pub(crate) fn unix(time: &Element<'_>) -> Result<i64, MalformedDer> {
    let (digits, zone) = time.content.split_last().map(|(zone, digits)| (digits, *zone)).ok_or(MalformedDer)?;
    if zone != b'Z' || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MalformedDer);
    }
    let number = |digits: &[u8]| digits.iter().fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (time.tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return Err(MalformedDer),
    };
    let mut pairs = rest.chunks_exact(2).map(number);
    let mut next = || pairs.next().ok_or(MalformedDer);
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let is_possible = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    if !is_possible || hour > 23 || minute > 59 || second > 59 {
        return Err(MalformedDer);
    }
    Ok(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + is_leap(year) as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    // 719,162 days lie between 0001-01-01 and 1970-01-01.
    before * 365 + leaps + (1..month).map(|month| days_of_month(year, month)).sum::<i64>() + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(tag: u8, text: &str) -> Result<i64, MalformedDer> {
        unix(&Element { tag, content: text.as_bytes(), whole: &[] })
    }

    /// Computed with `date -u +%s -d …`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(read(UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(read(UTC_TIME, "750101130000Z"), Ok(157_813_200));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Ok(2_524_607_999));
        assert_eq!(read(UTC_TIME, "500101000000Z"), Ok(-631_152_000));
        assert_eq!(read(GENERALIZED_TIME, "20000229120000Z"), Ok(951_825_600));
        assert_eq!(read(GENERALIZED_TIME, "40960101130000Z"), Ok(67_090_165_200));
        assert_eq!(read(GENERALIZED_TIME, "00010101000000Z"), Ok(-62_135_596_800));
    }

    #[test]
    fn other_forms_are_no_times() {
        let general = ["20000230120000Z", "20010229120000Z", "20000101240000Z", "20000101000060Z", "20001301000000Z"];
        let general =
            general.iter().chain(&["20000001000000Z", "20000101000000", "20000101000000+", "2000010100000aZ"]);
        for text in general.chain(&["20000101000000.5Z", "200001010000Z", "", "Z"]) {
            assert_eq!(read(GENERALIZED_TIME, text), Err(MalformedDer), "{text}");
        }
        assert_eq!(read(UTC_TIME, "7001010000Z"), Err(MalformedDer));
        assert_eq!(read(UTC_TIME, "20000101000000Z"), Err(MalformedDer));
        assert_eq!(read(0x04, "700101000000Z"), Err(MalformedDer));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(tag in prop_oneof![Just(UTC_TIME), Just(GENERALIZED_TIME)], content in "[0-9]{10,14}Z?") {
            let _ = read(tag, &content);
        }
    }
}
