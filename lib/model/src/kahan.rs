//! Sums that keep the digits a plain float sum loses.

/// A running sum with Neumaier's variant of Kahan's compensation.
///
/// Equal additions in equal order give equal bits everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KahanSum {
    /// The sum as plain floats add up.
    pub sum: f64,
    /// What `sum` has lost. Zero once `sum` is infinite.
    pub lost: f64,
}

impl KahanSum {
    /// A sum that starts with `value`.
    pub const fn new(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    /// Adds another running sum.
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.lost += other.lost;
        }
    }

    /// The sum with what was lost.
    pub fn value(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_large_ones() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn infinities_stay_infinite() {
        let mut sum = KahanSum::new(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NEG_INFINITY);
        assert!(sum.value().is_nan());
    }
}
