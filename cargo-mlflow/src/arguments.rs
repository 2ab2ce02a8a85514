//! Command line.
//!
//! The doc comments are the texts of the help, which a terminal shows as they are.
#![expect(clippy::doc_markdown, reason = "the help is no Markdown")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

/// Text below every help.
const SELECTION_HELP: &str = "\
A RUN is the beginning of a run's id, a run's name, `last` (the run that started last), or `best:METRIC`,
`min:METRIC` or `max:METRIC` (the run with the best, smallest or greatest value; NaN and infinities are left
out). With --experiment, only the runs of that experiment are looked at.

Exit codes: 0 done · 1 failed · 2 arguments or filter not understood · 3 not found · 4 more than one run matches
· 5 store not reachable · 6 refused by the store · 7 run not FINISHED · 8 nothing new";

/// MLflow in the terminal: runs of a tracking server, or straight from a SQLite file.
#[derive(Debug, Parser)]
#[command(name = "cargo mlflow", bin_name = "cargo mlflow", version, after_help = SELECTION_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Server, database or file to read: http(s)://HOST, postgresql://USER@HOST/DATABASE, sqlite:///FILE.
    /// Default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) tracking_uri: Option<String>,
    /// Write JSON for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Longest time to wait for an answer of the server. Default: MLFLOW_HTTP_REQUEST_TIMEOUT, else 30. A locked
    /// SQLite file is waited for 20 seconds. For sync and journal resend: longest time until all is shipped; by
    /// default, they go on while the store answers.
    #[arg(long, global = true, value_parser = parse_seconds, value_name = "SECONDS")]
    pub(crate) timeout: Option<Duration>,
    /// Colours: `auto` writes them to a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List runs, the newest first.
    #[command(visible_alias = "ls")]
    Runs(Runs),
    /// Show everything about one run.
    Show(Show),
    /// Show what differs between runs, with the best values marked.
    Compare(Compare),
    /// Draw the curves of a metric, in the terminal or as a picture.
    Plot(Plot),
    /// Watch runs on the full screen while they are trained: curves, system metrics, console.
    Watch(Watch),
    /// Print what a run logs, or its state, for programs: also of a run that is being trained, or was killed.
    Inspect(Inspect),
    /// List experiments.
    Experiments(Experiments),
    /// List or fetch the artifacts of a run, or the files of a model.
    #[command(subcommand)]
    Artifacts(Artifacts),
    /// Write runs, or the history of their metrics, as CSV, JSON or Parquet.
    Export(Export),
    /// Bring the runs of other trackers into the store: of TensorBoard, W&B (offline), Trackio, Neptune's exporter,
    /// and of tables. The same import again adds only what is new.
    Import(Import),
    /// Delete old runs: hide them, or delete them for good.
    Cleanup(Cleanup),
    /// Restore deleted runs.
    Restore(Restore),
    /// Ship what processes that have ended could not deliver, beside those that run.
    Sync(Sync),
    /// Look at the journals on this machine: what waits for delivery in them, and why.
    #[command(subcommand)]
    Journal(Journal),
    /// Check configuration, store, journal and git, and say what to do about each fault. The exit code is 1 if
    /// there is an error.
    Doctor,
    /// Serve the runs to an assistant by the Model Context Protocol (MCP), on stdin and stdout.
    ///
    /// A client is configured with the command `cargo-mlflow`, the argument `mcp` and, if need be, the variable
    /// MLFLOW_TRACKING_URI. README has the lines for some clients.
    #[cfg(feature = "mcp")]
    Mcp(Mcp),
    /// Make a small experiment to look at, in two seconds.
    Demo(Demo),
    /// Print the completions of a shell: for `cargo-mlflow`, and with bash, fish and zsh for `cargo mlflow`, too.
    Completions {
        /// Shell that reads the completions.
        shell: clap_complete::Shell,
    },
}

impl Arguments {
    /// Reads the arguments, which begin with the name of the program.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let command = with_negative_numbers(Self::command());
        let matches = command.try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }
}

/// Returns the command with options that take a negative number for their value, and not for another option. The error
/// then says which values are expected.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| {
            let is_option = !argument.is_positional() && argument.get_action().takes_values();
            argument.allow_negative_numbers(is_option)
        })
        .mut_subcommands(with_negative_numbers)
}

/// Choice of runs.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Only runs of this experiment. May be given several times.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// Only runs that match, in MLflow's language: "metrics.rmse < 0.7 AND params.model = 'a'". Params are
    /// compared as numbers, too: "params.lr > 0.1"
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Order, e.g. "metrics.rmse DESC". May be given several times.
    #[arg(short, long, value_name = "ORDER")]
    pub(crate) order_by: Vec<String>,
    /// Deleted runs instead of active ones.
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Runs {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Greatest number of runs; 0 for all.
    #[arg(short = 'n', long, default_value_t = 30, value_name = "N", value_parser = parse_count)]
    pub(crate) limit: usize,
    /// Columns to show beside ID and NAME, separated by commas: params.KEY, metrics.KEY, tags.KEY, experiment,
    /// status, run_id, user, start, end, duration. Default: status, start and duration, the experiment if there
    /// are several, and as many metrics, and params that differ, as fit.
    #[arg(short, long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) columns: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Run to show.
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// Show MLflow's own tags and those of the environment, too.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Look at the deleted runs instead of the active ones.
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// Runs to compare. Default: the five newest.
    pub(crate) runs: Vec<String>,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// Show what is equal, too.
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// Horizontal axis of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Axis {
    /// Step of the points.
    Step,
    /// Time since the start of the run.
    Time,
}

#[derive(Args, Debug)]
pub(crate) struct Plot {
    /// Metric to draw.
    pub(crate) metric: String,
    /// Runs to draw, one over the other. Default: the six newest.
    pub(crate) runs: Vec<String>,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// Horizontal axis.
    #[arg(short, long, value_enum, default_value_t = Axis::Step, value_name = "AXIS")]
    pub(crate) x: Axis,
    /// Draw the values on a logarithmic axis.
    #[arg(long)]
    pub(crate) log: bool,
    /// Write the chart to this file, as PNG.
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
    /// Write the chart to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Runs to watch, over each other. The path of a journal stands for its runs. Default: the newest run; a run
    /// that is being trained on this machine comes first.
    pub(crate) runs: Vec<String>,
    /// Watch the N newest runs.
    #[arg(
        short,
        long,
        default_value_t = 1,
        value_name = "N",
        conflicts_with = "runs",
        value_parser = parse_count
    )]
    pub(crate) newest: usize,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// Run to read, or the path of a journal that holds one.
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
    /// Print one record of the present state, with the latest metrics and the end of the console log, instead of
    /// all that was logged.
    #[arg(short, long)]
    pub(crate) summary: bool,
    /// Go on until the run has ended, and print what comes.
    #[arg(short = 'F', long)]
    pub(crate) follow: bool,
    /// With --follow: stop if nothing new has come for so long. The exit code is 8 then.
    #[arg(long, requires = "follow", value_parser = parse_seconds, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<Duration>,
    /// Exit with the code 7 unless the run is FINISHED. With --follow, that is known at its end.
    #[arg(long)]
    pub(crate) exit_status: bool,
    /// Only these metrics, separated by commas.
    #[arg(short, long, value_delimiter = ',', value_name = "KEYS")]
    pub(crate) metrics: Vec<String>,
    /// With --summary: number of lines of the console log.
    #[arg(long, default_value_t = 20, requires = "summary", value_name = "N", value_parser = parse_count)]
    pub(crate) console_lines: usize,
}

#[derive(Args, Debug)]
pub(crate) struct Experiments {
    /// Only experiments that match, in MLflow's language: "name LIKE 'wine%'"
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Deleted experiments instead of active ones.
    #[arg(long)]
    pub(crate) deleted: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Artifacts {
    /// List the artifacts of a run, or the files of a model, with all folders.
    Ls {
        /// Run, or model such as models:/digits@champion, models:/digits/3 or models:/m-0a1b…, whose files are listed.
        run: String,
        /// Folder to list. Default: all artifacts.
        #[arg(default_value = "")]
        path: String,
        /// Look only at the runs of this experiment.
        #[arg(short, long, value_name = "NAME")]
        experiment: Vec<String>,
    },
    /// Copy artifacts to this machine.
    Get {
        /// Run, or model such as models:/digits@champion, models:/digits/3 or models:/m-0a1b…, whose files are copied.
        run: String,
        /// File or folder to copy. Default: all artifacts.
        #[arg(default_value = "")]
        path: String,
        /// Directory to copy to.
        #[arg(short, long, default_value = ".", value_name = "DIRECTORY")]
        to: PathBuf,
        /// Overwrite files that are there already.
        #[arg(short, long)]
        force: bool,
        /// Look only at the runs of this experiment.
        #[arg(short, long, value_name = "NAME")]
        experiment: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Json,
    #[cfg(feature = "parquet")]
    /// Columns with types, for pandas, Polars or DuckDB. Needs --output, or a pipe.
    Parquet,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Greatest number of runs; 0 for all.
    #[arg(short = 'n', long, default_value_t = 0, value_name = "N", value_parser = parse_count)]
    pub(crate) limit: usize,
    /// Write all points of these metrics, one line each, instead of one line for each run. Separated by
    /// commas; `all` for every metric.
    #[arg(short, long, value_delimiter = ',', value_name = "KEYS")]
    pub(crate) metrics: Vec<String>,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    /// File to write. Default: stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Format of the files of another tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// Event files; each folder with such files is a run.
    Tensorboard,
    /// Runs of W&B that were logged offline.
    Wandb,
    /// Databases of Trackio, one a project.
    Trackio,
    /// Parquet files that neptune-exporter has written.
    Neptune,
    /// Tables as CSV, TSV or JSON: those of `cargo mlflow export`, points (run,metric,step,value), or steps
    /// (step,loss,acc).
    Csv,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Files to import, and folders that are searched for them.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Import only this format. Default: whatever lies there.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<ImportFormat>,
    /// Experiment of the runs. Default: the project in the source, else the name of the folder.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Option<String>,
    /// Only say what would be imported.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Delete only runs that ended longer ago than this. Runs that have not ended stay; of those that are
    /// deleted already, the start counts.
    #[arg(long, value_name = "DAYS")]
    pub(crate) days: u32,
    /// Delete for good, with all artifacts, as `mlflow gc` does. Only in a SQLite file. With --deleted, those
    /// runs that are deleted already.
    #[arg(long)]
    pub(crate) permanent: bool,
    /// Only say what would be deleted.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Greatest number of runs to delete; with more, none is deleted.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = parse_count)]
    pub(crate) max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// Deleted runs to restore. `cargo mlflow runs --deleted` lists them.
    #[arg(required = true)]
    pub(crate) runs: Vec<String>,
    /// Look only at the runs of this experiment.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) experiment: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Sync {
    /// Ship the journals of every destination to this server or file instead of their own.
    #[arg(long, value_name = "URI")]
    pub(crate) to: Option<String>,
    /// With --to: only journals of this destination, as `cargo mlflow journal ls` shows it. May be given
    /// several times.
    #[arg(long, requires = "to", value_name = "URI")]
    pub(crate) from: Vec<String>,
    /// Go on until Ctrl-C, and look for new journals every few seconds.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Only say what would be shipped.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Train one run that takes its time instead, for `cargo mlflow watch` to look at.
    #[arg(long)]
    pub(crate) live: bool,
    /// With --live: time that the training takes.
    #[arg(long, default_value_t = 60, requires = "live", value_name = "SECONDS")]
    pub(crate) seconds: u64,
}

/// What is to be done with journals. A JOURNAL is its path, or the beginning of its name, with `rejected/` or
/// `damaged/` before it if the list shows that.
#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// List the journals, with what waits in each and why.
    Ls,
    /// Show the runs of a journal, and what waits of each.
    Show {
        /// Path of the journal, or the beginning of its name.
        journal: String,
        /// Show the first entries, too.
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = parse_count)]
        entries: usize,
    },
    /// Check every checksum, and say what is damaged and what can be saved.
    Verify {
        /// Path of the journal, or the beginning of its name. Default: all journals but damaged files.
        journal: Option<String>,
    },
    /// Write all entries of a journal as JSON, one in a line.
    Export {
        /// Path of the journal, or the beginning of its name.
        journal: String,
        /// File to write. Default: stdout.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Send again what the store has refused for good.
    Resend,
    /// Delete a journal, with what waits in it. The journal of a running process is never deleted.
    Drop {
        /// Path of the journal, or the beginning of its name.
        journal: String,
        /// Delete without asking.
        #[arg(short, long)]
        yes: bool,
    },
}

#[cfg(feature = "mcp")]
#[derive(Args, Debug)]
pub(crate) struct Mcp {
    /// Offer tools that change runs, too: set a tag, rename, end, delete and restore a run. Without this, an
    /// assistant can only read.
    #[arg(long)]
    pub(crate) allow_changes: bool,
}

/// Reads a number of things.
fn parse_count(text: &str) -> Result<usize, String> {
    { text.parse().ok() }.ok_or_else(|| "expected a whole number, 0 or more".to_owned())
}

/// Reads a number of seconds.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    { text.parse::<f64>().ok() }
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds, 0 or more".to_owned())
}
