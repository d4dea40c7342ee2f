//! Arithmetic on measurements.

/// The middle one; of an even number the mean of the two in the middle. None of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[middle - 1], upper)) }
}

/// The median where every one of them is known.
pub fn known_median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    median(&values.collect::<Option<Vec<f64>>>()?)
}

/// How many times `of` is `value`; none where it is nothing.
pub fn ratio(value: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| value / of)
}

/// Rounded to so many digits after the point, for JSON that people read too.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn one_unknown_leaves_the_median_unknown() {
        assert_eq!(known_median([Some(1.0), None].into_iter()), None);
        assert_eq!(known_median([Some(1.0)].into_iter()), Some(1.0));
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(1.0, 4.0), Some(0.25));
    }

    #[test]
    fn rounds_to_digits() {
        assert_eq!(rounded(1.236, 2), 1.24);
    }
}
