//! Messages of the library, and what to do about each of them.
//!
//! Messages are logged through [`tracing`](https://docs.rs/tracing), with the target `mlflow` and the level
//! `WARN`. Each one is about a value that is late, changed or lost, or about a setting that is not used, and
//! states what to do. While all is well, nothing is logged. Most programs have no subscriber, so each message about a loss, or
//! about something that a person has to do, is also a line on stderr. Losses are counted in [`health`](crate::health), too, and
//! at the end of the process a line on stderr reports what is left.
//!
//! Each message is logged once for a key, a file or a setting. Of each kind, at most 20 are logged in a
//! process, and the twentieth says that there may be more. A store that is unavailable causes one message,
//! and one more when it is back.
//!
//! ```
//! use tracing_subscriber::fmt;
//!
//! // Where the program shows its log, it shows this, too.
//! fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
//! // With the subscriber's feature `env-filter`, `RUST_LOG=info,mlflow=off` leaves it out.
//! ```
//!
//! # The store
//!
//! | message | meaning | what to do |
//! |---|---|---|
//! | the store does not accept values; they wait in the journal and are delivered when it does | the server is unavailable, slow or refuses us; `reason` says which | nothing, if the server comes back; else check the server, the URI and the credentials |
//! | the store is available again; waiting values are being delivered | | nothing |
//! | the store does not accept artifacts; they wait in the journal, everything else is delivered | the server's artifact store fails | check the server's artifact store |
//! | the store accepts artifacts again; the waiting ones are being uploaded | | nothing |
//! | the store fails for a single run or artifact, which is retried separately; everything else is delivered: … | the store works, but not for this run or artifact: a name that its file system cannot hold, a gateway's limit | check the reason, and the server's log |
//! | values that the store does not accept now cannot be copied within the journal; they stay in it for the next tracked program | the journal's disk is full or cannot be written | free space |
//! | values that the store has rejected for good cannot be saved for mlflow::resend_rejected; they are only counted | the journal's disk is full or cannot be written, or there are very many such values | free space |
//! | the store does not accept console logs; they wait in the journal, everything else is delivered | the server's artifact store fails for `logs/console.log` | check the server's artifact store |
//! | the store accepts some values only after somebody acts; they stay in the journal: … | the store takes no values of this run until a person acts: the run or its experiment is deleted | restore the run or experiment; the next tracked program with the same destination ships the waiting values |
//! | values stay in the journal until the next tracked program: … | the store cannot be used as it is configured | fix the setting that the message names |
//! | the journal has no space for metric points that are to be left out (MLFLOW_JOURNAL_MAX_BYTES); all points go to the store | copies of other values take the space | raise `MLFLOW_JOURNAL_MAX_BYTES`, or see why values wait |
//! | metric points that were left out cannot be written to a file; they stay in the journal | points beyond `MLFLOW_METRIC_MAX_POINTS_PER_SECOND` could not be encoded; they stay in the journal, and the next tracked program tries again or sends them as metrics | report the message: it is a fault of this library |
//! | `KIND` `KEY` is rejected for good: … | the store will never accept this value; the value is kept, and the rest of its batch is shipped | see the reason: a param, for example, cannot change; [`resend_rejected`](crate::resend_rejected) sends the value again |
//! | the run that rank 0 starts is not in the store yet; values wait in the journal. Check that rank 0 is tracked, and that the rendezvous id and the experiment are the same in all ranks | ranks above 0 wait for the run of rank 0, see [`distributed`](crate::distributed) | check that rank 0 tracks, with the same rendezvous id and experiment |
//! | a run whose process has died could not be ended in the store | the run's values are in the store, but its status is still RUNNING | end the run by hand |
//! | the password or token for `URI` is sent without encryption, so that anyone on the way can read it; use an https:// address as the tracking URI | the tracking URI is `http://` with a host that is not this machine | use `https://` |
//! | artifacts go to the bucket at `HOST` without encryption, as `URI` has signed an http:// address for them; anyone on the way can read them. Let the server sign https:// addresses (MLFLOW_S3_ENDPOINT_URL of the server) | the server is reached by `https://`, and its bucket is not | let the server sign `https://` addresses |
//! | the tracking server's certificate is not checked (MLFLOW_TRACKING_INSECURE_TLS, Config::insecure_tls) | anyone between the program and the server can read the traffic | set `MLFLOW_TRACKING_SERVER_CERT_PATH` instead |
//!
//! # Values
//!
//! | message | meaning | what to do |
//! |---|---|---|
//! | … its value was cut: MLflow stores at most `N` characters | a param, tag or name is longer than MLflow's limit | log the value as an artifact (`log_text`) |
//! | … its NUL characters are replaced by U+FFFD: not every database holds them | | remove the NUL characters |
//! | metric … text that looks like a credential is left out of its name | a metric whose name holds a token, such as one of a map | use another name |
//! | … its value is logged as `[redacted]`, because this is the name of a secret; a value that is none needs another name | a param or tag such as `db_password`; see [`tracked`](macro@crate::tracked#secrets) | do not log secrets; if the value is none, give it another name |
//! | … text that looks like `A CREDENTIAL` was logged as `[redacted]`; later ones are masked without a warning | see [`tracked`](macro@crate::tracked#secrets) | do not log credentials; if the text is none, log it as an artifact |
//! | … its formatting returned an error; the text written before the error is logged | a `Display` or `Serialize` of yours returned an error | fix the implementation |
//! | … its formatting panicked; the text written before the panic is logged | a `Display` or `Serialize` of yours panicked | fix the implementation |
//! | … its formatting returned an error; the default name is used | a `Display` in the name of a run or an experiment returned an error | fix the implementation |
//! | … its formatting panicked; the default name is used | a `Display` in the name of a run or an experiment panicked | fix the implementation |
//! | run "name": it is empty and is not used; expected 1 to `N` characters | a run's name, or its template, gave an empty text; the run has the default name | give a name, or leave it out |
//! | … this field and the following ones are left out: at most `N` fields of one argument are logged, and `N` by log_params | a struct or map with very many fields | log the fields that matter |
//! | … it is left out: it is nested too deeply inside its value | the value is nested too deeply | log the value by itself |
//! | best_run of … in the experiment …: `N` values of this process are not delivered (best_run waits for them for 5 seconds at most), so the answer may lack runs or values. … | the store is slow or unavailable, or takes values only after a person has acted | call [`flush`](crate::flush()) with more time before [`best_run`](crate::best_run()) |
//! | … at `FILE`:`LINE` was logged outside of any run and is not recorded, nor are later values of this key. Call it inside a #\[mlflow::tracked\] function, or start a run before it: let run = mlflow::start_run!().start(). Another thread or task has no run unless the run is taken along: to a thread with mlflow::thread::spawn or carry, to a task with mlflow::thread::carry_future. … | a log call where no run is current: before the first run, after the last, or on a thread or in a task that has not taken the run along; for an event of `tracing`, the line names no place | use [`tracked`](macro@crate::tracked), [`start_run`](crate::start_run()) or [`thread`](crate::thread) |
//! | a run was built and not started, so nothing is logged to it. … | `let run = mlflow::start_run();` without `.start()` | call `.start()` |
//! | the name of an experiment is empty; … Its runs go to the default experiment of the program; and: the name of the experiment … has `N` characters; it is cut: at most `N` are allowed | MLflow takes 1 to 500 characters | use another name |
//! | MLFLOW_EXPERIMENT_ID=… is not used, as MLFLOW_EXPERIMENT_NAME names another experiment, whose id is …. Unset one of them | the name is used, the id is not | unset one of the two variables |
//! | the resumed run `ID` stays in its experiment …, where it was created. …, which is configured for it, is ignored. Remove that setting, or start a new run | a run is resumed, while the program or the environment names another experiment than the run's | leave the experiment out, or start a new run |
//! | not everything that ended processes have left could be delivered in `N` seconds: the newest checkpoint may not be whole yet, and an older one is used then. Call mlflow::recover with more time before | `resume_last` delivers first what a killed process has left, and much of it is still on the way | call [`recover`](crate::recover) with a longer timeout before `resume_last` |
//! | the checkpoint … of the run … is not whole, e.g. because its process was killed, so it is skipped, and the newest whole one is used if there is one | [`download_checkpoint`](crate::Resume::download_checkpoint) found a newer checkpoint that lacks files | nothing |
//! | the last run that did not finish cannot be looked up, so a new run is started: … | [`resume_last`](crate::RunBuilder::resume_last) got no answer from the store | see the reason; to continue a certain run, give its id to [`run_id`](crate::RunBuilder::run_id) |
//! | metric, param, tag `KEY` is stored as `NAME`, because MLflow refuses the key: … | each character that MLflow refuses becomes `_`; nothing is lost | use another key, if you prefer another name |
//! | table `PATH` is stored as `NAME`: MLflow finds tables whose paths are relative, end in .json and hold neither credentials nor the characters `"',:[]{}?` | Python's client and the page look for tables by their names; nothing is lost | use another name, if you prefer another name |
//! | table `PATH` is stored and not shown as a table, because MLflow's list of the run's tables is full; use fewer tables, and append to them | MLflow keeps the list in one tag of the run; the file is there with all its rows | append to a table instead of making a new one for each step |
//! | figure `PATH` is stored as `NAME`, because MLflow shows a figure by the ending of its name | the page shows `.svg` as an image and `.html` as a page; nothing is lost | end the name in `.svg` or `.html` |
//! | image `PATH` is stored as `NAME`, because images are stored as PNG | nothing is lost | end the name in `.png` |
//! | an image (…) was written as a text, so its pixels are not kept: give the image to log_image, or to log_table in a struct or map | an `Image` was serialized outside of `log_table`, e.g. by `serde_json::json!` | do what the line says |
//! | image `KEY` is stored under the key `NAME`: the page of MLflow shows keys of the letters a to z, digits, `_`, `-`, `.`, `/` and spaces, and a key has at most `N` characters | other characters become `_`, and the key ends with a hash of itself; nothing is lost | use another key, if you prefer another name |
//! | image …: its size is `W` × `H` pixels, so it has none; its `N` bytes are no `W` × `H` pixels of `N` bytes each, which are `N` bytes | the image is not logged | pass the pixels that the size promises |
//! | row of the table …: row `N` is left out: it cannot be written as JSON: …; its `Serialize` panicked | `log_table` was given a row that has no form in JSON; the other rows are kept | fix the `Serialize` of the row |
//! | artifact …: the value cannot be written as JSON: …; the `Serialize` of the value panicked | `log_dict` was given such a value | fix the `Serialize` of the value |
//! | artifact …: it is not a folder; log a file with log_artifact; there is no such folder | `log_artifacts` was given such a path | give the path of a folder |
//! | table … is rejected for good: rows cannot be appended to what the run has at this path: …; log the table under another path | another artifact of the run has the table's path | use another path |
//! | table … is rejected for good: the table would have `N` bytes, and at most `N` are supported; log further rows under another path, or the data as a file | a table is sent as a whole at each append | use a file for large data |
//! | artifact, table, image, figure …: its path is absolute; its path is empty or has an empty, `.` or `..` part; its path holds …; its path has a name longer than the 255 bytes that file systems hold; give a path below the run, such as `plots/loss.png` | no store can keep the path; the artifact is not logged | use another path |
//! | artifact `PATH` is stored as `NAME`, because its path holds a credential, or because MLflow's servers do not keep `%` and `#` in names, or a space before them | such characters become `_`, and the name ends with a hash of the path; nothing is lost | use another path, if you prefer another name |
//! | metric, param, tag `KEY` is also the name under which `OTHER` is stored, because MLflow refuses that key; … | two keys share one name; for a param, the second value is refused | use another key for one of them |
//! | field …: it is not a number, so no metric is logged; pass the number itself, without `%` or `?` | a field `metric.NAME` of an event is no number, see the feature `tracing` | write `metric.loss = loss` |
//! | field …: it is not an integer; the metrics of the event are logged at step 0 | the field `step` of an event is no integer | write `step = epoch` |
//! | `metric` or `metrics` at `FUNCTION` names …, but the function returned …; … | the attribute expects a returned value of another kind | leave the argument out, or return what the argument names |
//! | a value of the type `TYPE` is not logged, because its `LogAsModel::to_model` panicked; the program continues | an implementation of [`LogAsModel`](crate::LogAsModel) or [`LogAsInput`](crate::LogAsInput) panicked; all else is logged | fix the implementation |
//! | the expression of `ARGUMENT` at `FUNCTION` panicked; the argument is left out, the function continues | an expression in the attribute panicked, e.g. in `tags(…)` | fix the expression |
//! | artifact …: there is no such file or folder; it has no name of its own; its name is not valid UTF-8, which MLflow's paths are; it is neither a file nor a folder; it is a link to a folder, and not followed; the checkpoint is left out, because `N` files of it cannot be stored; the folder has no files, so it is no checkpoint | `log_artifact` was given such a path, or a folder that contains one | give another path |
//! | checkpoint … is rejected for good: the store lacks its file …, so it is not complete, and no run continues from it | a file of the checkpoint was rejected, or somebody deleted it | log the checkpoint again |
//! | old checkpoints of the run … cannot be deleted, so all of them are kept: … | after `keep_checkpoints`; the reason is the store's | delete them by hand, or see [`Run::keep_checkpoints`](crate::Run::keep_checkpoints) |
//! | keep_checkpoints(0) would delete every checkpoint, so it is ignored; keep at least 1 | | give the number of steps whose checkpoints are kept |
//! | artifact …: its `N` bytes find no room beside the journal: `N` bytes of disk space are free, of which `N` are reserved for the program's own files; free space there, or set MLFLOW_JOURNAL_DIR to a larger disk | the artifact is not logged, because its copy would fill the disk | free space |
//! | artifact …: its `N` bytes cannot be copied beside the journal (…); set MLFLOW_JOURNAL_DIR to a directory that can take them | the artifact is not logged; the reason in parentheses is the operating system's | |
//! | artifact …: its `N` bytes are too many for a journal in memory; set MLFLOW_JOURNAL_DIR to a directory that can be written | the artifact is not logged: no directory can be written | |
//! | artifact … is rejected for good: its copy in the journal's directory should have `N` bytes and has `N`; it was changed by a power failure or another program | a process died, and the machine with it, before the device had stored the copy | log the artifact again; the rest of the copy is kept where the message says |
//! | artifact … is rejected for good: its copy in the journal's directory has `N` bytes, as it should, but not those that were logged (wrong checksum); they were changed by a power failure or another program | as above: a process and its machine died before the device had stored the copy | log the artifact again |
//! | artifact … is rejected for good: its copy in the journal's directory cannot be read: … | the copy is missing, or is no file of this user | log the artifact again |
//! | artifact …: it cannot be read: … | the file or folder to be logged cannot be read | make it readable |
//! | artifact …: it could not be copied beside the journal (…) and is kept in the journal itself instead | the disk is full or cannot be written | free space |
//! | artifact …: it could not be made beside the journal (…) and is kept in the journal itself instead | the disk is full or cannot be written; the artifact is `logs/console.log`, see the feature `tracing` | free space |
//! | dataset …: the digest of the file … cannot be computed (…); the digest of its name and source is used instead | the file of a [`Dataset`](crate::Dataset) is missing, cannot be read, or has changed since; the dataset is logged | log the dataset while the file is there, or give its [`digest`](crate::Dataset::digest) |
//! | dataset …: the digest of its rows cannot be computed (…); the digest of its name and source is used instead | Polars cannot hash a column, or the process was killed before the rows of a large frame were hashed; the dataset is logged | give the [`digest`](crate::Dataset::digest) of the data |
//! | dataset schema, dataset profile …: it has `N` characters and is left out: MLflow stores at most `N` | the rest of the dataset is logged | describe fewer columns or numbers |
//! | dataset source …: its URI was cut: MLflow stores at most `N` characters of a source | the rest of the dataset is logged | give a shorter [`source`](crate::Dataset::source) |
//! | dataset …: its shape stays …; its shape, its targets, the number … of its profile is left out: … | a call on a [`Dataset`](crate::Dataset) has no effect; the rest of the dataset is logged | see the reason |
//! | dataset … is rejected for good: its record in the journal's directory cannot be read: … | the record is damaged, or no file of this user | log the dataset again |
//! | model …: its name is empty; its name contains …; its name has `N` characters | MLflow refuses the name; the model is not logged | give it another name |
//! | model …: it has no files; it has two files with the path …; it has a file "MLmodel"; … is no path inside of a model; there is no file or folder …; … is no file, is no folder; … cannot be read: …; its file …: … | the model is not logged, because one of its files cannot be; the run and everything else is | see the reason |
//! | model flavor …: the model is logged as plain files: … | the files are not what the [`Flavor`](crate::Flavor) needs; the model is logged under the flavor `files` | give the file of the flavor, or a flavor of your own |
//! | model …: its file … is also the folder of its file …; rename one of them | no store holds both; the model is not logged | rename one of them |
//! | model …: its file … is stored as …, because MLflow's servers do not keep `%` and `#` in names | both characters become `_`, and the name ends with a hash of the path; nothing is lost | use another path, if you prefer another name |
//! | model flavor …: … is taken as the model, because several of its files have names that end in .onnx; … | `mlflow.onnx` loads one file | name the model `model.onnx` |
//! | model signature, model input example, model registration …: it is left out: … | the rest of the model is logged | see the reason |
//! | model registration …: the alias … is left out: it …; its aliases and the tags of its version are left out: … | MLflow refuses or reserves the alias, or the model is not registered; everything else is logged | choose another alias, or name the registered model with [`register_as`](crate::Model::register_as) |
//! | model output, model input …: it is no id of a logged model, … | `log_output` or `log_model_input` was given another text | give the id, which begins with `m-` |
//! | model param, model tag, model version tag …: … is left out: … | MLflow refuses the key; the rest of the model is logged | give it another key |
//! | model file … is rejected for good: … | the store rejects a file of the model, or its copy is damaged; MLflow shows the upload of the model as failed | log the model again |
//! | model … is rejected for good: it is stored, without its metrics: … | the metrics are on the run only | see the reason |
//! | model … is rejected for good: `N` of its `N` files are missing in the store, first …: somebody has deleted the logged model, or an earlier process could not deliver the file; … | no file of the model is on its way any more; MLflow shows its upload as failed | log the model again |
//! | model …, model file … is rejected for good: somebody has deleted the logged model; … | the SQLite file holds the model as deleted | log the model again |
//! | model … is incomplete, and marked as failed: its process ended before it had logged all of it | the process was killed in the middle of `log_model` | log the model again |
//! | model … is rejected for good: it is stored, but not registered as …: … | the store refuses to register the model | see the reason, and register the model in the MLflow UI |
//! | model … is rejected for good: its record in the journal's directory cannot be read: … | the record is damaged, or no file of this user | log the model again |
//! | the store accepts some values only after somebody acts; they stay in the journal: logged models need tables that MLflow 3 adds to …: open the file once with MLflow 3 (`mlflow ui --backend-store-uri …`), and the models that wait are stored | no MLflow 3 has opened the SQLite file yet; everything else is stored | open it, then start a tracked program, or run `cargo mlflow sync` |
//! | the store accepts some values only after somebody acts; they stay in the journal: the server has no logged models, which MLflow has since 3.0: upgrade the server to get the models that wait here | everything else is stored | upgrade the server |
//! | the store fails for a single run or artifact, …: the model … is completed when the store has all of its files; `N` of its `N` files are missing in the store, first … | a file of the model waits by itself | see the line about that file |
//! | artifact …: stdout and stderr are not captured for it: … | the disk is full; the capture is tried again for later runs | free space |
//! | artifact …: a line could not be written beside the journal: … | the disk is full; later lines are tried again | free space |
//! | artifact …: later lines are left out: it has reached the size that MLFLOW_CONSOLE_MAX_BYTES allows | a run logs very many lines | raise the limit, or let fewer events reach the layer: with a filter, or its `console` level |
//!
//! # The journal
//!
//! | message | meaning | what to do |
//! |---|---|---|
//! | the journal is full; metrics and small text artifacts are dropped until the store has accepted some values | values of `MLFLOW_JOURNAL_MAX_BYTES` are waiting; params, tags, the ends of runs and copies of artifacts are still kept | bring the server back, or raise the limit |
//! | the memory of the journal is full; metrics and small text artifacts are dropped until the store has accepted some values | the journal is in memory, where its limit is reached | set `MLFLOW_JOURNAL_DIR` to a directory that can be written |
//! | files of the journal were deleted by another program before their values were delivered; the values are lost | somebody cleared the directory | set `MLFLOW_JOURNAL_DIR` to a directory that nobody clears |
//! | the journal's directory cannot be used; using the fallback directory. Set MLFLOW_JOURNAL_DIR to a directory of your own | the directory cannot be written, belongs to another user, or is writable by others: `error` says which; a directory below the temporary one is used | set `MLFLOW_JOURNAL_DIR` to a directory of your own |
//! | no directory for the journal can be used; values are kept in memory and are lost if the process is killed | the fallback cannot be used either: `error` says why | set `MLFLOW_JOURNAL_DIR` to a directory of your own |
//! | a journal is not shipped, because other users can write to it. If nobody has changed it, remove that permission (chmod -R go-w) | the journal that `error` names belongs to this user, but others can write to it | `chmod -R go-w` |
//! | the journal cannot be written; values are kept in memory and are lost if the process is killed | the disk has become full or read-only | free space |
//! | the thread that syncs the journal could not be started; values that are not delivered yet may be lost in a power failure | values still survive the end of the process | raise the limit on threads |
//! | the journal could not be synced to the disk; values that are not delivered yet may be lost in a power failure | `fsync` failed | check the disk |
//! | a journal file cannot be read; it is kept, and the values in it are not shipped | `file` says which | check the file's permissions, and the disk |
//! | a journal file is damaged; the undamaged records are shipped, and the file is moved to the folder `damaged-<uid>` beside the journals | the machine lost power, or the disk is at fault; `skipped_bytes` from `offset` on could not be read; `nameless` values could be read, but not the run or metric to which they belong; see [`damaged`](crate::Health::damaged) | check the disk; delete the file when nobody needs it |
//! | a damaged journal file cannot be moved to the folder `damaged-<uid>` beside the journals; it stays where it is | `error` says why | make the journal's directory writable; the next tracked program tries again |
//! | a journal names an artifact file that is not one of its own; the artifact is not shipped | somebody changed the journal | |
//! | a journal contains record types that this version of the library does not know; they are kept for a newer version, everything else is shipped | a newer version of this library wrote it | run a program with that version |
//!
//! # Settings and the process
//!
//! | message | meaning | what to do |
//! |---|---|---|
//! | `VARIABLE`=… cannot be used and is ignored; expected … | the default is used | fix the variable |
//! | `MLFLOW_RUN_CONTEXT` cannot be used and is ignored; expected a JSON object such as … | the variable is ignored; its value is not shown, because it may contain a secret | fix the variable |
//! | MLFLOW_TRACKING_AWS_SIGV4 is ignored and requests are not signed: build the program with mlflow-runtime's feature `aws-sigv4` | the program is built without the feature `aws-sigv4` | turn the feature on |
//! | MLFLOW_TRACKING_AUTH=kubernetes-namespaced names no workspace: …; set MLFLOW_WORKSPACE outside of a pod | the file with the pod's namespace cannot be read; the server's default workspace is used | set `MLFLOW_WORKSPACE` |
//! | MLFLOW_TRACKING_HEADERS, or Config::header: …; what is named here is left out. Expected name=value,name=value, with `%2C` for a comma in a value | a header cannot be sent; all others are | fix the entry that is named |
//! | MLFLOW_REDACT_PATTERN, or Config::redact, cannot be used and masks nothing: … | the pattern is no regular expression; all other kinds of secrets are masked | fix the pattern |
//! | MLFLOW_REDACT_PATTERN, or Config::redact: … masks nothing, as a process can have 64 patterns | the program configures very many patterns | join patterns with `\|` |
//! | MLFLOW_REDACT_PATTERN is ignored and masks nothing: build the program with mlflow-runtime's feature `redact` | only the kinds of secrets are masked that the library knows | enable the feature `redact`, or unset the variable |
//! | …. The credentials that were read before are still used | the file or function of the token fails now | fix the file, or the function |
//! | `FILE` cannot be read and is ignored: … | the credentials file `~/.mlflow/credentials` exists, but cannot be read | make the file readable for the user, or remove it |
//! | `FILE` cannot be used and is ignored; expected a section `[mlflow]` with lines such as mlflow_tracking_username = alice | the credentials file is not in the format that MLflow reads | fix the file |
//! | `VARIABLE` is not valid UTF-8 and is ignored | the default is used | fix the variable |
//! | `SOURCE`=… cannot be used: …; expected … Nothing is sent; values wait in the journal until … | the tracking URI cannot be used; or its store is not built into the program; the values go to no other store | give a URI of the expected form, or build with the feature that the message names; if it is plain what was meant, the next tracked program with the right URI ships the waiting values, else call [`recover_from`](crate::recover_from) |
//! | `MLFLOW_RENDEZVOUS_ID`=… is ignored, because no launcher has set the rank of this process; expected RANK and WORLD_SIZE, or what Open MPI, PMI or srun sets in their place | see [`distributed`](crate::distributed) | start the program by `torchrun`, `mpirun` or `srun` |
//! | … cannot be used and is ignored: … | a template, e.g. the metric prefix, is invalid | fix the template |
//! | the shipper's thread could not be started; values stay in the journal until the next tracked program ships them | | raise the limit on threads |
//! | the I/O driver of the shipper's thread could not be started; values stay in the journal until the next tracked program ships them | the process has too many open files | raise the limit |
//! | no exit hook could be installed; call mlflow::flush before the program ends | | |
//! | no signal handlers could be installed; runs that a signal ends are closed by the next tracked program | | |
//! | forks cannot be detected; a child process that continues without exec must not use tracking | | |
//! | cannot capture stdout and stderr; output is passed through unchanged | `error` says why: for example, there is no `tee` | install what is missing, or do without the capture |
//! | stdout and stderr are no longer captured: the output is longer than MLFLOW_CONSOLE_MAX_BYTES allows | the artifact holds what was written until then | raise the limit, or print less |
//! | stdout and stderr are no longer copied to `FILE`, because …; output is still passed through unchanged, and the file contains the output up to now | the helper process was killed, or nothing reads the output any more | nothing |
//! | `FILE` may lack some output of stdout and stderr, because …; is the disk full? | | free space |
//! | MLFLOW_METRIC_MAX_POINTS_PER_SECOND is ignored and all points go to the store: build the program with mlflow-runtime's feature `thinning` | no point is left out | enable the feature `thinning`, or unset the variable |
//! | system metrics are enabled, but not compiled in; enable the feature | the run continues without system metrics | enable the feature `system-metrics` of mlflow-runtime |
//! | cannot start the thread that samples system metrics; the run has none | | raise the limit on threads |
//!
//! Lines are also printed on stderr, unless `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` is set:
//!
//! - the URLs of the first five runs that have one, then a line that the URLs of further runs are not printed;
//! - for a file that was created as the store, its place and how to view it;
//! - at the end of the process, how many values are left, where, why, and who ships them;
//! - every setting that cannot be used;
//! - values that are lost, cut, masked, or stored under other names, a journal that is full, removed or held in memory;
//! - after some seconds, how many values were rejected or wait until a person acts, with the first reason;
//! - what waits for the server's artifact store, or for a rank that does not come;
//! - a certificate that is not checked;
//! - a thread, a capture or a handler that cannot be started;
//! - without a subscriber, that the journal's directory cannot be used.

// The tables quote the messages literally.
#![allow(clippy::doc_markdown)]

use std::fmt;

use crate::tracker::global;
use crate::warnings::warn_user;

/// Issues a message of the library about a value that is left out, or a setting that is not used: for packages that log the
/// values of another library, such as `mlflow-burn`.
///
/// The message goes to `tracing` subscribers, with the target `mlflow` and the level `WARN`, and to stderr unless
/// `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` is set. Each text is issued once in a process, the first 20 texts in all.
/// What looks like a credential is masked. While tracking is off, nothing is issued.
///
/// ```
/// fn log_score(name: &str, score: f64) {
///     if score.is_nan() {
///         mlflow::diagnostics::warn(format_args!(
///             "the score {name:?} is left out, as it is not a number; give the model at least one sample"
///         ));
///     } else {
///         mlflow::log_metric(name, score);
///     }
/// }
///
/// let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// log_score("r2", 0.5);
/// log_score("mse", f64::NAN); // a line on stderr
/// drop(run);
/// fake.assert_metric("r2", &[(0, 0.5)]);
/// ```
pub fn warn(line: fmt::Arguments<'_>) {
    if global::is_enabled() {
        warn_user(line);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Collects the longest literal part of every warning in the sources.
    fn warnings(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                warnings(&path, found);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let source = source
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            let source = source
                .replace("warn_user(format_args!(", "tracing::warn!(")
                .replace("UserWarning::new(format_args!(", "tracing::warn!(");
            for call in source.split("tracing::warn!(").skip(1) {
                let call = call
                    .split_once("target: \"mlflow\"")
                    .map_or(call, |(_, rest)| rest);
                let end = call.find(");").unwrap_or(call.len());
                let call = &call[..end];
                let Some(literal) = call.split('"').nth(1) else {
                    continue;
                };
                let words = literal.replace("\\\n", "");
                let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
                let longest = words
                    .split(['{', '}', '.', '`'])
                    .max_by_key(|part| part.len())
                    .unwrap_or_default();
                found.push(longest.trim_matches([' ', ':', ';', '(', ')']).to_owned());
            }
        }
    }

    #[test]
    fn every_warning_is_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let page = fs::read_to_string(root.join("diagnostics.rs")).unwrap();
        let page: String = page
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        let mut found = Vec::new();
        warnings(&root, &mut found);
        assert!(found.len() > 30, "{found:?}");
        let missing: Vec<_> = found
            .iter()
            .filter(|words| words.len() > 12 && !page.contains(words.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in the table: {missing:#?}");
    }
}
