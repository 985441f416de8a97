//! Variance and standard deviation, covariance, correlation and linear regression.
//!
//! The states are power sums around a centre: `n`, Σ(x − c), Σ(x − c)². That needs no
//! division for a row, and no cancellation happens while the centre lies near the mean.
//! The centre is the first value, then the mean whenever `n` reaches a power of 16.
//!
//! Why that is near enough: if c is the mean of m of the n values, these m alone give
//! M₂ ≥ m·(c − mean)². What is subtracted, n·(c − mean)², is thus at most n/m ≤ 16
//! times the result, and at most 16 times its rounding error is added.
//!
//! Where there are infinities, means are those of `avg` and spreads are NaN.
//!
//! Sources: Chan, Golub, LeVeque, The American Statistician 37(3) 1983 (shifted data,
//! combination); Pébay, SAND2008-6212 (co-moments).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Float64Type, UInt64Type};

use super::Rows;
use super::fold::{Fold, column, valid, values};
use super::saved::Saved;
use crate::error::Result;

/// A quarter of the binary logarithm: it rises where `n` reaches a power of 16.
#[inline(always)]
fn level(n: u64) -> u32 {
    (n | 1).ilog2() / 4
}

/// Whether the `n`-th row takes `n` to a power of 16.
#[inline(always)]
fn rises_at(n: u64) -> bool {
    n & (n - 1) == 0 && level(n) != level(n - 1)
}

/// The sum of squares around the mean, from the sums around a centre.
#[inline(always)]
fn around_mean(n: f64, sum: f64, squares: f64) -> f64 {
    if squares == f64::INFINITY && sum.is_finite() {
        return squares;
    }
    let m2 = squares - sum * (sum / n);
    // NaN stays; rounding alone cannot make a spread negative.
    if m2 < 0.0 { 0.0 } else { m2 }
}

/// A centre for sums that start with `x`. An infinite centre would turn even the mean
/// of equal infinities into NaN.
#[inline(always)]
fn centre_of(x: f64) -> f64 {
    if x.is_finite() { x } else { 0.0 }
}

/// Power sums of one column around a centre.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    n: u64,
    centre: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    #[inline(always)]
    fn add(&mut self, x: f64) {
        if self.n == 0 {
            self.centre = centre_of(x);
        }
        self.n += 1;
        let d = x - self.centre;
        self.sum += d;
        self.squares += d * d;
        if rises_at(self.n) {
            *self = self.recentred();
        }
    }

    fn m2(&self) -> f64 {
        around_mean(self.n as f64, self.sum, self.squares)
    }

    /// The same sums around the mean. By value, so that the loop over the rows can
    /// keep the sums in registers.
    #[cold]
    fn recentred(self) -> Self {
        let m2 = self.m2();
        let mean = self.centre + self.sum / self.n as f64;
        if mean.is_finite() && m2.is_finite() {
            Self {
                n: self.n,
                centre: mean,
                sum: 0.0,
                squares: m2,
            }
        } else {
            self
        }
    }

    /// The same sums around another centre.
    #[inline(always)]
    fn around(&self, centre: f64) -> Self {
        let n = self.n as f64;
        let d = self.centre - centre;
        Self {
            n: self.n,
            centre,
            sum: self.sum + n * d,
            squares: self.squares + d * (2.0 * self.sum + n * d),
        }
    }

    #[inline(always)]
    fn merge(&mut self, other: Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = other;
            return;
        }
        // The centre of the larger part is the better one for the whole.
        let (large, small) = if self.n >= other.n {
            (*self, other)
        } else {
            (other, *self)
        };
        let small = small.around(large.centre);
        *self = Self {
            n: large.n + small.n,
            centre: large.centre,
            sum: large.sum + small.sum,
            squares: large.squares + small.squares,
        };
        if level(self.n) != level(large.n) {
            *self = self.recentred();
        }
    }
}

/// What is asked of the moments of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    /// Divides by n − 1 and needs two values.
    pub(super) sample: bool,
    /// Takes the square root.
    pub(super) root: bool,
}

impl Spread {
    fn of(&self, moments: &Moments) -> Option<f64> {
        let divisor = moments.n.saturating_sub(u64::from(self.sample));
        if divisor == 0 {
            return None;
        }
        let variance = moments.m2() / divisor as f64;
        Some(if self.root { variance.sqrt() } else { variance })
    }
}

impl Fold for Spread {
    type Slot = Moments;
    type Value = f64;
    type Columns<'a> = &'a [f64];

    const EMPTY: Moments = Moments {
        n: 0,
        centre: 0.0,
        sum: 0.0,
        squares: 0.0,
    };
    const SAVED: usize = 4;

    fn columns<'a>(&self, rows: &Rows<'a>) -> &'a [f64] {
        values::<Float64Type>(rows, 0)
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 1)
    }

    #[inline(always)]
    fn add(slot: &mut Moments, value: f64) {
        slot.add(value);
    }

    #[inline(always)]
    fn merge(into: &mut Moments, from: Moments) {
        into.merge(from);
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluate(&self, slots: &[Moments]) -> ArrayRef {
        Arc::new((slots.iter().map(|slot| self.of(slot))).collect::<Float64Array>())
    }

    fn save(&self, slots: &[Moments]) -> Vec<ArrayRef> {
        let floats = |of: fn(&Moments) -> f64| column::<Float64Type>(slots.iter().map(of));
        vec![
            column::<UInt64Type>(slots.iter().map(|slot| slot.n)),
            floats(|slot| slot.centre),
            floats(|slot| slot.sum),
            floats(|slot| slot.squares),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<Moments>> {
        let n = saved.values::<UInt64Type>(0)?;
        let centre = saved.values::<Float64Type>(1)?;
        let sum = saved.values::<Float64Type>(2)?;
        let squares = saved.values::<Float64Type>(3)?;
        Ok((0..n.len())
            .map(|row| Moments {
                n: n[row],
                centre: centre[row],
                sum: sum[row],
                squares: squares[row],
            })
            .collect())
    }
}

/// Power sums of two columns around two centres: one cache line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CoMoments {
    x: Moments,
    y_centre: f64,
    y_sum: f64,
    y_squares: f64,
    products: f64,
}

impl CoMoments {
    #[inline(always)]
    fn add(&mut self, x: f64, y: f64) {
        if self.x.n == 0 {
            self.x.centre = centre_of(x);
            self.y_centre = centre_of(y);
        }
        self.x.n += 1;
        let dx = x - self.x.centre;
        let dy = y - self.y_centre;
        self.x.sum += dx;
        self.y_sum += dy;
        self.x.squares += dx * dx;
        self.y_squares += dy * dy;
        self.products += dx * dy;
        if rises_at(self.x.n) {
            *self = self.recentred();
        }
    }

    fn y(&self) -> Moments {
        Moments {
            n: self.x.n,
            centre: self.y_centre,
            sum: self.y_sum,
            squares: self.y_squares,
        }
    }

    /// Σ(x − mean of x)(y − mean of y).
    fn co_moment(&self) -> f64 {
        self.products - self.x.sum * (self.y_sum / self.x.n as f64)
    }

    fn mean_x(&self) -> f64 {
        self.x.centre + self.x.sum / self.x.n as f64
    }

    fn mean_y(&self) -> f64 {
        self.y_centre + self.y_sum / self.x.n as f64
    }

    #[cold]
    fn recentred(self) -> Self {
        let (x, y) = (self.x.recentred(), self.y().recentred());
        let products = self.co_moment();
        // Both or neither: the products belong to both centres.
        if x.sum == 0.0 && y.sum == 0.0 && products.is_finite() {
            Self::of(x, y, products)
        } else {
            self
        }
    }

    fn of(x: Moments, y: Moments, products: f64) -> Self {
        Self {
            x,
            y_centre: y.centre,
            y_sum: y.sum,
            y_squares: y.squares,
            products,
        }
    }

    #[inline(always)]
    fn merge(&mut self, other: Self) {
        if other.x.n == 0 {
            return;
        }
        if self.x.n == 0 {
            *self = other;
            return;
        }
        let (large, small) = if self.x.n >= other.x.n {
            (*self, other)
        } else {
            (other, *self)
        };
        let x = small.x.around(large.x.centre);
        let y = small.y().around(large.y_centre);
        let (dx, dy) = (small.x.centre - x.centre, small.y_centre - y.centre);
        let products =
            small.products + dx * small.y_sum + dy * small.x.sum + small.x.n as f64 * dx * dy;
        *self = Self {
            x: Moments {
                n: large.x.n + x.n,
                centre: large.x.centre,
                sum: large.x.sum + x.sum,
                squares: large.x.squares + x.squares,
            },
            y_centre: large.y_centre,
            y_sum: large.y_sum + y.sum,
            y_squares: large.y_squares + y.squares,
            products: large.products + products,
        };
        if level(self.x.n) != level(large.x.n) {
            *self = self.recentred();
        }
    }
}

/// What is asked of two columns. The names are those of the SQL functions, whose
/// arguments are `(y, x)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    CovarPop,
    CovarSamp,
    Corr,
    Slope,
    Intercept,
    R2,
    Count,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
}

impl Relation {
    fn of(self, sums: &CoMoments) -> Option<f64> {
        let n = sums.x.n;
        if n == 0 {
            return None;
        }
        let line = || {
            let sxx = sums.x.m2();
            (n > 1 && sxx != 0.0).then(|| sums.co_moment() / sxx)
        };
        match self {
            Self::CovarPop => Some(sums.co_moment() / n as f64),
            Self::CovarSamp => (n > 1).then(|| sums.co_moment() / (n - 1) as f64),
            Self::Corr => correlation(sums),
            Self::Slope => line(),
            Self::Intercept => line().map(|slope| sums.mean_y() - slope * sums.mean_x()),
            Self::R2 => {
                let (sxx, syy) = (sums.x.m2(), sums.y().m2());
                let sxy = sums.co_moment();
                (n > 1 && sxx != 0.0 && syy != 0.0).then(|| (sxy / sxx) * (sxy / syy))
            }
            Self::Count => Some(n as f64),
            Self::AvgX => Some(sums.mean_x()),
            Self::AvgY => Some(sums.mean_y()),
            Self::Sxx => Some(sums.x.m2()),
            Self::Syy => Some(sums.y().m2()),
            Self::Sxy => Some(sums.co_moment()),
        }
    }
}

/// NaN where both columns hold NaN, NULL where only one does, as in DataFusion.
fn correlation(sums: &CoMoments) -> Option<f64> {
    let (mean_x, mean_y) = (sums.mean_x(), sums.mean_y());
    if mean_x.is_nan() && mean_y.is_nan() {
        return Some(f64::NAN);
    }
    if sums.x.n < 2 || mean_x.is_nan() || mean_y.is_nan() {
        return None;
    }
    let (x, y) = (sums.x.m2().sqrt(), sums.y().m2().sqrt());
    (x != 0.0 && y != 0.0).then(|| sums.co_moment() / x / y)
}

impl Fold for Relation {
    type Slot = CoMoments;
    type Value = (f64, f64);
    type Columns<'a> = (&'a [f64], &'a [f64]);

    const EMPTY: CoMoments = CoMoments {
        x: Spread::EMPTY,
        y_centre: 0.0,
        y_sum: 0.0,
        y_squares: 0.0,
        products: 0.0,
    };
    const SAVED: usize = 8;

    fn columns<'a>(&self, rows: &Rows<'a>) -> Self::Columns<'a> {
        (
            values::<Float64Type>(rows, 0),
            values::<Float64Type>(rows, 1),
        )
    }

    fn selection(&self, rows: &Rows<'_>) -> Option<BooleanBuffer> {
        valid(rows, 2)
    }

    #[inline(always)]
    fn add(slot: &mut CoMoments, (y, x): (f64, f64)) {
        slot.add(x, y);
    }

    #[inline(always)]
    fn merge(into: &mut CoMoments, from: CoMoments) {
        into.merge(from);
    }

    fn return_type(&self) -> DataType {
        match self {
            Self::Count => DataType::UInt64,
            _ => DataType::Float64,
        }
    }

    fn evaluate(&self, slots: &[CoMoments]) -> ArrayRef {
        if *self == Self::Count {
            return column::<UInt64Type>(slots.iter().map(|slot| slot.x.n));
        }
        Arc::new((slots.iter().map(|slot| self.of(slot))).collect::<Float64Array>())
    }

    fn save(&self, slots: &[CoMoments]) -> Vec<ArrayRef> {
        let floats = |of: fn(&CoMoments) -> f64| column::<Float64Type>(slots.iter().map(of));
        vec![
            column::<UInt64Type>(slots.iter().map(|slot| slot.x.n)),
            floats(|slot| slot.x.centre),
            floats(|slot| slot.x.sum),
            floats(|slot| slot.x.squares),
            floats(|slot| slot.y_centre),
            floats(|slot| slot.y_sum),
            floats(|slot| slot.y_squares),
            floats(|slot| slot.products),
        ]
    }

    fn load(&self, saved: Saved<'_>) -> Result<Vec<CoMoments>> {
        let n = saved.values::<UInt64Type>(0)?;
        let floats = (1..Self::SAVED)
            .map(|column| saved.values::<Float64Type>(column))
            .collect::<Result<Vec<_>>>()?;
        Ok((0..n.len())
            .map(|row| CoMoments {
                x: Moments {
                    n: n[row],
                    centre: floats[0][row],
                    sum: floats[1][row],
                    squares: floats[2][row],
                },
                y_centre: floats[3][row],
                y_sum: floats[4][row],
                y_squares: floats[5][row],
                products: floats[6][row],
            })
            .collect())
    }
}
