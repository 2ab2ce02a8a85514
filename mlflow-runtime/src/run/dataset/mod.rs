//! [`Dataset`]: the description of data that runs use, as a builder.
//!
//! Invariant: a dataset copies no data. A file is not touched before the dataset is logged, of an array only its shape
//! and the hashes of its first elements are kept, and the columns of a frame are shared.

mod array;
mod column;
#[cfg(feature = "polars")]
mod frame;
mod record;
mod source;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

pub use array::Element;
pub use column::ColumnType;

use crate::run::metric_value::MetricValue;
use array::ArraySummary;
use source::DatasetSource;

/// Name of a dataset that has none, as in MLflow's Python client.
const DEFAULT_NAME: &str = "dataset";

/// Description of data that a run uses, to be logged with [`log_input`](crate::log_input()).
///
/// MLflow keeps the description, not the data: a name, a digest of the content, the source, and if they are known a
/// schema and a profile. In the MLflow UI, runs that used the same data show the same name and digest.
///
/// ```
/// use mlflow::{ColumnType, Dataset};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let wine = Dataset::from_url("https://example.com/data/wine.csv")
///     .schema([("alcohol", ColumnType::Double), ("quality", ColumnType::Long)])
///     .rows(4898);
/// mlflow::log_input(&wine, "training");
/// # drop(run);
/// # fake.assert_input("wine.csv", "training");
/// ```
///
/// What MLflow cannot store is cut or left out, with one warning, and the rest of the dataset is logged: a name
/// of more than 500 characters, a digest of more than 36, a source of more than 65,535, a schema of more than
/// 1,048,575, a profile of more than 16,777,215, a tag with a key of more than 255 or a value of more than 500.
/// The user and password of a URL are removed, secret values in its query are logged as `[redacted]`, and
/// [credentials](macro@crate::tracked#secrets) in names and tags are masked.
#[derive(Clone, Debug)]
#[must_use = "a dataset is recorded by `mlflow::log_input`, or as an argument of a tracked function"]
pub struct Dataset {
    name: Option<String>,
    digest: Option<String>,
    source: DatasetSource,
    content: DatasetContent,
    columns: Vec<(String, ColumnType)>,
    profile: Vec<(String, f64)>,
    tags: Vec<(String, String)>,
    /// Calls that had no effect, each as the rest of a warning.
    faults: Vec<String>,
}

/// Data that the digest is computed from.
#[derive(Clone, Debug)]
enum DatasetContent {
    /// Data that this process does not see.
    Unseen,
    File(PathBuf),
    Arrays {
        features: ArraySummary,
        targets: Option<ArraySummary>,
    },
    #[cfg(feature = "polars")]
    Frame(frame::Frame),
}

impl Dataset {
    /// Creates a dataset of which only the name is known. Its source is the program itself, unless
    /// [`source`](Self::source) names another. Give the [`digest`](Self::digest) of its content, too: the default
    /// is a digest of the description.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let orders = Dataset::new("orders").source("s3://lake/orders/v7").digest("v7").rows(1_000_000);
    /// mlflow::log_input(&orders, "training");
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].inputs[0].source_type, "s3");
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_content(DatasetContent::Unseen, DatasetSource::Code).name(name)
    }

    /// Creates a dataset that is a local file. Its name is that of the file.
    ///
    /// The digest is that of the content: the first eight characters of its SHA-256, as
    /// `sha256sum FILE | cut -c1-8` prints them. A file of up to 1 MiB is read when the dataset is logged, a
    /// larger one in the background when the dataset is delivered, so that no log call waits for it. If the
    /// file cannot be read, or has changed by then, the digest is that of name, source and schema, with one
    /// warning.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_input(&Dataset::from_file("Cargo.toml"), "training");
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].inputs[0].source, r#"{"uri": "Cargo.toml"}"#);
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let uri = path.to_string_lossy().into_owned();
        Self::with_content(
            DatasetContent::File(path.to_owned()),
            DatasetSource::Uri(uri),
        )
    }

    /// Creates a dataset that is at a URL, e.g. `https://…` or `s3://…`. Its name is the last part of the
    /// path, without a query. Nothing is downloaded: the digest is that of name, source and schema, as of
    /// Python's `MetaDataset`. See [`Dataset`] for an example.
    pub fn from_url(url: impl Into<String>) -> Self {
        Self::with_content(DatasetContent::Unseen, DatasetSource::Uri(url.into()))
    }

    /// Creates a dataset from an array in memory, with the digest, schema and profile that
    /// `mlflow.data.from_numpy` gives the same array in Python. Only its shape and its first 10,000 elements
    /// count for the digest, so a large array takes no longer than a small one.
    ///
    /// The elements of an array with several dimensions are arrays, or [`shape`](Self::shape) gives the
    /// dimensions of a flat one. The source is the program itself, unless [`source`](Self::source) names
    /// another.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let features: Vec<[f64; 2]> = vec![[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]];
    /// let labels = [0_i64, 1, 1];
    /// mlflow::log_input(&Dataset::from_slice("xor", &features).targets(&labels), "training");
    /// # drop(run);
    /// let runs = fake.runs();
    /// assert_eq!(runs[0].inputs[0].digest, "0b8295ee");
    /// ```
    pub fn from_slice<T: Element>(name: impl Into<String>, features: &[T]) -> Self {
        let content = DatasetContent::Arrays {
            features: ArraySummary::new(features),
            targets: None,
        };
        Self::with_content(content, DatasetSource::Code).name(name)
    }

    /// Creates a dataset from a Polars frame, with the digest, schema and profile that `mlflow.data.from_polars` gives
    /// the same frame in Python. The source is the program itself, unless [`source`](Self::source) names another.
    ///
    /// The rows are hashed once the dataset is logged: those of a frame of up to 1 MiB by the calling thread, those of a
    /// larger one by a thread in the background, about a gigabyte a second. A column that the program changes in the
    /// meantime is copied first, as Polars does with every shared column. If the process is killed before the rows are
    /// hashed, the digest is that of name and source, with one warning. A frame with a
    /// [`digest`](Self::digest) of its own is not hashed. A schema with a type that MLflow lacks, such as `u64`, is left
    /// out, with a warning. The hashes are those of Polars 1.41 for Python, and were the
    /// same in the other releases from 1.36 to 1.44 that were tried. Older and newer ones hash differently, and so does every
    /// one for a categorical column.
    ///
    /// Polars needs a newer Rust than this library: 0.54 needs 1.91, and 0.55 needs 1.94.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// use polars_core::df;
    ///
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let wine = df!("alcohol" => [9.4, 9.8], "quality" => [5_i64, 6])?;
    /// mlflow::log_input(&Dataset::from_polars("wine", &wine), "training");
    /// # drop(run);
    /// # let input = &fake.runs()[0].inputs[0];
    /// # assert_eq!(input.profile.as_deref(), Some(r#"{"num_rows": 2, "num_elements": 4}"#));
    /// # Ok::<(), polars_core::error::PolarsError>(())
    /// ```
    #[cfg(feature = "polars")]
    #[cfg_attr(docsrs, doc(cfg(feature = "polars")))]
    pub fn from_polars(name: impl Into<String>, frame: &polars_core::frame::DataFrame) -> Self {
        let content = DatasetContent::Frame(frame::Frame::new(frame));
        Self::with_content(content, DatasetSource::Code).name(name)
    }

    /// Returns the features and targets of a dataset of arrays.
    fn arrays_mut(&mut self) -> Option<(&mut ArraySummary, &mut Option<ArraySummary>)> {
        match &mut self.content {
            DatasetContent::Arrays { features, targets } => Some((features, targets)),
            DatasetContent::Unseen | DatasetContent::File(_) => None,
            #[cfg(feature = "polars")]
            DatasetContent::Frame(_) => None,
        }
    }

    fn with_content(content: DatasetContent, source: DatasetSource) -> Self {
        Self {
            name: None,
            digest: None,
            source,
            content,
            columns: Vec::new(),
            profile: Vec::new(),
            tags: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Returns the given name, or the default one.
    pub(super) fn shown_name(&self) -> Cow<'_, str> {
        let given = self.name.as_deref().filter(|name| !name.is_empty());
        let of_file = || self.source.file_name().map(Cow::Owned);
        given
            .map(Cow::Borrowed)
            .or_else(of_file)
            .unwrap_or(Cow::Borrowed(DEFAULT_NAME))
    }

    /// Sets the name. Default: the last part of the file's path or the URL, else `dataset`. See
    /// [`log_input()`](crate::log_input()) for an example.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the digest of the content, for data that has a version or a hash of its own. An experiment has one
    /// dataset for each name and digest: the first that is logged counts.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_input(&Dataset::from_file("/data/images").digest("v12"), "training");
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].inputs[0].digest, "v12");
    /// ```
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = Some(digest.into());
        self
    }

    /// Sets the source that the data came from: a path, or a URI such as `s3://bucket/train.parquet`. See
    /// [`new`](Self::new) for an example.
    pub fn source(mut self, uri: impl Into<String>) -> Self {
        self.source = DatasetSource::Uri(uri.into());
        self
    }

    /// Sets the names and types of the columns, in their order. See [`Dataset`] for an example.
    pub fn schema<N: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = (N, ColumnType)>,
    ) -> Self {
        let columns = columns.into_iter();
        self.columns = columns.map(|(name, kind)| (name.into(), kind)).collect();
        self
    }

    /// Sets the shape of an array in row-major order, for the flat buffers of array libraries. The product of
    /// the dimensions is the number of elements.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let flat: Vec<f32> = vec![0.5; 2 * 28 * 28];
    /// mlflow::log_input(&Dataset::from_slice("digits", &flat).shape(&[2, 28, 28]), "");
    /// # drop(run);
    /// # assert!(fake.runs()[0].inputs[0].profile.as_deref().unwrap().contains("[2, 28, 28]"));
    /// ```
    pub fn shape(mut self, dimensions: &[usize]) -> Self {
        let fault = match self.arrays_mut() {
            Some((features, _)) => {
                let old = features.shape().to_vec();
                (!features.reshape(dimensions)).then(|| {
                    format!(
                        "its shape stays {old:?}, because {dimensions:?} has another number of elements"
                    )
                })
            }
            None => Some(format!(
                "its shape {dimensions:?} is left out: only a dataset that is made by from_slice has a shape"
            )),
        };
        self.faults.extend(fault);
        self
    }

    /// Sets the targets that belong to the features, e.g. labels. They count for the digest. See
    /// [`from_slice`](Self::from_slice) for an example.
    pub fn targets<T: Element>(mut self, labels: &[T]) -> Self {
        match self.arrays_mut() {
            Some((_, targets)) => *targets = Some(ArraySummary::new(labels)),
            None => self.faults.push(
                "its targets are left out: only a dataset that is made by from_slice has targets"
                    .to_owned(),
            ),
        }
        self
    }

    /// Adds a number to the profile, e.g. a mean. A number that is not finite is left out, with a warning.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let wine = Dataset::from_url("s3://lake/wine.parquet").rows(4898).profile("quality_mean", 5.88);
    /// mlflow::log_input(&wine, "training");
    /// # drop(run);
    /// # let profile = fake.runs()[0].inputs[0].profile.clone();
    /// assert_eq!(profile.as_deref(), Some(r#"{"num_rows": 4898, "quality_mean": 5.88}"#));
    /// ```
    pub fn profile(mut self, key: impl Into<String>, number: impl MetricValue) -> Self {
        let (key, number) = (key.into(), number.as_metric());
        if number.is_finite() {
            self.profile.retain(|(known, _)| *known != key);
            self.profile.push((key, number));
        } else {
            self.faults.push(format!(
                "the number {key:?} of its profile is left out: JSON has no {number}"
            ));
        }
        self
    }

    /// Sets the number of rows, which MLflow's Python client keeps in the profile as `num_rows`.
    pub fn rows(self, rows: u64) -> Self {
        self.profile("num_rows", rows)
    }

    /// Adds a tag to the use of the dataset as an input of a run. A later tag with the same key replaces it, and the context
    /// of the input is the tag `mlflow.data.context`.
    ///
    /// ```
    /// # use mlflow::Dataset;
    /// # let fake = mlflow::testing::fake();
    /// let wine = Dataset::from_url("s3://lake/wine.parquet").tag("split", "0-80%");
    /// let run = mlflow::start_run().name("fit").start();
    /// run.log_input(&wine, "training");
    /// drop(run);
    /// fake.assert_input("wine.parquet", "training");
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}
