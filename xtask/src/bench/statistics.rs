//! One figure from many.

/// The middle of `values`, or the mean of the two in the middle; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => sorted.get(middle).copied(),
        _ => Some(f64::midpoint(*sorted.get(middle - 1)?, *sorted.get(middle)?)),
    }
}

/// How far the values lie apart: half the distance of the quartiles, as a part of the median.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    let low = sorted.get(quarter)?;
    let high = sorted.get(sorted.len() - 1 - quarter)?;
    Some((high - low) / 2.0 / median(values)?)
}

/// The geometric mean; `None` of none.
pub(crate) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::{geometric_mean, median, spread};

    #[test]
    fn the_median_ignores_one_outlier() {
        assert_eq!(median(&[3.0, 1.0, 1000.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn equal_values_have_no_spread() {
        assert_eq!(spread(&[5.0; 9]), Some(0.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_ratio_and_its_inverse_cancel_out() {
        let mean = geometric_mean(&[4.0, 0.25]).unwrap();
        assert!((mean - 1.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[]), None);
    }
}
