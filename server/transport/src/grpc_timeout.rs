//! The `grpc-timeout` field: digits and a unit.

use std::time::Duration;

/// Longer ones are as good as none, and sums with them would overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The time that a `grpc-timeout` of `value` gives. None if it is malformed.
///
/// Spaces round the unit are accepted and so is any number of digits, as gRPC's own servers do.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let (unit, digits) = value.split_last()?;
    let digits = digits.trim_ascii_end();
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'));
    }
    Some(of_units(number, *unit)?.min(LONGEST))
}

fn of_units(number: u64, unit: u8) -> Option<Duration> {
    Some(match unit {
        b'H' => Duration::from_secs(number.saturating_mul(3600)),
        b'M' => Duration::from_secs(number.saturating_mul(60)),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_known() {
        let seconds = |value: &str| parse(value.as_bytes()).unwrap().as_secs_f64();
        assert_eq!(seconds("2H"), 7200.0);
        assert_eq!(seconds("3M"), 180.0);
        assert_eq!(seconds("4S"), 4.0);
        assert_eq!(seconds("50m"), 0.05);
        assert_eq!(seconds("60u"), 0.000_06);
        assert_eq!(seconds("70n"), 0.000_000_07);
    }

    #[test]
    fn spaces_round_the_unit_are_accepted() {
        assert_eq!(parse(b" 10 S "), Some(Duration::from_secs(10)));
    }

    #[test]
    fn zero_is_a_timeout() {
        assert_eq!(parse(b"0m"), Some(Duration::ZERO));
    }

    #[test]
    fn huge_values_are_cut() {
        assert_eq!(parse(b"99999999999999999999999H"), Some(LONGEST));
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            "", "S", "1", "abc", "-1S", "1.5S", "1 0S", "1s", "1SS", " S",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value:?}");
        }
    }
}
