//! The keys of the tags that the runtime itself sets or reads.
//!
//! The MLflow UI hides tags whose keys begin with `mlflow.`. The names in the namespace `mlflow.` are those
//! of MLflow (`mlflow/utils/mlflow_tags.py`), except those in `mlflow.rust.`, which are this library's own.

/// The run's name, which MLflow also keeps as a column.
pub(crate) const RUN_NAME: &str = "mlflow.runName";
/// The store's id of the parent run.
pub(crate) const PARENT_RUN_ID: &str = "mlflow.parentRunId";
/// The description, as Markdown.
pub(crate) const DESCRIPTION: &str = "mlflow.note.content";
/// The user who started the run.
pub(crate) const USER: &str = "mlflow.user";
/// The program that started the run.
pub(crate) const SOURCE_NAME: &str = "mlflow.source.name";
/// The kind of that program.
pub(crate) const SOURCE_TYPE: &str = "mlflow.source.type";
/// The hash of the commit.
pub(crate) const GIT_COMMIT: &str = "mlflow.source.git.commit";
/// The branch of the commit.
pub(crate) const GIT_BRANCH: &str = "mlflow.source.git.branch";
/// The URL of the repository.
pub(crate) const GIT_REPO_URL: &str = "mlflow.source.git.repoURL";
/// Set to `true` if the working tree differed from the commit.
pub(crate) const GIT_DIRTY: &str = "mlflow.source.git.dirty";
/// A copy of [`GIT_DIRTY`], under a key that the MLflow UI shows.
pub(crate) const GIT_DIRTY_SHOWN: &str = "git.dirty";
/// The path of the function that started the run.
pub(crate) const CODE_FUNCTION: &str = "code.function";

/// The run's local key, by which a run is found again after a lost answer.
pub(crate) const RUN_KEY: &str = "mlflow.rust.runKey";
/// The key of [`RUN_KEY`] in runs that were created before version 0.1.0 was released.
pub(crate) const FORMER_RUN_KEY: &str = "mlflow_rs.run_key";
/// The key of a logged model, by which the model and its registered version are found again after a lost answer.
pub(crate) const MODEL_KEY: &str = "mlflow.rust.modelKey";
/// Tag of a logged model: the versions of registered models that it is, as JSON.
pub(crate) const MODEL_VERSIONS: &str = "mlflow.modelVersions";
/// The tables of a run: JSON of a list, which the page and `load_table` of Python's client read.
pub(crate) const LOGGED_ARTIFACTS: &str = "mlflow.loggedArtifacts";
/// Set to `True` on a run with images by step, which the page then shows.
pub(crate) const LOGGED_IMAGES: &str = "mlflow.loggedImages";
/// Whole checkpoints of a run that keeps the newest ones, as JSON.
pub(crate) const CHECKPOINTS: &str = "mlflow.rust.checkpoints";
/// Beginning of the key under which a run keeps the state of a table's last append. A hash of the table's path
/// follows.
pub(crate) const TABLE_APPEND: &str = "mlflow.rust.tableAppend.";
/// The time in milliseconds at which a launch of several ranks was started, the first time or again.
pub(crate) const ATTEMPT: &str = "mlflow.rust.attempt";
/// The key of [`ATTEMPT`] in runs that were created before version 0.1.0 was released.
pub(crate) const FORMER_ATTEMPT: &str = "mlflow_rs.attempt";

/// Name of the host on which the run's process runs.
pub(crate) const HOST_NAME: &str = "host.name";
/// Id of the run's process.
pub(crate) const PROCESS_ID: &str = "process.pid";
/// The purpose for which a run used a dataset: a tag of the dataset's input.
pub(crate) const DATASET_CONTEXT: &str = "mlflow.data.context";
/// Set to `true` on a registered model that is a prompt, and on its versions.
pub(crate) const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

/// Beginnings of the keys of tags that runs have without anybody setting them: MLflow's own, and those that this
/// library adds about the machine, the program, the build and the service that started it.
const AUTOMATIC_PREFIXES: [&str; 17] = [
    "mlflow.",
    "mlflow-",
    "mlflow_rs.",
    "cargo.",
    "cicd.",
    "code.",
    "deployment.",
    "distributed.",
    "error.",
    "git.",
    "host.",
    "k8s.",
    "os.",
    "process.",
    "rust.",
    "service.",
    "slurm.",
];

/// Returns true for the key of a tag that runs have without anybody setting it: one of MLflow's own, or of those
/// that this library adds about the machine, the program, the build and the service that started it. The
/// description of a run (`mlflow.note.content`) is among them, as it is no tag to whoever writes it.
///
/// ```
/// use mlflow::entities::is_automatic_tag;
///
/// assert!(is_automatic_tag("mlflow.source.name") && is_automatic_tag("slurm.job.id"));
/// assert!(!is_automatic_tag("model"));
/// ```
#[must_use]
pub fn is_automatic_tag(key: &str) -> bool {
    AUTOMATIC_PREFIXES
        .iter()
        .any(|prefix| key.starts_with(prefix))
}
