//! Lengths of time, sizes and addresses as people write them: `25ms`, `256M`, `127.0.0.1:7000`.
//!
//! Deliberately small: a whole number and one unit. Anything else is refused with what would be right.

use std::net::SocketAddr;
use understudy_session::Span;

/// Why a text is not what was asked for.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum HumanError {
    /// Not a length of time.
    #[error("{0:?} is not a length of time; write a whole number and ns, us, ms, s, min or h, such as 25ms")]
    Span(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size; write a whole number of bytes, or one with K, M, G or T, also written KiB, MiB, GiB or TiB (powers of 1024), such as 256M"
    )]
    Size(String),
    /// Not an address.
    #[error(
        "{0:?} is not an address; write the IP address and the port in digits, such as 127.0.0.1:7000 or [::1]:7000 (names \
         are not looked up)"
    )]
    Address(String),
    /// An address where nobody can be reached.
    #[error("{0} has the port 0, where nobody can be reached; write the port that the other end listens on")]
    NoPort(SocketAddr),
}

/// Reads a length of time: `500us`, `25ms`, `2s`, `10min`.
pub fn parse_span(text: &str) -> Result<Span, HumanError> {
    let (number, unit) = split_unit(text);
    let ns_per_unit = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => 0,
    };
    scale(number, ns_per_unit).map(Span).ok_or_else(|| HumanError::Span(text.to_owned()))
}

/// Reads a size in bytes: `4096`, `64K`, `256M`, `1G`.
pub fn parse_size(text: &str) -> Result<u64, HumanError> {
    let (number, unit) = split_unit(text);
    let bytes_per_unit = match unit {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => 0,
    };
    scale(number, bytes_per_unit).ok_or_else(|| HumanError::Size(text.to_owned()))
}

/// Reads an address to listen on: port 0 is any that is free.
pub fn parse_address(text: &str) -> Result<SocketAddr, HumanError> {
    text.parse().map_err(|_| HumanError::Address(text.to_owned()))
}

/// Reads an address to connect to.
pub fn parse_remote(text: &str) -> Result<SocketAddr, HumanError> {
    let address = parse_address(text)?;
    if address.port() == 0 { Err(HumanError::NoPort(address)) } else { Ok(address) }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `None` for an unknown unit (`per_unit` 0), a missing number, or one that does not fit.
fn scale(number: &str, per_unit: u64) -> Option<u64> {
    if per_unit == 0 {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(per_unit)
}

/// A length of time as it may be given, exactly.
pub fn show_span(span: Span) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let fits = |(ns, _): &&(u64, &str)| span.0 >= *ns && span.0.is_multiple_of(*ns);
    let (ns, unit) = units.iter().find(fits).copied().unwrap_or((1, "ns"));
    format!("{}{unit}", span.0 / ns)
}

/// A length of time for people: three digits and the unit that fits.
pub fn show_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// A time of day for people and programs, in UTC, from milliseconds since 1970.
pub fn show_time(at_ms: u64) -> String {
    let (days, ms) = (at_ms / 86_400_000, at_ms % 86_400_000);
    // Years that begin with March have their odd day at the end; 400 of them are 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (400 * era + year, month + 3),
        _ => (400 * era + year + 1, month - 9),
    };
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// A size for people, in powers of 1024.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_the_calendar_has_them() {
        for (at_ms, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_796_066_558_960, "2026-11-30T19:22:38.960Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(show_time(at_ms), shown);
        }
    }

    #[test]
    fn a_number_with_its_unit_is_read() {
        for (text, ns) in [
            ("7ns", 7),
            ("500us", 500_000),
            ("25ms", 25_000_000),
            ("2s", 2_000_000_000),
            ("10min", 600_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(parse_span(text), Ok(Span(ns)), "{text}");
        }
        for (text, bytes) in
            [("4096", 4096), ("64K", 65_536), ("256M", 256 << 20), ("1GiB", 1 << 30), ("2T", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_given() {
        for ns in [0, 7, 500_000, 25_000_000, 2_000_000_000, 1_500_000_000, u64::MAX] {
            assert_eq!(parse_span(&show_span(Span(ns))), Ok(Span(ns)));
        }
    }

    #[test]
    fn anything_else_is_refused_not_guessed() {
        for text in [
            "",
            "25",
            "ms",
            "2.5s",
            "-1ms",
            "1 s",
            "1m",
            "25MS",
            "99999999999999999999s",
            "18446744073709551615s",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        for text in ["", "M", "1P", "256m", "0x10", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_has_digits_and_where_one_connects_a_port() {
        for text in ["127.0.0.1:7000", "[::1]:7000"] {
            assert_eq!(parse_remote(text).unwrap().to_string(), text);
        }
        for text in ["", "127.0.0.1", "127.0.0.1:70000", "localhost:7000", "::1:7000", ":7000", "7000"] {
            let error = parse_address(text).unwrap_err().to_string();
            assert!(error.contains("such as 127.0.0.1:7000"), "{error}");
        }
        assert!(parse_address("127.0.0.1:0").is_ok());
        assert!(parse_remote("[::1]:0").unwrap_err().to_string().contains("[::1]:0 has the port 0"));
    }
}
