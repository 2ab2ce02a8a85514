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
///
/// ```
/// use mlflow::search::attribute;
///
/// // Runs.
/// let nightly = attribute::run_name().like("nightly-%")
///     & attribute::status().eq("FINISHED")
///     & attribute::user_id().ne("ada")
///     & attribute::artifact_uri().like("s3://%")
///     & attribute::start_time().ge(1_700_000_000_000)
///     & attribute::end_time().lt(1_700_086_400_000);
/// assert_eq!(
///     nightly.to_string(),
///     "run_name LIKE 'nightly-%' AND status = 'FINISHED' AND user_id != 'ada' AND artifact_uri LIKE 's3://%' \
///      AND start_time >= 1700000000000 AND end_time < 1700086400000"
/// );
/// assert_eq!(attribute::run_id().one_of(["a", "b"]).to_string(), "run_id IN ('a', 'b')");
///
/// // Experiments.
/// let recent = attribute::name().ilike("wine%")
///     & attribute::experiment_id().ne("0")
///     & attribute::creation_time().gt(1_700_000_000_000);
/// assert_eq!(
///     recent.to_string(),
///     "name ILIKE 'wine%' AND experiment_id != '0' AND creation_time > 1700000000000"
/// );
/// assert_eq!(attribute::last_update_time().desc().to_string(), "last_update_time DESC");
///
/// // Model versions.
/// let first_ones = attribute::version_number().le(3) & attribute::source_path().like("s3://%");
/// assert_eq!(first_ones.to_string(), "version_number <= 3 AND source_path LIKE 's3://%'");
/// assert_eq!(attribute::creation_timestamp().asc().to_string(), "creation_timestamp ASC");
/// assert_eq!(attribute::last_updated_timestamp().desc().to_string(), "last_updated_timestamp DESC");
/// ```
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
///
/// ```
/// use mlflow::search::dataset;
///
/// let trained_on_wine = dataset::name().eq("wine") & dataset::context().eq("training") & dataset::digest().ne("v6");
/// assert_eq!(
///     trained_on_wine.to_string(),
///     "datasets.`name` = 'wine' AND datasets.`context` = 'training' AND datasets.`digest` != 'v6'"
/// );
/// ```
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
///
/// ```
/// use mlflow::search::metric;
///
/// let good = metric("rmse").gt(0.1) & metric("rmse").le(0.7) & metric("epochs").ge(10) & metric("epochs").lt(100);
/// assert_eq!(
///     good.to_string(),
///     "metrics.`rmse` > 0.1 AND metrics.`rmse` <= 0.7 AND metrics.`epochs` >= 10 AND metrics.`epochs` < 100"
/// );
/// let sound = metric("failures").eq(0) & metric("gpus").ne(3);
/// assert_eq!(sound.to_string(), "metrics.`failures` = 0 AND metrics.`gpus` != 3");
/// assert_eq!(metric("rmse").asc().to_string(), "metrics.`rmse` ASC");
/// assert_eq!(metric("accuracy").desc().to_string(), "metrics.`accuracy` DESC");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberField(Field);

/// Field that is compared as an integer.
///
/// ```
/// use mlflow::search::attribute::{start_time, version_number};
///
/// let day = start_time().ge(1_700_000_000_000) & start_time().lt(1_700_086_400_000);
/// assert_eq!(day.to_string(), "start_time >= 1700000000000 AND start_time < 1700086400000");
/// let middle = version_number().gt(1) & version_number().le(9) & version_number().ne(4);
/// assert_eq!(middle.to_string(), "version_number > 1 AND version_number <= 9 AND version_number != 4");
/// assert_eq!(version_number().eq(7).to_string(), "version_number = 7");
/// assert_eq!(start_time().asc().to_string(), "start_time ASC");
/// assert_eq!(start_time().desc().to_string(), "start_time DESC");
/// ```
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
/// use mlflow::search::attribute::{run_name, status};
///
/// let kept = status().ne("FAILED") & run_name().like("fit-%") & run_name().ilike("%final%");
/// assert_eq!(kept.to_string(), "status != 'FAILED' AND run_name LIKE 'fit-%' AND run_name ILIKE '%final%'");
/// assert_eq!(run_name().eq("baseline").to_string(), "run_name = 'baseline'");
/// assert_eq!(run_name().asc().to_string(), "run_name ASC");
/// assert_eq!(run_name().desc().to_string(), "run_name DESC");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextField(Field);

/// Field that is compared as a text, also with a list of texts: the id of a run, the name of a record, or a dataset.
/// The name of an experiment is not compared with lists.
///
/// ```
/// use mlflow::search::{attribute, dataset};
///
/// let runs = attribute::run_id().one_of(["a", "b"]);
/// assert_eq!(runs.to_string(), "run_id IN ('a', 'b')");
/// let others = dataset::name().none_of(["wine", "digits"]) & dataset::digest().ne("v6");
/// assert_eq!(others.to_string(), "datasets.`name` NOT IN ('wine', 'digits') AND datasets.`digest` != 'v6'");
/// let like = attribute::name().like("wine/%") & attribute::name().ilike("%red%");
/// assert_eq!(like.to_string(), "name LIKE 'wine/%' AND name ILIKE '%red%'");
/// assert_eq!(attribute::name().eq("wine").to_string(), "name = 'wine'");
/// assert_eq!(attribute::name().asc().to_string(), "name ASC");
/// assert_eq!(attribute::name().desc().to_string(), "name DESC");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTextField(Field);

/// Id of an experiment, which is compared as a whole, also with a list of ids.
///
/// ```compile_fail,E0599
/// let _ = mlflow::search::attribute::experiment_id().like("1%");
/// ```
/// ```
/// use mlflow::search::attribute::experiment_id;
///
/// assert_eq!(experiment_id().one_of(["1", "2"]).to_string(), "experiment_id IN ('1', '2')");
/// assert_eq!(experiment_id().none_of(["0"]).to_string(), "experiment_id NOT IN ('0')");
/// assert_eq!((experiment_id().eq("1") & experiment_id().ne("2")).to_string(), "experiment_id = '1' AND experiment_id != '2'");
/// assert_eq!(experiment_id().asc().to_string(), "experiment_id ASC");
/// assert_eq!(experiment_id().desc().to_string(), "experiment_id DESC");
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
/// use mlflow::search::tag;
///
/// assert_eq!(tag("model").is_null().to_string(), "tags.`model` IS NULL");
/// assert_eq!(tag("model").is_not_null().to_string(), "tags.`model` IS NOT NULL");
/// assert_eq!((tag("stage").eq("dev") & tag("team").ne("qa")).to_string(), "tags.`stage` = 'dev' AND tags.`team` != 'qa'");
/// assert_eq!((tag("host").like("gpu-%") & tag("host").ilike("%A100%")).to_string(),
///     "tags.`host` LIKE 'gpu-%' AND tags.`host` ILIKE '%A100%'");
/// assert_eq!(tag("stage").asc().to_string(), "tags.`stage` ASC");
/// assert_eq!(tag("stage").desc().to_string(), "tags.`stage` DESC");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagField(Field);

/// Param, which is compared as a text or as a number; see [the module](super).
///
/// ```
/// use mlflow::search::param;
///
/// let by_number = param("lr").gt(0.001) & param("lr").le(0.1) & param("epochs").ge(10) & param("epochs").lt(100);
/// assert_eq!(
///     by_number.to_string(),
///     "params.`lr` > 0.001 AND params.`lr` <= 0.1 AND params.`epochs` >= 10 AND params.`epochs` < 100"
/// );
/// let by_text = param("model").eq("resnet") & param("optimizer").ne("sgd") & param("data").like("s3://%");
/// assert_eq!(
///     by_text.to_string(),
///     "params.`model` = 'resnet' AND params.`optimizer` != 'sgd' AND params.`data` LIKE 's3://%'"
/// );
/// assert_eq!(param("model").ilike("RES%").to_string(), "params.`model` ILIKE 'RES%'");
/// assert_eq!(param("seed").is_null().to_string(), "params.`seed` IS NULL");
/// assert_eq!(param("seed").is_not_null().to_string(), "params.`seed` IS NOT NULL");
/// assert_eq!(param("lr").asc().to_string(), "params.`lr` ASC");
/// assert_eq!(param("lr").desc().to_string(), "params.`lr` DESC");
/// ```
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
