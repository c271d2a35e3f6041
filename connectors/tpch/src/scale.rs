//! Scale factors and the schemas that stand for them: `tiny`, `sf1`, `sf0_1`, `sf10`.
//!
//! Each scale factor has just one schema name, so that one table never has two names.

use std::fmt;

/// Below this, the generator's key formulas divide by zero (`partsupp` needs at least four suppliers).
const SCALE_MIN: f64 = 0.001;

/// The largest scale factor that the TPC publishes results for.
const SCALE_MAX: f64 = 100_000.0;

/// The scale factor of the schema `tiny`.
const TINY: f64 = 0.01;

/// How much data: 1 is about a gigabyte of text.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Scale(f64);

impl Scale {
    /// Reads a schema's name; `None` where it stands for no scale factor.
    pub(crate) fn from_schema(schema: &str) -> Option<Scale> {
        if schema == "tiny" {
            return Some(Scale(TINY));
        }
        let digits = schema.strip_prefix("sf")?;
        let (whole, fraction) = match digits.split_once('_') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // One spelling only: no leading zeros before the point, no trailing zeros behind it.
        let plain_whole = all_digits(whole) && (whole == "0" || !whole.starts_with('0'));
        let plain_fraction = fraction.is_none_or(|f| all_digits(f) && !f.ends_with('0'));
        if !plain_whole || !plain_fraction {
            return None;
        }
        let factor: f64 = format!("{whole}.{}", fraction.unwrap_or("0"))
            .parse()
            .ok()?;
        (SCALE_MIN..=SCALE_MAX)
            .contains(&factor)
            .then_some(Scale(factor))
    }

    /// The number that the generator takes.
    pub(crate) fn factor(self) -> f64 {
        self.0
    }

    /// Rows of a table that has `base` rows at scale factor 1, counted as the generator counts.
    pub(crate) fn rows(self, base: u64) -> u64 {
        (base as f64 * self.0) as u64
    }
}

impl fmt::Debug for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(schema: &str) -> Option<f64> {
        Scale::from_schema(schema).map(Scale::factor)
    }

    #[test]
    fn each_scale_factor_has_one_name() {
        assert_eq!(factor("tiny"), Some(0.01));
        assert_eq!(factor("sf1"), Some(1.0));
        assert_eq!(factor("sf0_1"), Some(0.1));
        assert_eq!(factor("sf2_5"), Some(2.5));
        assert_eq!(factor("sf1000"), Some(1000.0));
        for wrong in [
            "",
            "sf",
            "sf0",
            "sf01",
            "sf1_0",
            "sf1_",
            "sf_1",
            "sf-1",
            "sf1e3",
            "SF1",
            "sf1.5",
            "sf0_0001",
            "sf1000000",
            "public",
            "sf１",
        ] {
            assert_eq!(factor(wrong), None, "{wrong}");
        }
    }
}
