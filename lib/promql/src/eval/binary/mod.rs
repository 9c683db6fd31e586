//! Binary operators.

mod element;
mod matching;
mod sets;

use super::{EvalError, Grid, evaluator::Evaluator};
use crate::{
    ast::{Binary, BinaryOp, ByteRange, Expr},
    types::ValueType,
    value::{Column, Series},
};
pub(super) use element::Operation;

/// Which operand a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScalarSide {
    Left,
    Right,
}

impl<'a> Evaluator<'a> {
    /// An operator between scalars.
    pub(super) fn binary_scalars(
        &mut self,
        binary: &Binary,
        grid: Grid,
    ) -> Result<Vec<f64>, EvalError> {
        let mut left = self.scalar(&binary.lhs, grid)?;
        let right = self.scalar(&binary.rhs, grid)?;
        for (left, right) in left.iter_mut().zip(&right) {
            *left = element::scalar_operation(binary.op, *left, *right);
        }
        Ok(left)
    }

    /// An operator with at least one instant vector.
    pub(super) fn binary_vector(
        &mut self,
        expr: &Expr,
        binary: &Binary,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
        let marked = self.marks_resets;
        // Trimming needs buckets, so that resets show by themselves.
        self.marks_resets &= !matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let result = if is_scalar(&binary.lhs) {
            self.vector_scalar(expr.range, binary, ScalarSide::Left, grid)
        } else if is_scalar(&binary.rhs) {
            self.vector_scalar(expr.range, binary, ScalarSide::Right, grid)
        } else {
            self.vector_vector(expr.range, binary, grid)
        };
        self.marks_resets = marked;
        result
    }

    fn vector_scalar(
        &mut self,
        range: ByteRange,
        binary: &Binary,
        side: ScalarSide,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let (scalar, vector) = match side {
            ScalarSide::Left => (&binary.lhs, &binary.rhs),
            ScalarSide::Right => (&binary.rhs, &binary.lhs),
        };
        let scalar = Column::from_floats(self.scalar(scalar, grid)?);
        let mut vector = self.vector(vector, grid)?;
        let operation = Operation { op: binary.op, return_bool: binary.return_bool, range };
        for series in &mut vector {
            let column = std::mem::take(&mut series.column);
            series.column = match side {
                ScalarSide::Left => {
                    // A filter keeps the vector's value, whichever side it stands on.
                    operation.columns(&scalar, &column, true, &mut self.annotations)
                }
                ScalarSide::Right => {
                    operation.columns(&column, &scalar, false, &mut self.annotations)
                }
            };
        }
        vector.retain(|series| series.column.has_samples());
        if operation.drops_name() { self.drop_names(vector) } else { Ok(vector) }
    }

    fn vector_vector(
        &mut self,
        range: ByteRange,
        binary: &Binary,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let left = self.vector(&binary.lhs, grid)?;
        let right = self.vector(&binary.rhs, grid)?;
        let matching = binary.matching.as_ref().expect("BUG: vectors without matching");
        self.check_cancelled()?;
        if binary.op.is_set() {
            let sides = sets::Sides { left, right };
            return sets::combine(binary.op, matching, sides, grid);
        }
        let operation = Operation { op: binary.op, return_bool: binary.return_bool, range };
        let join = matching::Join {
            operation,
            matching,
            grid,
            is_delayed: self.options.has_delayed_name_removal,
            sees_part: self.options.sees_part,
        };
        join.run(&left, &right, &mut self.annotations)
    }
}
