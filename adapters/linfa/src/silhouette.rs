//! [`log_silhouette`]: score of clusters, as a metric of the current run.

use linfa::Float;
use linfa::dataset::{DatasetBase, Records};
use linfa::metrics::SilhouetteScore;
use linfa::traits::PredictInplace;
use mlflow::Run;
use ndarray::{Array1, ArrayBase, Data, Ix2};

use crate::log_scores::{log_scores_to, predict};
use crate::scores::Scores;

/// Greatest number of rows whose silhouette is computed: its time grows with the square of the number.
const MAX_ROWS: usize = 5_000;

/// Logs the silhouette of the clusters that a model finds in a dataset to the current run: `test/silhouette`, from -1 to 1. The
/// targets of the dataset are not used. Without a run, nothing is computed.
///
/// ```
/// use linfa::traits::Fit as _;
/// use linfa_clustering::{KMeans, KMeansError};
///
/// # let fake = mlflow::testing::fake();
/// #[mlflow::tracked]
/// fn find_clusters(count: usize) -> Result<(), KMeansError> {
///     let (training, test) = linfa_datasets::iris().split_with_ratio(0.7);
///     let clusters = KMeans::params(count).fit(&training)?;
///     mlflow_linfa::log_silhouette(&clusters, &training, "train");
///     mlflow_linfa::log_silhouette(&clusters, &test, "test");
///     Ok(())
/// }
/// # find_clusters(3)?;
/// # fake.assert_metric_logged("test/silhouette");
/// # Ok::<(), KMeansError>(())
/// ```
///
/// The time of a silhouette grows with the square of the number of rows. Of a dataset with more than 5,000, or with none, it is
/// left out, with one line, and so it is if the model panics; the program continues.
pub fn log_silhouette<M, F, D, T>(
    model: &M,
    dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    data: &str,
) where
    M: PredictInplace<ArrayBase<D, Ix2>, Array1<usize>>,
    F: Float,
    D: Data<Elem = F>,
{
    let Some(run) = Run::current() else { return };
    log_scores_to(&run, data, || {
        let rows = dataset.records().nsamples();
        if rows == 0 {
            return Err("it has no rows".to_owned());
        }
        if rows > MAX_ROWS {
            return Err(format!(
                "it has {rows} rows, and the time of a silhouette grows with the square of their number; pass a sample of at \
                 most {MAX_ROWS} rows"
            ));
        }
        let clusters = predict(model, dataset.records());
        let clustered = DatasetBase::new(dataset.records().view(), clusters);
        let silhouette = { clustered.silhouette_score() }.map_err(|error| error.to_string())?;
        let silhouette = silhouette.to_f64().unwrap_or(f64::NAN);
        Ok(Scores::new([("silhouette", silhouette)]))
    });
}
