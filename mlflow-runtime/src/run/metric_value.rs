//! Types that the functions and macros accept as the value and the step of a metric.
//!
//! Invariant: no number is refused because of its type. A number that MLflow cannot store exactly becomes the
//! nearest number that MLflow can store.

/// Value of a metric: any number, or a `bool` as 0 or 1. References to such values are accepted, too. MLflow
/// stores doubles, so integers of more than 53 significant bits are rounded. See
/// [`log_metric()`](crate::log_metric) for an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a metric's value",
    note = "a metric's value is a number or a `bool`"
)]
pub trait MetricValue {
    /// Returns the value as a double.
    fn as_metric(&self) -> f64;
}

/// Step of a metric: any integer, or a reference to one. MLflow stores signed 64-bit integers, so an integer
/// beyond their range becomes the nearest one in it. See [`log_metric_at()`](crate::log_metric_at) for an
/// example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a step",
    note = "a step is an integer"
)]
pub trait Step {
    /// Returns the step as a signed 64-bit integer.
    fn as_step(&self) -> i64;
}

macro_rules! number {
    ($($integer:ty)*) => {$(
        impl MetricValue for $integer {
            #[inline]
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless)] // documented on the trait
            fn as_metric(&self) -> f64 {
                *self as f64
            }
        }

        impl Step for $integer {
            #[inline]
            #[allow(irrefutable_let_patterns)] // refutable for some of the types
            fn as_step(&self) -> i64 {
                // Unsigned types can only be too large; signed 128-bit integers may also be too small.
                i64::try_from(*self).unwrap_or(if *self > 0 { i64::MAX } else { i64::MIN })
            }
        }
    )*};
}

number!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl MetricValue for f32 {
    #[inline]
    fn as_metric(&self) -> f64 {
        f64::from(*self)
    }
}

impl MetricValue for f64 {
    #[inline]
    fn as_metric(&self) -> f64 {
        *self
    }
}

impl MetricValue for bool {
    #[inline]
    fn as_metric(&self) -> f64 {
        f64::from(u8::from(*self))
    }
}

impl<T: MetricValue + ?Sized> MetricValue for &T {
    #[inline]
    fn as_metric(&self) -> f64 {
        (**self).as_metric()
    }
}

impl<T: Step + ?Sized> Step for &T {
    #[inline]
    fn as_step(&self) -> i64 {
        (**self).as_step()
    }
}
