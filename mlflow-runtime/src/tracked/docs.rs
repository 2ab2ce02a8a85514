//! Re-exports of the macros of `mlflow-macros`, with their documentation.

/// Makes every call of a function a run.
///
/// A call of the function starts a run. The arguments become params, the numbers that the function returns
/// become metrics, and the outcome of the call becomes the run's status. The function itself computes,
/// returns, panics and is cancelled as it would without the attribute.
///
/// ```
/// use mlflow::tracked;
///
/// #[derive(serde::Serialize)]
/// struct Scores { rmse: f64, r2: f64 }
///
/// /// ElasticNet on the wine-quality data.
/// #[tracked(experiment = "wine-quality", tags(model = "elastic-net"))]
/// fn train(alpha: f64, l1_ratio: f64) -> Result<Scores, std::io::Error> {
///     Ok(Scores { rmse: alpha + l1_ratio, r2: 0.5 })
/// }
///
/// let fake = mlflow::testing::fake();
/// train(0.5, 0.25)?;
/// let run = &fake.runs()[0];
/// assert_eq!(run.experiment, "wine-quality");
/// assert_eq!(run.params["alpha"], "0.5");
/// assert_eq!(run.metrics["rmse"][0].value, 0.75);
/// assert_eq!(run.tags["mlflow.note.content"], "ElasticNet on the wine-quality data.");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The attribute takes functions, methods and trait methods with a body, `async` or not. It also takes
/// functions that return `impl Future` or `Pin<Box<dyn Future>>`, also under an alias such as `BoxFuture`. A
/// future that is a struct of your own is a value like any other. The run of a future starts when the future
/// is first polled, as a child of the run in which the future was *made*: `tokio::spawn(train(0.5))` inside a
/// tracked function is a child, on whatever thread it runs.
///
/// # Outcome
///
/// | what happens | status | tags |
/// |---|---|---|
/// | a value, `Ok`, `Some` or `None` is returned | FINISHED | |
/// | `Err` is returned | FAILED | `error.type`, `error.message`, `error.chain` (the causes, numbered) |
/// | a panic, also one that aborts | FAILED | `error.type` = `panic`, `error.message`, `error.location` (`file:line`), `error.stacktrace` if backtraces are on |
/// | a future is dropped before it is done | KILLED | |
/// | a future is never polled | no run | |
///
/// `Result` and `Option` are recognized by type, so aliases of them are recognized, too. An alias of a boxed
/// future is resolved to `Pin<Box<dyn Future>>` with any of `Send`, `Sync`, `Unpin`, and to `Box<dyn Future +
/// Unpin>`. A trait object with other bounds is a value.
///
/// Some functions are observed only for a panic, and their returned value is not: those that never return
/// (`-> !`), those with `#[track_caller]`, and those that are not `async` and return `impl Fn` or a tuple
/// with one. An `Err` that is returned under `#[track_caller]` is therefore FINISHED.
///
/// The location of a panic comes from a panic hook, which is installed at the first call and calls the hook
/// that was there before. A program that installs its own hook later should call the hook that it replaces.
/// Otherwise the location of the next panic is missing, and the hook is installed again for the panics after
/// that.
///
/// The numbers of a returned value become metrics, at most 1,000. A sequence or a map of more is left out,
/// with one warning. A `Duration` is logged in seconds. The step of a number is the last step that the run
/// has logged under the same key, or 0 if there is none. `Result`s and `Option`s inside each other are
/// unwrapped as far as the signature names them, also by an alias with arguments: an `Err` at any level is a
/// failure. An `ExitCode` other than `SUCCESS` is a failure, too.
///
/// # Arguments of the function
///
/// Every argument but `self` becomes a param. The text of the param is that of the argument's `Display`, else
/// of its `Serialize` (structs and maps field by field, `config.lr`), else of its `Debug`, else the name of
/// its type. The attribute requires no bounds: generic code captures what its own bounds allow. A float is
/// written as `{:?}` writes it, which is Python's way, too: `1.0`, `1e-10`.
///
/// A collection of more than 16 elements is logged as their number, `[10000000 items]`. The elements are not
/// read, also behind `&`, `Box`, `Rc`, `Arc` and `Option`. A text of more than 6,000 characters is cut. If a
/// type has only a `Debug` and is no collection itself, such as `struct Rows(Vec<f64>)` with a derived
/// `Debug`, the `Debug` goes through all entries although the text is cut: derive `Serialize` for such a
/// type, or `skip` the argument.
///
/// For an enum variant with fields, the name of the variant is a param, too: `optimizer` = `Momentum` beside
/// `optimizer.Momentum.beta`. If a `Display` writes several lines, the first line is logged, unless the
/// argument is text itself. An argument whose type has a name that ends in `Tensor` is logged as that name:
/// nothing is copied off a device.
///
/// The content of an `Rc` or `Arc` is logged as if it stood alone, also in an `Option`. Further inside, as in
/// a struct, a `Vec` or a tuple, serde's feature `rc` is needed, as it is for a derived `Serialize`.
///
/// A lock is never waited for. The content of a `Mutex` or `RwLock`, also behind `&`, `Box`, `Rc`, `Arc` and
/// `Option`, is logged if the lock is free, else `<locked>` is. While the content is read, other threads find
/// the lock taken. The content of a `RefCell`, `OnceCell` or `OnceLock` is logged in the same way. A lock of
/// another library, or one inside of a value, is not opened: its name is logged, such as `<Mutex>`, or the
/// part that its `Debug` shows without waiting.
///
/// Some locks cannot be recognized: a lock that your own `Serialize`, `Display` or `Debug` takes, one in a
/// field that serde passes on by itself (`transparent`, `flatten`, `untagged`), and one inside of a value
/// that is logged by its `hash`. Use `skip` if the caller may hold such a lock.
///
/// At most 200 fields of one value are logged, at most 16 levels deep; a warning names what is left out. If a
/// `Serialize` fails, the text of the `Debug` or the name of the type takes its place. A function pointer is
/// logged as its type.
///
/// ```
/// # use mlflow::tracked;
/// #[derive(serde::Serialize)]
/// struct Config { lr: f64, layers: Vec<u32> }
///
/// #[tracked]
/// fn train(config: &Config, data: &[f64]) {}
///
/// let fake = mlflow::testing::fake();
/// train(&Config { lr: 0.1, layers: vec![64, 32] }, &[0.0; 1000]);
/// let params = &fake.runs()[0].params;
/// assert_eq!(params["config.lr"], "0.1");
/// assert_eq!(params["config.layers"], "[64, 32]");
/// assert_eq!(params["data"], "[1000 items]");
/// ```
///
/// # Secrets
///
/// An argument or field whose name has a secret word (`password`, `token`, `api_key`, …) is logged as
/// `[redacted]`, also in the output of a derived `Debug`. Only whole words count: `max_tokens` is no secret,
/// while `apiKey2` is one. In a pattern (`Login { password: p, .. }`) the name of the field counts, too. To
/// log such a value nevertheless, name it: `params(api_token = …)`.
///
/// Text that looks like a known credential is masked under any name, in params, in tags, in the run's name
/// and description, and in error and panic messages. Known are keys of AWS, Google, OpenAI, Anthropic,
/// Stripe, W&B; tokens of GitHub, GitLab, Hugging Face, Slack, npm, PyPI, Databricks, Neptune; JWTs, PEM
/// private keys, the user and password of a URL, the value of an `Authorization` header. The rest of the text
/// stays, nothing of the credential is written to disk, and one warning names the first key.
///
/// A credential of no known format (a password, an AWS *secret* key) cannot be distinguished from other text:
/// leave it out with `skip` or `redact`. Artifacts, keys of metrics and the name of the experiment are not
/// masked.
///
/// ```
/// # use mlflow::tracked;
/// #[tracked]
/// fn train(password: &str, source: &str) {}
///
/// let fake = mlflow::testing::fake();
/// train("hunter2", "postgres://me:hunter2@host/wine");
/// let params = &fake.runs()[0].params;
/// assert_eq!(params["password"], "[redacted]");
/// assert_eq!(params["source"], "postgres://[redacted]@host/wine");
/// ```
///
/// # Arguments of the attribute
///
/// Every argument is optional. An expression may use the function's arguments. Expressions are evaluated only
/// if tracking is on, and only borrow what they name. The evaluation takes place in a closure, so `?`,
/// `return` and `.await` cannot be used. If an expression panics, the panic hook is called as for any panic,
/// the value of the expression is left out with one warning, and the function continues.
///
/// An argument that becomes a param counts as used: the compiler does not report it as unused, and an
/// `#[expect(unused_variables)]` on the argument is treated as `#[allow(…)]`. An `expect` on the whole
/// function stays as it is: if nothing else is unused in the function, the expectation is not met, and has to
/// be an `allow`. Clippy's lints about a body's use of its arguments do not apply to a tracked function
/// either: `#[expect(clippy::needless_pass_by_value)]` is not met, and has to be an `allow`.
///
/// **`experiment = expr`**, **`run_name = expr`**: any value that is `Display`. In a literal, the
/// placeholders `{argument}`, `{argument.field}`, `{argument:.2}`, `{timestamp}` (UTC, `20260704-130509`),
/// `{function}` and `{env}` (`MLFLOW_ENV`, else `default`) are filled in. The default name is
/// `{function}-{timestamp}-` and six characters that distinguish runs of the same second.
///
/// ```
/// # use mlflow::tracked;
/// #[tracked(experiment = "wine/{env}", run_name = "lr-{lr:.2}-{kind}")]
/// fn train(lr: f64, kind: &str) {}
///
/// # let fake = mlflow::testing::fake();
/// train(0.125, "sgd");
/// # assert!(fake.runs()[0].experiment.starts_with("wine/"));
/// assert_eq!(fake.runs()[0].name, "lr-0.12-sgd");
/// ```
///
/// **`tags(key = expr, "dotted.key" = expr)`**: tags. A value is anything that is `Display`.
///
/// **`params(key = expr, argument)`**: more params, captured like arguments. A key that is the name of an
/// argument replaces that argument's param, which is the way to log an argument with a secret-looking name. A
/// bare name is an argument that `skip_all` would leave out.
///
/// **`skip(a, b)`**, **`skip_all`**: arguments that do not become params.
///
/// **`redact(a)`**: arguments that are logged as `[redacted]`. **`hash(a)`**: arguments of which the SHA-256
/// is logged, as the param `a_hash`.
///
/// ```
/// # use mlflow::tracked;
/// #[tracked(
///     tags(model = "net", "data.rows" = data.len()),
///     params(batches = data.len() / 2, auth = "none"),
///     skip(verbose),
///     redact(salary),
///     hash(data),
/// )]
/// fn train(data: &[u8], verbose: bool, salary: f64, auth: &str) {}
///
/// #[tracked(skip_all, params(lr))]
/// fn tune(lr: f64, workers: usize) {}
///
/// let fake = mlflow::testing::fake();
/// train(b"abcd", true, 1e6, "none");
/// tune(0.5, 8);
/// let runs = fake.runs();
/// assert_eq!(runs[0].tags["data.rows"], "4");
/// assert_eq!(runs[0].params["batches"], "2");
/// assert_eq!(runs[0].params["salary"], "[redacted]");
/// assert_eq!(runs[0].params["data_hash"].len(), 64);
/// assert_eq!(runs[0].params["auth"], "none");
/// assert!(!runs[0].params.contains_key("verbose"));
/// assert_eq!(runs[1].params.len(), 1);
/// ```
///
/// **`metric = "name"`**: the name of a returned bare number; default: the function's name. **`metrics("a",
/// "b")`**: the names of a returned tuple's elements. **`skip_return`**: the returned value is not logged; an
/// `Err` is still a failure.
///
/// ```
/// # use mlflow::tracked;
/// #[tracked(metric = "loss")]
/// fn train() -> f64 { 0.5 }
///
/// #[tracked(metrics("precision", "recall"))]
/// fn score() -> Option<(f64, f64)> { Some((0.25, 0.75)) }
///
/// #[tracked(skip_return)]
/// fn rows() -> usize { 7 }
///
/// let fake = mlflow::testing::fake();
/// let _ = (train(), score(), rows());
/// let runs = fake.runs();
/// assert_eq!(runs[0].metrics["loss"][0].value, 0.5);
/// assert_eq!(runs[1].metrics["recall"][0].value, 0.75);
/// assert!(runs[2].metrics.is_empty());
/// ```
///
/// **`root`**: the run is no child of the run in which the function is called.
///
/// **`run_id = expr`**: continues the run with this id, which is the server's. For an `Option`, `None` starts
/// a new run. An argument that is the id becomes no param.
///
/// **`description = expr`**: the run's description; default: the function's documentation.
///
/// **`system_metrics = expr`**: a `bool` that turns the run's system metrics on or off, and wins over
/// `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`. [`Config::system_metrics`](crate::Config::system_metrics) lists
/// these metrics; a fake records none of them. Requires the feature `system-metrics`.
///
/// ```
/// # use mlflow::tracked;
/// #[tracked(system_metrics = true)]
/// fn train() {}
///
/// #[tracked(system_metrics = rows.len() > 1000)]
/// fn fit(rows: &[f64]) {}
///
/// let fake = mlflow::testing::fake();
/// train();
/// fit(&[0.5]);
/// assert_eq!(fake.runs().len(), 2);
/// ```
///
/// ```compile_fail
/// # use mlflow::tracked;
/// #[tracked(system_metrics = "yes")] // `system_metrics` takes a `bool`, not `str`
/// fn train() {}
/// ```
///
/// **`crate = path`**: the path of this library, if it is not `::mlflow`.
///
/// ```
/// # use mlflow::tracked;
/// # mod telemetry { pub use mlflow; }
/// #[tracked]
/// fn sweep() {
///     train();
///     report();
/// }
///
/// #[tracked(description = "One of the sweep.", crate = telemetry::mlflow)]
/// fn train() {}
///
/// #[tracked(root)]
/// fn report() {}
///
/// #[tracked(run_id = id)]
/// fn resume(id: &str) {}
///
/// let fake = mlflow::testing::fake();
/// sweep();
/// resume("0123456789abcdef0123456789abcdef");
/// let runs = fake.runs();
/// assert_eq!(runs[1].parent.as_deref(), Some(runs[0].id.as_str()));
/// assert_eq!(runs[1].tags["mlflow.note.content"], "One of the sweep.");
/// assert_eq!(runs[2].parent, None);
/// assert_eq!(runs[3].id, "0123456789abcdef0123456789abcdef");
/// ```
///
/// # What it turns a function into
///
/// The attribute adds one static, the captures, and one call. The body is passed on unchanged, whether
/// tracking is on or off. In short form, `fn train(alpha: f64) -> Result<f64, Error> { body }` becomes
///
/// ```text
/// fn train(alpha: f64) -> Result<f64, Error> {
///     let mut call = {
///         static SITE: Site = Site::new("train", module_path!(), file!(), line!());
///         begin(&SITE)                                  // None if tracking is off
///     };
///     if let Some(call) = &mut call {
///         call.param("alpha", Capture(&alpha).param()); // Display, else Serialize, else Debug, …
///     }
///     call(call, move || -> Result<f64, Error> { keep(&alpha); { body } }, |value, ending| …)
/// }
/// ```
///
/// and `async fn train(alpha: f64) -> Result<f64, Error> { body }` becomes
///
/// ```text
/// fn train(alpha: f64) -> impl Future<Output = Result<f64, Error>> {
///     let mut call = …;                                 // as above
///     Tracked::new(call, async move { keep(&alpha); { body } }, |value, ending| …)
/// }
/// ```
///
/// An `async fn` stays one if another attribute below `#[tracked]` may look for it, as `#[tokio::main]` does.
/// The run is then a child of the run in which the future is first polled. Every other `async fn` becomes a
/// function that returns the future, and the run is a child of the run in which the future is made.
///
/// An `async fn` whose signature decides types of its body, because it returns `impl Trait<…>` or a macro's
/// type, is no exception. One fact cannot be passed from such a signature to the body: in `-> impl Fn(&str)`,
/// a closure that ends the body knows the type of its argument, but a closure behind `return` has to state
/// it, `return |text: &str| …`.
///
/// `#[tracing::instrument]` goes above `#[tracked]`. Below `#[tracked]`, `instrument` would not see the
/// future of a method of `async_trait`, of `Pin<Box<dyn Future>>` or of `impl Future`, and its span would end
/// when the future is made.
pub use mlflow_macros::tracked;

/// Logs the duration of each call of a function, in seconds, as the metric `time/<function>` of the current
/// run. The step is the number of the call in this process, from 1.
///
/// The attribute starts no run, and without a current run it does nothing. The time ends when the body's
/// locals are dropped, also by a panic. The time of a future lasts from its first poll to its end, waiting
/// included; if the function returns the future (`-> impl Future`), the time starts at the call.
///
/// Written above `#[tracked]`, `#[timed]` logs to the function's own run; written below, to the caller's.
///
/// `name = "…"` replaces the function's name; `crate = path` is the path of this library, if it is not
/// `::mlflow`.
///
/// ```
/// use mlflow::{timed, tracked};
///
/// #[timed(name = "load")]
/// fn load_data(rows: usize) -> Vec<f64> { vec![0.0; rows] }
///
/// #[tracked]
/// fn train() {
///     load_data(10);
///     load_data(20);
/// }
///
/// let fake = mlflow::testing::fake();
/// train();
/// let steps: Vec<i64> = fake.runs()[0].metrics["time/load"].iter().map(|point| point.step).collect();
/// assert_eq!(steps, [1, 2]);
/// ```
pub use mlflow_macros::timed;

/// Expands to the difference between the code that is built and its commit: the output of `git diff HEAD`
/// when the macro expands, as an `Option<&'static str>`. Expands to `None` if there is no difference, or no
/// git.
///
/// If the value is given to [`Config::git_diff`](crate::Config::git_diff), it becomes the artifact
/// `git/diff.patch` of every run without a parent. The text is part of the program, so it is right wherever
/// the program runs. Expand the macro once, in the program's own package.
///
/// - The difference is cut at 256 KiB, after a whole line, and a last line states the cut.
/// - Credentials that can be recognized are masked. Values that are given to a [secret's
///   name](macro@tracked#secrets) are masked, too: in Rust the texts and numbers up to the end of the
///   statement, in other files everything behind `=`, `:` or `--name`, and the block that begins there.
///   Masked text is not in the program, either. A secret under a name that does not look like one is not
///   recognized. New files that were not added to git (`git add`) are not in the difference.
/// - The macro runs git in a way that changes neither the working tree nor the index.
/// - A moved HEAD expands the macro again. Other files count as they were when the package was compiled.
///
/// ```
/// # mlflow::configure(mlflow::Config::new().enabled(false));
/// mlflow::configure(mlflow::Config::new().git_diff(mlflow::git_diff!()));
/// ```
pub use mlflow_macros::git_diff;
