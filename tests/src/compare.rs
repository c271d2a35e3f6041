//! When two results are the same: the real PostgreSQL's and ours.
//!
//! Text is compared byte by byte. Numbers are compared as numbers: PostgreSQL and the engine choose
//! different scales for quotients and averages, and different summation orders for floats. Nothing else
//! is forgiven.

use crate::client::Rows;

/// Whether the order of rows is part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The query has a total ORDER BY.
    Given,
    /// Any order is right.
    Any,
}

/// A float's relative error: eight bytes keep 15 digits, sums in another order lose a few of them.
const FLOAT8_TOLERANCE: f64 = 1e-12;
/// Four bytes keep 6 digits.
const FLOAT4_TOLERANCE: f64 = 1e-5;
/// Decimals with fewer digits behind the point than this must be equal to the last digit.
const LEAST_ROUNDED_SCALE: usize = 4;

const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;

/// `Err` says what differs, with both sides.
pub fn rows(expected: &Rows, actual: &Rows, order: Order) -> Result<(), String> {
    if expected.columns.len() != actual.columns.len() {
        return Err(format!(
            "{} columns expected, {} given",
            expected.columns.len(),
            actual.columns.len()
        ));
    }
    if expected.rows.len() != actual.rows.len() {
        return Err(format!(
            "{} rows expected, {} given\nexpected: {}\nactual:   {}",
            expected.rows.len(),
            actual.rows.len(),
            preview(expected),
            preview(actual)
        ));
    }
    let mut left: Vec<_> = expected.rows.iter().collect();
    let mut right: Vec<_> = actual.rows.iter().collect();
    if order == Order::Any {
        left.sort_by(|a, b| compare_for_sort(a, b));
        right.sort_by(|a, b| compare_for_sort(a, b));
    }
    for (number, (want, have)) in left.iter().zip(&right).enumerate() {
        for (position, column) in expected.columns.iter().enumerate() {
            if !same_value(
                column.type_oid,
                want[position].as_deref(),
                have[position].as_deref(),
            ) {
                return Err(format!(
                    "row {number}, column {:?}: {:?} expected, {:?} given\nexpected row: {want:?}\nactual row:   {have:?}",
                    column.name, want[position], have[position]
                ));
            }
        }
    }
    Ok(())
}

/// `Err` names the first column whose name or type differs.
pub fn columns(expected: &Rows, actual: &Rows) -> Result<(), String> {
    for (want, have) in expected.columns.iter().zip(&actual.columns) {
        if want != have {
            return Err(format!("column {want:?} expected, {have:?} given"));
        }
    }
    Ok(())
}

fn same_value(type_oid: u32, want: Option<&str>, have: Option<&str>) -> bool {
    let (Some(want), Some(have)) = (want, have) else {
        return want == have;
    };
    if want == have {
        return true;
    }
    match type_oid {
        FLOAT4 => close(want, have, FLOAT4_TOLERANCE),
        FLOAT8 => close(want, have, FLOAT8_TOLERANCE),
        _ => match (Decimal::parse(want), Decimal::parse(have)) {
            (Some(want), Some(have)) => want.agrees_with(&have),
            _ => false,
        },
    }
}

fn close(want: &str, have: &str, tolerance: f64) -> bool {
    match (want.parse::<f64>(), have.parse::<f64>()) {
        (Ok(want), Ok(have)) if want.is_finite() && have.is_finite() => {
            want == have || (want - have).abs() <= tolerance * want.abs().max(have.abs())
        }
        _ => false,
    }
}

/// A number in plain notation.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return None;
        }
        Some(Self {
            negative,
            whole: whole.trim_start_matches('0').to_owned(),
            fraction: fraction.to_owned(),
        })
    }

    /// Equal, or equal up to one unit in the last digit of the coarser of two different scales.
    fn agrees_with(&self, other: &Self) -> bool {
        let exact = |n: &Self| {
            let fraction = n.fraction.trim_end_matches('0').to_owned();
            let zero = n.whole.is_empty() && fraction.is_empty();
            (n.negative && !zero, n.whole.clone(), fraction)
        };
        if exact(self) == exact(other) {
            return true;
        }
        let scale = self.fraction.len().min(other.fraction.len());
        if self.fraction.len() == other.fraction.len() || scale < LEAST_ROUNDED_SCALE {
            return false;
        }
        match (self.scaled(scale), other.scaled(scale)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1,
            _ => false,
        }
    }

    /// The value times 10^scale, what is behind that cut off.
    fn scaled(&self, scale: usize) -> Option<i128> {
        let digits = format!("0{}{}", self.whole, &self.fraction[..scale]);
        let value: i128 = digits.parse().ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// Text columns first and numbers last and by value, so that a rounded digit does not move a row.
fn compare_for_sort(a: &[Option<String>], b: &[Option<String>]) -> std::cmp::Ordering {
    let is_number = |value: &Option<String>| {
        value
            .as_deref()
            .is_some_and(|text| text.parse::<f64>().is_ok())
    };
    let texts = |row: &[Option<String>]| -> Vec<Option<String>> {
        row.iter()
            .filter(|value| !is_number(value))
            .cloned()
            .collect()
    };
    let numbers = |row: &[Option<String>]| -> Vec<(f64, i128)> {
        row.iter()
            .flatten()
            .filter_map(|text| {
                let number: f64 = text.parse().ok()?;
                // Beyond 2^53 several whole numbers are one float. Below, `1` and `1.00` are one number.
                let is_large = number.abs() >= 9_007_199_254_740_992.0;
                let whole = is_large.then(|| text.parse().unwrap_or(0));
                Some((number, whole.unwrap_or(0)))
            })
            .collect()
    };
    let nulls = |row: &[Option<String>]| -> Vec<bool> { row.iter().map(Option::is_none).collect() };
    texts(a).cmp(&texts(b)).then_with(|| {
        numbers(a)
            .iter()
            .zip(&numbers(b))
            .map(|((x, whole_x), (y, whole_y))| x.total_cmp(y).then(whole_x.cmp(whole_y)))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
            // Where the NULLs stand tells apart what is left.
            .then_with(|| nulls(a).cmp(&nulls(b)))
    })
}

fn preview(rows: &Rows) -> String {
    let first: Vec<_> = rows.rows.iter().take(5).collect();
    format!("{first:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(want: &str, have: &str) -> bool {
        same_value(1700, Some(want), Some(have))
    }

    #[test]
    fn numbers_agree_up_to_the_coarser_scale() {
        assert!(same("25.5200000000000000", "25.520000"));
        assert!(same("0.3333333333333333", "0.333333"));
        assert!(same("0.66666666666666666667", "0.666667"));
        assert!(same("-0.00", "0"));
        assert!(same("10", "10.00"));
    }

    #[test]
    fn what_is_really_different_is_told() {
        assert!(!same("25.52", "25.53"));
        assert!(!same("0.33", "0.3333333"));
        assert!(!same("1995", "1996"));
        assert!(!same("abc", "abd"));
        assert!(!same("1e3", "1000"));
        assert!(!same("12345.6700", "12345.68"));
        assert!(!same_value(701, Some("NaN"), Some("1")));
        assert!(!same_value(25, Some(""), None));
    }

    #[test]
    fn order_counts_where_it_is_given() {
        let make = |values: &[&str]| Rows {
            columns: vec![crate::client::Column {
                name: "a".into(),
                type_oid: 25,
            }],
            rows: values
                .iter()
                .map(|value| vec![Some((*value).to_owned())])
                .collect(),
            tag: String::new(),
        };
        let (one, two) = (make(&["a", "b"]), make(&["b", "a"]));
        assert!(rows(&one, &two, Order::Any).is_ok());
        assert!(rows(&one, &two, Order::Given).is_err());
        assert!(rows(&one, &make(&["a"]), Order::Any).is_err());
        let pair = |cells: [Option<&str>; 4]| Rows {
            columns: ["a", "b"]
                .map(|name| crate::client::Column {
                    name: name.into(),
                    type_oid: 1700,
                })
                .to_vec(),
            rows: cells
                .chunks(2)
                .map(|row| row.iter().map(|c| c.map(str::to_owned)).collect())
                .collect(),
            tag: String::new(),
        };
        let (one, two) = (
            pair([None, Some("0"), Some("0"), None]),
            pair([Some("0"), None, None, Some("0")]),
        );
        assert!(rows(&one, &two, Order::Any).is_ok());
        let (one, two) = (
            pair([None, Some("1.00"), Some("1.00"), None]),
            pair([Some("1"), None, None, Some("1")]),
        );
        assert!(rows(&one, &two, Order::Any).is_ok());
        let large = ["9007199254740993", "9007199254740992"];
        let (one, two) = (make(&large), make(&[large[1], large[0]]));
        assert!(rows(&one, &two, Order::Any).is_ok());
    }
}
