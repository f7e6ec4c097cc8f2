//! Values of settings as one writes them: durations (`250ms`, `5s`, `2m`), sizes (`64KiB`, `16MiB`),
//! limits, rates and switches.

use std::time::Duration;

/// No size is larger: more than any machine has, and sums of several do not overflow.
const MOST_BYTES: usize = 1 << 50;

/// Reads a duration: a whole number with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration is a whole number with ms, s, m or h, such as 250ms".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration begins with a whole number")?;
    let millis = number.checked_mul(millis).ok_or("this duration is too long")?;
    Ok(Duration::from_millis(millis))
}

/// As [`duration`], but not zero.
///
/// # Errors
/// What was expected.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("this duration must be longer than zero".into()),
        some => Ok(some),
    }
}

/// Reads a size in bytes: a whole number, alone or with `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// What was expected.
pub fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a size is a whole number with KiB, MiB or GiB, such as 64KiB".into()),
    };
    let number: usize = number.parse().map_err(|_| "a size begins with a whole number")?;
    match number.checked_mul(bytes) {
        Some(bytes) if bytes > MOST_BYTES => Err("this size is too large".into()),
        None => Err("this size is too large".into()),
        Some(0) => Err("this size must be more than zero".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// As [`size`], for the head of a request: from 1 KiB to 1 MiB.
///
/// # Errors
/// What was expected.
pub fn header_size(text: &str) -> Result<usize, String> {
    size(text).and_then(|bytes| match bytes {
        0x400..=0x10_0000 => Ok(bytes),
        _ => Err("the head of a request may have from 1KiB to 1MiB".into()),
    })
}

/// Reads how many headers a request may have.
///
/// # Errors
/// What was expected.
pub fn header_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1000) => Ok(count),
        _ => Err("a number of headers is a whole number from 1 to 1000".into()),
    }
}

/// Reads how many of something there may be: a whole number, at least 1.
///
/// # Errors
/// What was expected.
pub fn limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(limit @ 1..) => Ok(limit),
        _ => Err(format!("a limit is a whole number from 1 to {}", u32::MAX)),
    }
}

/// Reads how many messages there may be in a second: a whole number from 1 to 1,000,000, with `/s` or
/// without.
///
/// # Errors
/// What was expected.
pub fn message_rate(text: &str) -> Result<u32, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        Ok(rate @ 1..=1_000_000) => Ok(rate),
        _ => Err("a rate is a whole number of messages in a second, from 1 to 1000000".into()),
    }
}

/// Reads whether something is on: `true`, `yes`, `on`, `1`, or their opposites, in any case.
///
/// # Errors
/// What was expected.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_written() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!((size("100"), size("1048576GiB")), (Ok(100), Ok(MOST_BYTES)));
        assert_eq!((limit("1"), limit("4294967295")), (Ok(1), Ok(u32::MAX)));
        assert_eq!((message_rate("100"), message_rate("5/s")), (Ok(100), Ok(5)));
        assert_eq!((switch("Yes"), switch("0")), (Ok(true), Ok(false)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in
            ["", "0", "KiB", "5kb", "-1", "1.5MiB", "1125899906842625", "99999999999999999999GiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(some_duration("0s").is_err());
        for text in ["", "0", "-1", "many", "4294967296"] {
            assert!(limit(text).is_err(), "{text}");
        }
        for text in ["", "0", "/s", "5/m", "-1", "1.5", "1000001"] {
            assert!(message_rate(text).is_err(), "{text}");
        }
        assert!(switch("perhaps").is_err() && switch("").is_err());
    }
}
