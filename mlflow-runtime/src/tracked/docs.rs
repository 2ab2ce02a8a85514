//! Public documentation of the macros of `mlflow-macros`, on their re-exports.

/// Makes every call of a function a run.
///
/// Each call of the function starts a run. The arguments become params, the numbers that the function returns
/// become metrics, and the outcome of the call becomes the run's status. The function itself computes,
/// returns, panics and is cancelled as it would without the attribute. Inside the function, the run is the
/// current run, to which [`metric!`](crate::metric), [`log_param`](crate::log_param) and similar functions
/// log.
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
/// The attribute can be put on functions, on methods, and on trait methods with a body, `async` or not. If a
/// function returns `impl Future` or `Pin<Box<dyn Future>>`, also under an alias such as `BoxFuture`, the run
/// lasts until the future ends. A future whose type is a struct of your own is a value like any other.
///
/// A run is a child of the run that is current where the function is called. The run of a future starts when
/// the future is first polled, as a child of the run in which the future was *made*:
/// `tokio::spawn(train(0.5))` inside a tracked function starts a child run, whichever thread polls the
/// future.
///
/// # Outcome
///
/// | what happens | status | tags |
/// |---|---|---|
/// | a value, `Ok`, `Some` or `None` is returned | FINISHED | |
/// | `Err` is returned | FAILED | `error.type`, `error.message`, `error.chain` (the causes, numbered) |
/// | the function panics, even if the panic aborts the process | FAILED | `error.type` = `panic`, `error.message`, `error.location` (`file:line`), `error.stacktrace` if backtraces are enabled (`RUST_BACKTRACE=1`) |
/// | a future is dropped before it is done | KILLED | |
/// | a future is never polled | no run | |
///
/// `Result` and `Option` are recognized by type, so aliases of them are recognized, too. `Result`s and
/// `Option`s inside each other are unwrapped as far as the signature names them, also by an alias with
/// arguments: an `Err` at any level is a failure. An `ExitCode` other than `SUCCESS` is a failure, too.
///
/// The numbers of a returned value become metrics, at most 1,000. A sequence or a map with more elements is
/// left out, with one warning. A `Duration` is logged in seconds. The step of a number is the last step that
/// the run has logged under the same key, or 0 if there is none.
///
/// A returned value whose type implements [`LogAsModel`](crate::LogAsModel), such as a [`Model`](crate::Model), is
/// logged as a model, beside its numbers.
///
/// Some functions are observed only for a panic, and the returned value is not inspected: functions that
/// never return (`-> !`), functions with `#[track_caller]`, and functions that are not `async` and return
/// `impl Fn` or a tuple with an `impl Fn` in it. The run of a function with `#[track_caller]` is therefore
/// FINISHED even if the function returns an `Err`.
///
/// An alias of a boxed future is recognized if it stands for `Pin<Box<dyn Future>>` with any of `Send`,
/// `Sync` and `Unpin`, or for `Box<dyn Future + Unpin>` with any of `Send` and `Sync`. A trait object with
/// other bounds is a value.
///
/// The location of a panic comes from a panic hook. The first call installs the hook, which in turn calls the
/// hook that was installed before. A program that installs its own hook later should call the hook that it
/// replaces. Otherwise the location of the next panic is missing, and the hook is installed again for the
/// panics after that one.
///
/// # Arguments of the function
///
/// Every argument but `self` becomes a param, unless [an argument of the
/// attribute](#arguments-of-the-attribute) says otherwise. An argument whose type implements
/// [`LogAsInput`](crate::LogAsInput), such as a [`Dataset`](crate::Dataset), becomes an input of the run instead. The text of the param comes from the argument's
/// `Display`, else from `Serialize` (structs and maps field by field, as in `config.lr`), else from `Debug`;
/// an argument with none of these traits is logged as the name of its type. The attribute requires no bounds:
/// generic code captures what its own bounds allow. A float is written as `{:?}` writes it, which is Python's
/// way, too: `1.0`, `1e-10`.
///
/// A collection of more than 16 elements is logged as the number of elements, `[10000000 items]`. The
/// elements are not read, even if the collection is behind `&`, `Box`, `Rc`, `Arc` or `Option`. A text of
/// more than 6,000 characters is cut, with a warning. A type may have only a `Debug` and not be a collection
/// itself, such as `struct Rows(Vec<f64>)` with a derived `Debug`. Such a `Debug` visits all entries although
/// the text is cut: derive `Serialize` for the type, or `skip` the argument.
///
/// For an enum variant with fields, the name of the variant is a param, too: `optimizer` = `Momentum` beside
/// `optimizer.Momentum.beta`. If a `Display` writes several lines, the first line is logged, unless the
/// argument is text itself. An argument whose type has a name that ends in `Tensor` is logged as that name:
/// nothing is copied off a device.
///
/// The content of an `Rc` or `Arc` is logged as if the content stood alone, also in an `Option`. An `Rc` or
/// `Arc` further inside, as in a struct, a `Vec` or a tuple, needs serde's feature `rc`, which a derived
/// `Serialize` needs for such a field anyway.
///
/// A lock is never waited for. The content of a `Mutex` or `RwLock`, also behind `&`, `Box`, `Rc`, `Arc` and
/// `Option`, is logged if the lock is free; otherwise `<locked>` is logged. While the content is read, the
/// lock is held, so `try_lock` fails in other threads. The content of a `RefCell`, `OnceCell` or `OnceLock`
/// is logged in the same way. A lock of another library, or a lock inside of a value, is not opened. Instead
/// the name of the lock is logged, such as `<Mutex>`, or the part that a `Debug` shows without waiting.
///
/// Some locks cannot be recognized: a lock that your own `Serialize`, `Display` or `Debug` takes, a lock in a
/// field that serde passes on by itself (`transparent`, `flatten`, `untagged`), and a lock inside of a value
/// that is logged by `hash`. Use `skip` if the caller may hold such a lock.
///
/// At most 200 fields of one value are logged, at most 16 levels deep; a warning names what is left out. If a
/// `Serialize` fails, the text of the `Debug` or the name of the type is logged instead. A function pointer
/// is logged as the name of its type.
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
/// An argument or field whose name contains a secret word (`password`, `token`, `api_key`, …) is logged as
/// `[redacted]`, also in the output of a derived `Debug`. Only whole words count: `max_tokens` is no secret,
/// while `apiKey2` is one. In a pattern (`Login { password: p, .. }`) the name of the field counts, too. To
/// log such a value nevertheless, name the value in the attribute: `params(api_token = …)`. A param or tag that is logged
/// by hand follows the same rule, and a value that is no secret needs another name there.
///
/// A word beside the secret word may say that the value is something else: `eos_token` and `password_length` are no secrets.
///
/// Text that looks like a known credential is masked under any name, in params, in tags, in the run's name
/// and description, and in error and panic messages. Known credentials are: keys and tokens of more than a
/// hundred providers, among them AWS, Google, OpenAI, Anthropic, GitHub and Hugging Face; JWTs; PEM private
/// keys; the user and password of a URL; the value of an `Authorization` header. So is a value that the text
/// gives a secret's name: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`. `SECURITY.md` lists what is recognised.
/// The text around a credential is kept, no part of the credential is written to disk, and one warning names
/// the first key whose value was masked.
///
/// A credential of an unknown format without a name (a password in a sentence) cannot be distinguished from
/// other text: exclude such an argument with `skip` or `redact`. The contents of artifacts, and the names of the
/// experiment and of a registered model are not masked.
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
/// Every argument is optional. An expression (`expr` below) may use the function's arguments. Expressions are
/// evaluated before the body, only if tracking is on, and only borrow what they name. The evaluation takes
/// place in a closure, so `?`, `return` and `.await` cannot be used. If an expression panics, the panic hook
/// is called as for any panic, the value of the expression is left out with one warning, and the function
/// continues.
///
/// **`experiment = expr`**, **`run_name = expr`**: the experiment's and the run's name, any value that is
/// `Display`. In a literal, the placeholders `{argument}`, `{argument.field}`, `{argument:.2}`, `{timestamp}`
/// (UTC, `20260704-130509`), `{function}` and `{env}` (`MLFLOW_ENV`, else `default`) are filled in. An
/// experiment that does not exist is created; default: the experiment of the parent run, else of the process.
/// The default name of the run is `{function}-{timestamp}-` and six characters that distinguish runs of the
/// same second.
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
/// **`tags(key = expr, "dotted.key" = expr)`**: tags of the run. A value may be anything that is `Display`.
///
/// **`params(key = expr, argument)`**: more params, captured like arguments. If the key is the name of an
/// argument, the value replaces that argument's param: log an argument with a secret-looking name in this
/// way. A bare name is an argument that is logged although `skip_all` is given.
///
/// **`skip(a, b)`**: arguments that do not become params. **`skip_all`**: no argument becomes a param.
///
/// **`redact(a)`**: arguments that are logged as `[redacted]`. **`hash(a)`**: arguments whose SHA-256 is
/// logged instead of the value, as the param `a_hash`.
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
/// **`metric = "name"`**: the key of a returned bare number; default: the function's name. **`metrics("a",
/// "b")`**: the keys of a returned tuple's elements; default: `function.0`, `function.1`. Fields of a struct
/// have their own names as keys. **`skip_return`**: the returned value is not logged; an `Err` is still a
/// failure. **`log_model = expr`**: a `bool`; with `false`, a returned model is not logged, while its numbers are.
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
/// #[tracked(log_model = keep)]
/// fn fit(keep: bool) -> mlflow::Model { mlflow::Model::new("net").bytes("weights.bin", [0]) }
///
/// let fake = mlflow::testing::fake();
/// let _ = (train(), score(), rows(), fit(false), fit(true));
/// let runs = fake.runs();
/// assert_eq!(runs[0].metrics["loss"][0].value, 0.5);
/// assert_eq!(runs[1].metrics["recall"][0].value, 0.75);
/// assert!(runs[2].metrics.is_empty());
/// assert!(runs[3].models.is_empty());
/// assert_eq!(runs[4].models[0].name, "net");
/// ```
///
/// **`root`**: the run has no parent, even if the function is called in a run.
///
/// **`run_id = expr`**: the id of a run that is continued, as the store has given it; see
/// [`RunBuilder::run_id`](crate::RunBuilder::run_id). The value is a text, or an `Option` of one, in which
/// `None` starts a new run. A function's argument that is the id does not become a param.
///
/// **`description = expr`**: the run's description; default: the function's documentation.
///
/// **`system_metrics = expr`**: a `bool` that turns the run's system metrics on or off. The value takes
/// precedence over [`Config::system_metrics`](crate::Config::system_metrics), which lists these metrics, and
/// over `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`. A fake records no system metrics. Needs the feature
/// `system-metrics`.
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
/// #[tracked(system_metrics = "yes")] // takes a `bool`, not `str`
/// fn train() {}
/// ```
///
/// **`crate = path`**: the path of this library, if that is not `::mlflow`.
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
/// # Lints
///
/// An argument that becomes a param counts as used. The compiler does not report such an argument as unused,
/// and an `#[expect(unused_variables)]` on the argument is treated as `#[allow(…)]`. An `expect` on the whole
/// function is left as it is. If nothing else in the function is unused, that expectation is not met: write
/// `allow` instead. Clippy's lints about a body's use of its arguments do not apply to a tracked function
/// either, so `#[expect(clippy::needless_pass_by_value)]` is not met: write `allow`.
///
/// # Expansion
///
/// The attribute adds one static, the captures, and one call. The body is passed on unchanged, whether
/// tracking is on or off. Without the paths of the names, most of which are in the hidden module
/// `mlflow::__private`, `fn train(alpha: f64) -> Result<f64, Error> { body }` becomes
///
/// ```text
/// fn train(alpha: f64) -> Result<f64, Error> {
///     let mut __mlflow_call = {
///         static SITE: Callsite = Callsite::new("train", module_path!(), file!(), line!())
///             .package(…)                                // the package's name and version
///             .build_info(…);                            // the git commit, features and lock file
///         begin(&SITE)                                   // None if tracking is off
///     };
///     if let Some(__mlflow_call) = &mut __mlflow_call {
///         // From Display, else Serialize, else Debug, else the name of the type. An argument that may be a dataset
///         // stands in `if !InputProbe(&data).__mlflow_input("data", __mlflow_call) { … }`.
///         __mlflow_call.param("alpha", (&&&&&&&Capture(&alpha)).__mlflow_param());
///     }
///     call(
///         __mlflow_call,
///         move || -> Result<f64, Error> { mark_used(&alpha); { body } },
///         |__mlflow_value, __mlflow_ending| match ResultProbe(__mlflow_value).__mlflow_inspected() {
///             Inspected::Value(number) => …,             // metrics, models
///             Inspected::Error(error) => …,              // status FAILED, and the tags of the error
///             Inspected::Absent => {}
///         },
///     )
/// }
/// ```
///
/// and `async fn train(alpha: f64) -> Result<f64, Error> { body }` becomes
///
/// ```text
/// fn train(alpha: f64) -> impl Future<Output = Result<f64, Error>> {
///     let mut __mlflow_call = …;                         // as above, and the capture of `alpha`
///     Tracked::new(
///         __mlflow_call,
///         async move {
///             if let Some(__mlflow_return) = none::<Result<f64, Error>>() {
///                 return __mlflow_return;                // never executed: states the type of the output
///             }
///             mark_used(&alpha);
///             { body }
///         },
///         |__mlflow_value, __mlflow_ending| …,           // as above
///     )
/// }
/// ```
///
/// An `async fn` stays one if another attribute below `#[tracked]` may require that, as `#[tokio::main]`
/// does. The run is then a child of the run in which the future is first polled. Every other `async fn`
/// becomes a function that returns the future, and the run is a child of the run in which the future is made.
///
/// The signature of an `async fn` may determine types in the body, because the return type is `impl Trait<…>`
/// or comes from a macro. Such types are inferred as without the attribute, with one exception. In
/// `-> impl Fn(&str)`, a closure at the end of the body knows the type of its argument, but a closure behind
/// `return` has to state that type: `return |text: &str| …`.
///
/// Put `#[tracing::instrument]` above `#[tracked]`. Below `#[tracked]`, `instrument` would not recognize the
/// future of a method of `async_trait`, or of a function that returns `Pin<Box<dyn Future>>` or
/// `impl Future`, and the span would end when the future is made.
pub use mlflow_macros::tracked;

/// Logs the duration of each call of a function, in seconds, as the metric `time/<function>` of the current
/// run. The step is the number of the call in this process, counted from 1 for each function.
///
/// The attribute starts no run, and does nothing if there is no current run. The measured time ends when the
/// locals of the body are dropped, also by a panic. For an `async fn`, the time lasts from the first poll of
/// the future to its end, waiting included. If the function returns the future (`-> impl Future`, or a boxed
/// future), the time starts at the call.
///
/// Put `#[timed]` above `#[tracked]` to log to the run of the tracked function itself, and below `#[tracked]`
/// to log to the run of the caller.
///
/// `name = "…"` replaces the function's name in the key. `crate = path` is the path of this library, if that
/// is not `::mlflow`.
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
/// Give the value to [`Config::git_diff`](crate::Config::git_diff): the difference then becomes the artifact
/// `git/diff.patch` of every run without a parent. The text is part of the program, so the text is right
/// wherever the program runs. Expand the macro once, in the program's own package.
///
/// - The difference is cut at 256 KiB, after a whole line, and a last line states the cut.
/// - Credentials that can be recognized are masked. Values that are assigned to a [secret's
///   name](macro@tracked#secrets) are masked, too: in Rust the texts and numbers up to the end of the
///   statement, in other files everything behind `=`, `:` or `--name`, and the block that begins there.
///   Masked text is not contained in the program, either. A secret whose name does not look like that of a
///   secret is not recognized.
/// - New files that were not added to git (`git add`) are not in the difference.
/// - The macro runs git in a way that changes neither the working tree nor the index.
/// - When HEAD moves, the macro expands again. A change of any other file appears in the difference only when
///   the package is compiled again.
///
/// ```
/// # mlflow::configure(mlflow::Config::new().enabled(false));
/// mlflow::configure(mlflow::Config::new().git_diff(mlflow::git_diff!()));
/// ```
pub use mlflow_macros::git_diff;
