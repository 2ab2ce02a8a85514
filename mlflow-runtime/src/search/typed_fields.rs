//! Fields of records, from which filters and orders are built.

use super::comparison::{Operand, Operator};
use super::field::{Field, FieldKind};
use super::filter::Filter;
use super::order::OrderBy;

/// Returns the latest value of a metric as a field.
///
/// ```
/// assert_eq!(mlflow::search::metric("val/loss").le(0.5).to_string(), "metrics.`val/loss` <= 0.5");
/// ```
#[must_use]
pub fn metric(key: impl Into<String>) -> NumberField {
    NumberField(Field {
        kind: FieldKind::Metric,
        key: key.into(),
    })
}

/// Returns a param as a field, which is compared as a text or as a number.
///
/// ```
/// use mlflow::search::param;
///
/// assert_eq!(param("lr").gt(0.1).to_string(), "params.`lr` > 0.1");
/// assert_eq!(param("model").like("res%").to_string(), "params.`model` LIKE 'res%'");
/// ```
#[must_use]
pub fn param(key: impl Into<String>) -> ParamField {
    ParamField(Field {
        kind: FieldKind::Param,
        key: key.into(),
    })
}

/// Returns a tag as a field.
///
/// ```
/// assert_eq!(mlflow::search::tag("model").eq("it's").to_string(), r#"tags.`model` = "it's""#);
/// ```
#[must_use]
pub fn tag(key: impl Into<String>) -> TagField {
    TagField(Field {
        kind: FieldKind::Tag,
        key: key.into(),
    })
}

/// Attributes of runs, experiments, registered models and model versions. Which of them a search knows stands
/// with each function.
pub mod attribute {
    use super::{Field, FieldKind, IdField, IntegerField, ListedTextField, TextField};

    fn listed(key: &str) -> ListedTextField {
        ListedTextField(Field {
            kind: FieldKind::Attribute,
            key: key.to_owned(),
        })
    }

    fn text(key: &str) -> TextField {
        TextField(Field {
            kind: FieldKind::Attribute,
            key: key.to_owned(),
        })
    }

    fn integer(key: &str) -> IntegerField {
        IntegerField(Field {
            kind: FieldKind::Attribute,
            key: key.to_owned(),
        })
    }

    /// Returns the id of a run. Also in searches of model versions.
    #[must_use]
    pub fn run_id() -> ListedTextField {
        listed("run_id")
    }

    /// Returns the name of a run.
    #[must_use]
    pub fn run_name() -> TextField {
        text("run_name")
    }

    /// Returns the status of a run, in capitals: `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
    #[must_use]
    pub fn status() -> TextField {
        text("status")
    }

    /// Returns the owner of a run.
    #[must_use]
    pub fn user_id() -> TextField {
        text("user_id")
    }

    /// Returns the URI of a run's artifacts.
    #[must_use]
    pub fn artifact_uri() -> TextField {
        text("artifact_uri")
    }

    /// Returns the start of a run, in ms since the Unix epoch.
    #[must_use]
    pub fn start_time() -> IntegerField {
        integer("start_time")
    }

    /// Returns the end of a run, in ms since the Unix epoch.
    #[must_use]
    pub fn end_time() -> IntegerField {
        integer("end_time")
    }

    /// Returns the name of an experiment, a registered model or a model version.
    #[must_use]
    pub fn name() -> ListedTextField {
        listed("name")
    }

    /// Returns the id of an experiment.
    #[must_use]
    pub fn experiment_id() -> IdField {
        IdField(Field {
            kind: FieldKind::Attribute,
            key: "experiment_id".to_owned(),
        })
    }

    /// Returns the creation time of an experiment, in ms since the Unix epoch.
    #[must_use]
    pub fn creation_time() -> IntegerField {
        integer("creation_time")
    }

    /// Returns the time of an experiment's last change, in ms since the Unix epoch.
    #[must_use]
    pub fn last_update_time() -> IntegerField {
        integer("last_update_time")
    }

    /// Returns the creation time of a model version, in ms since the Unix epoch; only for the order of a
    /// search.
    #[must_use]
    pub fn creation_timestamp() -> IntegerField {
        integer("creation_timestamp")
    }

    /// Returns the time of the last change of a registered model or a model version, in ms since the Unix
    /// epoch; only for the order of a search.
    #[must_use]
    pub fn last_updated_timestamp() -> IntegerField {
        integer("last_updated_timestamp")
    }

    /// Returns the number of a model version.
    #[must_use]
    pub fn version_number() -> IntegerField {
        integer("version_number")
    }

    /// Returns the URI of a model version's files.
    #[must_use]
    pub fn source_path() -> TextField {
        text("source_path")
    }
}

/// Attributes of the datasets that were logged as inputs of a run; one of the run's datasets has to match.
pub mod dataset {
    use super::{Field, FieldKind, ListedTextField};

    fn text(key: &str) -> ListedTextField {
        ListedTextField(Field {
            kind: FieldKind::Dataset,
            key: key.to_owned(),
        })
    }

    /// Returns the name of a dataset.
    #[must_use]
    pub fn name() -> ListedTextField {
        text("name")
    }

    /// Returns the digest of a dataset.
    #[must_use]
    pub fn digest() -> ListedTextField {
        text("digest")
    }

    /// Returns the purpose for which a run used a dataset, e.g. `training`.
    #[must_use]
    pub fn context() -> ListedTextField {
        text("context")
    }
}

/// Field that is compared as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberField(Field);

/// Field that is compared as an integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerField(Field);

/// Field that is compared as a text. Capitals matter, except for [`ilike`](Self::ilike).
///
/// A comparison that no store knows does not compile: every run has a status, and no list can be asked for.
///
/// ```compile_fail,E0599
/// let _ = mlflow::search::attribute::status().is_null();
/// ```
/// ```compile_fail,E0599
/// let _ = mlflow::search::attribute::status().one_of(["FAILED", "KILLED"]);
/// ```
/// ```
/// let _ = mlflow::search::attribute::status().ne("FAILED");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextField(Field);

/// Field that is compared as a text, also with a list of texts: the id of a run, the name of a record, or a dataset.
/// The name of an experiment is not compared with lists.
///
/// ```
/// let runs = mlflow::search::attribute::run_id().one_of(["a", "b"]);
/// assert_eq!(runs.to_string(), "run_id IN ('a', 'b')");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTextField(Field);

/// Id of an experiment, which is compared as a whole, also with a list of ids.
///
/// ```compile_fail,E0599
/// let _ = mlflow::search::attribute::experiment_id().like("1%");
/// ```
/// ```
/// let _ = mlflow::search::attribute::experiment_id().one_of(["1", "2"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdField(Field);

/// Tag, which is compared as a text, and which a record may lack. Registered models and model versions are not
/// searched for tags that they lack.
///
/// ```compile_fail,E0599
/// let _ = mlflow::search::tag("model").one_of(["a", "b"]);
/// ```
/// ```
/// let _ = mlflow::search::tag("model").is_null();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagField(Field);

/// Param, which is compared as a text or as a number; see [the module](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamField(Field);

/// Writes the methods that compare a field with numbers.
macro_rules! number_comparisons {
    ($($number:tt)+) => {
        /// Creates a filter: the field is equal to `number`.
        #[must_use]
        pub fn eq(self, number: $($number)+) -> Filter {
            self.compare(Operator::Equal, number)
        }

        /// Creates a filter: the field exists and differs from `number`. NaN differs from every number.
        #[must_use]
        pub fn ne(self, number: $($number)+) -> Filter {
            self.compare(Operator::NotEqual, number)
        }

        /// Creates a filter: the field is greater than `number`.
        #[must_use]
        pub fn gt(self, number: $($number)+) -> Filter {
            self.compare(Operator::Greater, number)
        }

        /// Creates a filter: the field is greater than or equal to `number`.
        #[must_use]
        pub fn ge(self, number: $($number)+) -> Filter {
            self.compare(Operator::GreaterOrEqual, number)
        }

        /// Creates a filter: the field is less than `number`.
        #[must_use]
        pub fn lt(self, number: $($number)+) -> Filter {
            self.compare(Operator::Less, number)
        }

        /// Creates a filter: the field is less than or equal to `number`.
        #[must_use]
        pub fn le(self, number: $($number)+) -> Filter {
            self.compare(Operator::LessOrEqual, number)
        }

        /// Creates an order: the smallest number first, then NaN, then records without the field.
        #[must_use]
        pub fn asc(self) -> OrderBy {
            OrderBy::field(self.0, false)
        }

        /// Creates an order: the greatest number first, then NaN, then records without the field.
        #[must_use]
        pub fn desc(self) -> OrderBy {
            OrderBy::field(self.0, true)
        }
    };
}

impl NumberField {
    number_comparisons!(impl Into<f64>);

    fn compare(self, operator: Operator, number: impl Into<f64>) -> Filter {
        Filter::comparison(self.0, operator, Operand::Float(number.into()))
    }
}

impl IntegerField {
    number_comparisons!(i64);

    fn compare(self, operator: Operator, number: i64) -> Filter {
        Filter::comparison(self.0, operator, Operand::Integer(number))
    }
}

/// Writes the methods that every field with texts has.
macro_rules! text_comparisons {
    () => {
        /// Creates a filter: the field is equal to `text`.
        #[must_use]
        pub fn eq(self, text: impl Into<String>) -> Filter {
            Filter::comparison(self.0, Operator::Equal, Operand::Text(text.into()))
        }

        /// Creates a filter: the field exists and differs from `text`.
        #[must_use]
        pub fn ne(self, text: impl Into<String>) -> Filter {
            Filter::comparison(self.0, Operator::NotEqual, Operand::Text(text.into()))
        }

        /// Creates an order: alphabetical, by the code points of Unicode; records without the field last.
        #[must_use]
        pub fn asc(self) -> OrderBy {
            OrderBy::field(self.0, false)
        }

        /// Creates an order: reversed alphabetical, by the code points of Unicode; records without the field
        /// last.
        #[must_use]
        pub fn desc(self) -> OrderBy {
            OrderBy::field(self.0, true)
        }
    };
}

/// Writes the methods that compare a field with patterns.
macro_rules! pattern_comparisons {
    () => {
        /// Creates a filter: the field matches `pattern`, in which `%` stands for any text and `_` for any
        /// character.
        #[must_use]
        pub fn like(self, pattern: impl Into<String>) -> Filter {
            Filter::comparison(self.0, Operator::Like, Operand::Text(pattern.into()))
        }

        /// Creates a filter like [`like`](Self::like), but with no difference between the capital and the
        /// small letters of ASCII.
        #[must_use]
        pub fn ilike(self, pattern: impl Into<String>) -> Filter {
            Filter::comparison(self.0, Operator::ILike, Operand::Text(pattern.into()))
        }
    };
}

/// Writes the methods that compare a field with lists.
macro_rules! list_comparisons {
    () => {
        /// Creates a filter: the field is one of `texts`.
        #[must_use]
        pub fn one_of<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Filter {
            let texts = texts.into_iter().map(Into::into).collect();
            Filter::comparison(self.0, Operator::In, Operand::List(texts))
        }

        /// Creates a filter: the field is none of `texts`.
        #[must_use]
        pub fn none_of<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Filter {
            let texts = texts.into_iter().map(Into::into).collect();
            Filter::comparison(self.0, Operator::NotIn, Operand::List(texts))
        }
    };
}

/// Writes the methods that ask if a record has a field.
macro_rules! presence_comparisons {
    () => {
        /// Creates a filter: the record has no such field. Servers before MLflow 3.11 do not know it.
        #[must_use]
        pub fn is_null(self) -> Filter {
            Filter::comparison(self.0, Operator::IsNull, Operand::Nothing)
        }

        /// Creates a filter: the record has such a field. Servers before MLflow 3.11 do not know it.
        #[must_use]
        pub fn is_not_null(self) -> Filter {
            Filter::comparison(self.0, Operator::IsNotNull, Operand::Nothing)
        }
    };
}

impl TextField {
    text_comparisons!();
    pattern_comparisons!();
}

impl ListedTextField {
    text_comparisons!();
    pattern_comparisons!();
    list_comparisons!();
}

impl IdField {
    text_comparisons!();
    list_comparisons!();
}

impl TagField {
    text_comparisons!();
    pattern_comparisons!();
    presence_comparisons!();
}

impl ParamField {
    text_comparisons!();
    pattern_comparisons!();
    presence_comparisons!();

    /// Creates a filter: the param is a number greater than `number`. A param that is not a number does not
    /// match.
    #[must_use]
    pub fn gt(self, number: impl Into<f64>) -> Filter {
        NumberField(self.0).gt(number)
    }

    /// Creates a filter: the param is a number greater than or equal to `number`.
    #[must_use]
    pub fn ge(self, number: impl Into<f64>) -> Filter {
        NumberField(self.0).ge(number)
    }

    /// Creates a filter: the param is a number less than `number`.
    #[must_use]
    pub fn lt(self, number: impl Into<f64>) -> Filter {
        NumberField(self.0).lt(number)
    }

    /// Creates a filter: the param is a number less than or equal to `number`.
    #[must_use]
    pub fn le(self, number: impl Into<f64>) -> Filter {
        NumberField(self.0).le(number)
    }
}
