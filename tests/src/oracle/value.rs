//! Values that the engine gives and values that the oracle expects.

/// A value of the engine's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer of any width.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
}

/// A value that the oracle expects.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Just this.
    Exact(Cell),
    /// A number no further than `slack` from `number`.
    Near {
        /// The number.
        number: f64,
        /// The distance allowed.
        slack: f64,
    },
    /// A number between two others, both included.
    Between {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
    },
}

impl Value {
    /// Whether the engine's value is the expected one.
    pub fn agrees(&self, cell: &Cell) -> bool {
        let number = match cell {
            Cell::Int(number) => Some(*number as f64),
            Cell::Float(number) => Some(*number),
            _ => None,
        };
        match (self, number) {
            // All NaNs are one value, and so are 0.0 and −0.0.
            (Self::Exact(Cell::Float(expected)), _) => match cell {
                Cell::Float(number) => number == expected || (number.is_nan() && expected.is_nan()),
                _ => false,
            },
            (Self::Exact(expected), _) => expected == cell,
            (Self::Near { number: wanted, .. }, Some(number)) if !wanted.is_finite() => {
                number == *wanted || (number.is_nan() && wanted.is_nan())
            }
            (
                Self::Near {
                    number: wanted,
                    slack,
                },
                Some(number),
            ) => (number - wanted).abs() <= *slack,
            (Self::Between { low, high }, Some(number)) => *low <= number && number <= *high,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_does_not_agree() {
        let near = Value::Near {
            number: 10.0,
            slack: 0.1,
        };
        assert!(near.agrees(&Cell::Float(10.05)));
        assert!(!near.agrees(&Cell::Float(10.2)));
        assert!(!near.agrees(&Cell::Float(f64::NAN)));
        assert!(!near.agrees(&Cell::Null));
        assert!(!Value::Exact(Cell::Float(0.0)).agrees(&Cell::Int(0)));
        assert!(!Value::Exact(Cell::Null).agrees(&Cell::Int(0)));
        let infinite = Value::Near {
            number: f64::INFINITY,
            slack: f64::INFINITY,
        };
        assert!(!infinite.agrees(&Cell::Float(1.0)));
    }
}
