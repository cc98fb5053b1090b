//! Durations in the settings of certificate authorities: one number, one unit.

use std::time::Duration;

use super::CaError;

/// As long as a duration can be in Kuma; also keeps the end of certificates within the years that they can express.
const LONGEST_MILLIS: u64 = 292 * 365 * 86_400 * 1_000;

/// Parses `10d`, `1y` (365 days), `500ms`, …; the unit may be left out for `0` alone.
///
/// # Errors
/// When the text is not of that form.
pub fn parse_duration(text: &str) -> Result<Duration, CaError> {
    let error = || CaError::Duration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| error())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 3_600 * 1_000,
        "d" => 86_400 * 1_000,
        "w" => 7 * 86_400 * 1_000,
        "y" => 365 * 86_400 * 1_000,
        _ => return Err(error()),
    };
    number.checked_mul(millis).filter(|total| *total <= LONGEST_MILLIS).map(Duration::from_millis).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_refusals() {
        assert_eq!(parse_duration("10d").unwrap(), Duration::from_secs(864_000));
        assert_eq!(parse_duration("1y").unwrap(), Duration::from_secs(365 * 86_400));
        assert_eq!(parse_duration("5ms").unwrap(), Duration::from_millis(5));
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
        for bad in
            ["", "10", "d", "1h30m", "-1h", "99999999999999999999y", "18446744073709551615y", "293y", "99999999999999d"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
