//! The macros of `mlflow-macros`, documented.

/// Makes every call of a function a run.
///
/// Calling the function starts a run; its arguments become params, the numbers it returns become
/// metrics, its outcome becomes the run's status. The function itself computes, returns, panics and
/// is cancelled as it would without the attribute.
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
/// It goes on functions, methods and trait methods with a body, `async` or not, and on functions
/// that return `impl Future` or `Pin<Box<dyn Future>>`, also by a name such as `BoxFuture`; a future
/// that is a struct of your own is a value like any other. The run of a future starts when the
/// future is first polled, as a child of the run in which it was *made*: `tokio::spawn(train(0.5))`
/// inside a tracked function is a child, on whatever thread it runs.
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
/// `Result` and `Option` are found by type, so aliases of them are seen. Of a function that never
/// returns (`-> !`), asks for its caller (`#[track_caller]`) or, without being `async`, returns
/// `impl Fn` or a tuple with one, only a panic is seen, not the returned value: an `Err` under
/// `#[track_caller]` is FINISHED. A name that stands for a boxed future is followed to
/// `Pin<Box<dyn Future>>` with any of `Send`, `Sync`, `Unpin`, and to `Box<dyn Future + Unpin>`; a trait
/// object with other bounds is a value.
///
/// A panic's place comes from a panic hook, which is set at the first call and calls the one that
/// was there. A program that sets its own later should call the one it finds; else the place of
/// the next panic is missing, and the hook is set again for those after it.
///
/// The numbers of a returned value become metrics, up to 1,000; a sequence or map of more is left
/// out, with one warning. A `Duration` is its seconds. Under a key that the run has logged before they stand
/// at its last step, else at step 0. `Result`s and `Option`s in each other are looked through as far as the
/// signature names them, also by an alias with arguments: an `Err` on any level is a failure. So is an
/// `ExitCode` that is not `SUCCESS`.
///
/// # Arguments of the function
///
/// Every argument but `self` becomes a param: by its `Display`, else by its `Serialize` (structs
/// and maps field by field, `config.lr`), else by its `Debug`, else by its type's name. No bound is
/// asked for; generic code captures what its own bounds allow. A float is written as `{:?}` writes it, which is
/// Python's way, too: `1.0`, `1e-10`. More than 16 elements are logged as
/// their number, `[10000000 items]`, without looking at them, also behind `&`, `Box`, `Rc`, `Arc` and
/// `Option`. What is longer than 6,000 characters is cut; but where a type has nothing but a `Debug`
/// and is no collection itself, as `struct Rows(Vec<f64>)` with a derived `Debug`, that goes through
/// all its entries even so: derive `Serialize`, or `skip` it.
///
/// Of an enum's variant with fields the name is a param, too: `optimizer` = `Momentum` beside
/// `optimizer.Momentum.beta`. Of a `Display` with several lines the first is logged, unless it is text itself. A
/// type whose name ends in `Tensor` is its type's name: nothing of it is copied off a device.
///
/// What an `Rc` or `Arc` holds is logged as if it stood alone, also in an `Option`; further inside, as in a
/// struct, a `Vec` or a tuple, that needs serde's feature `rc`, as the `derive` does.
///
/// A lock is never waited for. Of a `Mutex` or `RwLock`, also behind `&`, `Box`, `Rc`, `Arc` and `Option`,
/// the content is logged if nobody has the lock, else `<locked>`; while it is looked at, others find it
/// taken. So is that of a `RefCell`, `OnceCell` or `OnceLock`. A lock of another library, or one
/// inside of a value, is not looked into: its name is logged, `<Mutex>`, or what its `Debug` shows without
/// waiting. What cannot be told is a lock that your own `Serialize`, `Display` or `Debug` takes, one in a field
/// that serde passes on by itself (`transparent`, `flatten`, `untagged`), and one inside of a value that is
/// logged by its `hash`: use `skip` where the caller may hold it.
///
/// Of one value at most 200 fields are logged, 16 levels deep; what is left out is warned of. Where a
/// `Serialize` fails, the `Debug` or the type's name stands in. A function pointer is its type.
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
/// An argument or field whose name has a secret word (`password`, `token`, `api_key`, …; whole
/// words, so `max_tokens` is none; `apiKey2` is) is logged as `[redacted]`, also in the output of a
/// derived `Debug`. In a pattern (`Login { password: p, .. }`) the field's name counts, too.
/// `params(api_token = …)` logs it all the same.
///
/// Whatever its name, what looks like a known credential is masked in params, tags, the run's name
/// and description, error and panic messages: keys of AWS, Google, OpenAI, Anthropic, Stripe, W&B;
/// tokens of GitHub, GitLab, Hugging Face, Slack, npm, PyPI, Databricks, Neptune; JWTs, PEM private
/// keys, the user and password of a URL, the value of an `Authorization` header. The rest of the text
/// stays, nothing of the credential is written to disk, and one warning names the first key. A
/// credential of no known format (a password, an AWS *secret* key) cannot be told from other text:
/// leave it out with `skip` or `redact`. Not touched are artifacts, keys of metrics, and the name of
/// the experiment.
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
/// All are optional. An expression may use the function's arguments; it is evaluated only when
/// tracking is on, and only borrows what it names. It is evaluated in a closure: `?`, `return` and
/// `.await` cannot stand in it. If it panics, the panic hook is called as for any panic, what it
/// would have given is left out with one warning, and the function goes on.
///
/// An argument that becomes a param is used by that: the compiler does not find it unused, and an
/// `#[expect(unused_variables)]` on the argument is taken as `#[allow(…)]`. One on the whole function
/// stays what it is: if nothing else is unused there, it is not met, and has to be an `allow`. Clippy's lints about what
/// a body does with its arguments do not find a tracked function either: `#[expect(clippy::needless_pass_by_value)]` is
/// not met, and has to be an `allow`.
///
/// **`experiment = expr`**, **`run_name = expr`**: anything that is `Display`. In a literal,
/// `{argument}`, `{argument.field}`, `{argument:.2}`, `{timestamp}` (UTC, `20260704-130509`), `{function}` and `{env}`
/// (`MLFLOW_ENV`, else `default`) are filled in. The default name is `{function}-{timestamp}-` and six
/// characters that tell runs of the same second apart.
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
/// **`tags(key = expr, "dotted.key" = expr)`**: tags; values are anything that is `Display`.
///
/// **`params(key = expr, argument)`**: more params, captured like arguments. A key that is an
/// argument's name replaces that param, and is the way to log one with a secret-looking name; a
/// bare name is an argument that `skip_all` would leave out.
///
/// **`skip(a, b)`**, **`skip_all`**: arguments that do not become params.
///
/// **`redact(a)`**: logged as `[redacted]`. **`hash(a)`**: logged as its SHA-256, as `a_hash`.
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
/// **`metric = "name"`**: the name of a returned bare number, by default the function's.
/// **`metrics("a", "b")`**: the names of a returned tuple's elements. **`skip_return`**: the
/// returned value is not logged; whether it is an `Err` still counts.
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
/// **`root`**: not a child of the run in which the function is called.
///
/// **`run_id = expr`**: continues the run with this id, as the server gave it; of an `Option`, `None` starts a new run.
/// An argument that is the id is no param.
///
/// **`description = expr`**: the run's description, by default the function's documentation.
///
/// **`system_metrics = expr`**: whether the run logs what the machine does meanwhile, a `bool`; wins
/// over `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`. What is logged is said at
/// [`Config::system_metrics`](crate::Config::system_metrics); a fake has none of it. Takes the
/// feature `system-metrics`.
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
/// **`crate = path`**: where this library is, if not at `::mlflow`.
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
/// One static, the captures, and one call. The body is handed on as it is, whether tracking is on
/// or off. Shortened, `fn train(alpha: f64) -> Result<f64, Error> { body }` becomes
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
/// An `async fn` stays one if another attribute below `#[tracked]` may look for it, as
/// `#[tokio::main]` does; its run is then a child of the run in which it is first polled. Every other
/// `async fn` becomes a function that returns the future, also one whose signature decides types of
/// its body (it returns `impl Trait<…>`, or a macro's type): its run is a child of the run in which the
/// future is made. One thing the signature cannot tell such a body: in `-> impl Fn(&str)`, a closure that
/// ends the body knows its argument's type, one behind `return` has to say it, `return |text: &str| …`.
///
/// `#[tracing::instrument]` goes above `#[tracked]`. Below it, it would not see the future of a method of
/// `async_trait`, of `Pin<Box<dyn Future>>` or of `impl Future`: its span would end when the future is made.
pub use mlflow_macros::tracked;

/// Logs how long a function takes, in seconds, as the metric `time/<function>` of the current run;
/// the step is the number of the call in this process, from 1.
///
/// It starts no run, and without a current run it does nothing. The time ends when the body's
/// locals are gone, also if it panics. The time of a future is from its first poll to its end,
/// waiting included; where the future is returned (`-> impl Future`), from the call.
///
/// Written above `#[tracked]`, it logs to the function's own run; written below, to the caller's.
///
/// `name = "…"` replaces the function's name, `crate = path` says where this library is.
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

/// How the code that is built differs from its commit: what `git diff HEAD` says when the macro
/// expands, as an `Option<&'static str>`; `None` where nothing differs, or there is no git.
///
/// Given to [`Config::git_diff`](crate::Config::git_diff), it becomes the artifact `git/diff.patch` of
/// every run without a parent. It stands in the program, so it is right wherever that runs; expand it once,
/// in the program's own package.
///
/// - It is cut at 256 KiB, after a whole line, and says so.
/// - Credentials that can be recognised are masked, and so is what is given to a
///   [secret's name](macro@tracked#secrets): in Rust the texts and numbers up to the end of the
///   statement, in other files all that stands behind `=`, `:` or `--name`, and the block that begins
///   there. What is masked is not in the program, either. A secret under a name that does not say so is
///   not recognised. Git's new files that were not added (`git add`) are not in it.
/// - Git is asked in a way that changes neither the working tree nor the index.
/// - A moved HEAD expands it again. Other files count as they were when the package was compiled.
///
/// ```
/// # mlflow::configure(mlflow::Config::new().enabled(false));
/// mlflow::configure(mlflow::Config::new().git_diff(mlflow::git_diff!()));
/// ```
pub use mlflow_macros::git_diff;
