//! `sum` with PostgreSQL's result types, over the engine's own accumulators.
//!
//! | argument | result |
//! | --- | --- |
//! | smallint, integer | bigint |
//! | bigint | numeric |
//! | numeric(p,s) | numeric, wide enough that no sum overflows |
//! | real, double precision | double precision |
//!
//! Where the result is wider than the argument, each batch is cast once and then added as usual.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, Volatility,
};
use sluice_spi::types::{PG_TYPE, pg_type};
use sluice_spi::{Error, SqlState};

/// Digits that a sum may have more than its largest addend: ten thousand million rows.
const ROOM_FOR_ROWS: u8 = 10;

/// The aggregate.
pub(super) fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(PgSum {
        engine: Sum::new(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgSum {
    engine: Sum,
    signature: Signature,
}

impl AggregateUDFImpl for PgSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = arg_types else {
            return Err(no_such_sum(arg_types));
        };
        Ok(vec![match argument {
            DataType::Null => DataType::Int64,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Float16 | DataType::Float32 => DataType::Float64,
            number if number.is_numeric() => number.clone(),
            DataType::Interval(_) | DataType::Duration(_) => argument.clone(),
            _ => return Err(no_such_sum(arg_types)),
        }])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match &arg_types[0] {
            DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
            DataType::Int64 | DataType::UInt64 => DataType::Decimal128(38, 0),
            DataType::Decimal128(p, s) if *p <= 38 - ROOM_FOR_ROWS => {
                DataType::Decimal128(p + ROOM_FOR_ROWS, *s)
            }
            DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => DataType::Decimal256(76, *s),
            other => other.clone(),
        })
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let argument = arg_fields[0].as_ref();
        let result = self.return_type(&[argument.data_type().clone()])?;
        let numeric = matches!(argument.data_type(), DataType::Int64 | DataType::UInt64)
            || pg_type(argument) == Some("numeric");
        let field = Field::new(self.name(), result, true);
        Ok(Arc::new(if numeric {
            field.with_metadata([(PG_TYPE.to_owned(), "numeric".to_owned())].into())
        } else {
            field
        }))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let to = widened(&args);
        let inner = self.engine.accumulator(args)?;
        Ok(wrap(inner, to))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let to = widened(&args);
        let inner = self.engine.create_sliding_accumulator(args)?;
        Ok(wrap(inner, to))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.engine.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let to = widened(&args);
        let inner = self.engine.create_groups_accumulator(args)?;
        Ok(match to {
            Some(to) => Box::new(WideningGroups { inner, to }),
            None => inner,
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn no_such_sum(types: &[DataType]) -> datafusion::error::DataFusionError {
    let types: Vec<String> = types
        .iter()
        .map(|t| {
            crate::pg_catalog::pg_types::pg_type_of(&Field::new("", t.clone(), true)).display()
        })
        .collect();
    Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("function sum({}) does not exist", types.join(", ")),
    )
    .with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
    .into()
}

/// The result's type, where the argument is narrower.
fn widened(args: &AccumulatorArgs<'_>) -> Option<DataType> {
    let result = args.return_field.data_type();
    let same = match (args.expr_fields[0].data_type(), result) {
        // Only the number of digits differs, not the layout.
        (DataType::Decimal128(_, s), DataType::Decimal128(_, r)) => s == r,
        (DataType::Decimal256(_, s), DataType::Decimal256(_, r)) => s == r,
        (argument, result) => argument == result,
    };
    (!same).then(|| result.clone())
}

fn wrap(inner: Box<dyn Accumulator>, to: Option<DataType>) -> Box<dyn Accumulator> {
    match to {
        Some(to) => Box::new(Widening { inner, to }),
        None => inner,
    }
}

/// Casts what is added to the sum's own type.
#[derive(Debug)]
struct Widening {
    inner: Box<dyn Accumulator>,
    to: DataType,
}

impl Accumulator for Widening {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&[cast(&values[0], &self.to)?])
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&[cast(&values[0], &self.to)?])
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The same for many groups at once.
struct WideningGroups {
    inner: Box<dyn GroupsAccumulator>,
    to: DataType,
}

impl GroupsAccumulator for WideningGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let wide = cast(&values[0], &self.to)?;
        self.inner
            .update_batch(&[wide], group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.inner
            .merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner
            .convert_to_state(&[cast(&values[0], &self.to)?], opt_filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
