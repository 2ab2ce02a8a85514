//! What the library says, and what to do about it.
//!
//! It speaks through [`tracing`](https://docs.rs/tracing), target `mlflow`, level `WARN`: every line
//! is about a value that is late, changed or lost, or a setting that is not used, and says what to
//! do. Nothing is said while all is well. A program without a subscriber sees none of it; what was
//! lost is in [`health`](crate::health), too, and the end of the process says on stderr what is left.
//!
//! Each of these comes once for a key, a file or a setting, and of each kind at most 20 times in a
//! process; the twentieth says so. A store that is away is one line, and one when it is back.
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
//! | it says | meaning | what to do |
//! |---|---|---|
//! | the store does not take values; they wait in the journal and are shipped when it does | the server is away, slow or refuses us; `reason` says which | nothing, if it comes back; else look at the server, the URI, the credentials |
//! | the store is back; what waited is being shipped | | nothing |
//! | the store does not take artifacts; they wait in the journal, everything else is shipped | the server's artifact store fails | look at the server's artifact store |
//! | the store takes artifacts again; those that waited are being shipped | | nothing |
//! | the store fails for one run or artifact; it waits by itself and is tried again, everything else is shipped: … | the store answers, but not for this one: a name that its file system does not hold, a gateway's limit | look at the reason, and at the server's log |
//! | values that wait by themselves cannot be copied; they stay where they are for the next tracked program | the journal's disk is full or cannot be written | free space |
//! | values that the store refuses for good cannot be kept; they are counted only | the same, or there are very many | free space |
//! | the store does not take what runs say in words; it waits in the journal, everything else is shipped | the same for `logs/console.log` | look at the server's artifact store |
//! | values stay in the journal: … | this run takes none until a person acts: its experiment is deleted, or the run is | restore it; the next tracked program with the same destination ships what waits |
//! | values stay in the journal until the next tracked program: … | the store cannot be used as it is configured | mend the setting that the line names |
//! | `KIND` `KEY` is set aside: … | the store will never take this value; it is kept, and the rest of its batch is shipped | what the reason says: a param cannot change; [`resend_rejected`](crate::resend_rejected) sends it again |
//! | the run that rank 0 starts is not in the store yet; values wait in the journal. Does rank 0 track, and are the rendezvous id and the experiment the same in all ranks? | ranks above 0 wait for the run of rank 0, see [`distributed`](crate::distributed) | check that rank 0 tracks, with the same rendezvous id and experiment |
//! | a run whose process died could not be closed | its values are there, its status is still RUNNING | end it by hand |
//! | MLFLOW_TRACKING_INSECURE_TLS is set: the tracking server's certificate is not checked | whoever is in between can read along | set `MLFLOW_TRACKING_SERVER_CERT_PATH` in its place |
//!
//! # Values
//!
//! | it says | meaning | what to do |
//! |---|---|---|
//! | … its value was cut: MLflow holds `N` characters | a param, tag or name is longer than MLflow's limit | log it as an artifact (`log_text`) |
//! | … its NUL characters are replaced by U+FFFD: not every database holds them | | take them out |
//! | … what looks like `A CREDENTIAL` was logged as `[redacted]`; so are others, with no further warning | see [`tracked`](macro@crate::tracked#secrets) | do not log it; if it is none, log it as an artifact |
//! | … its formatting returned an error; logged is what it wrote until then | a `Display` or `Serialize` of yours failed | mend it |
//! | … its formatting panicked; logged is what it wrote until then | the same | mend it |
//! | … its formatting returned an error; the default takes its place | the same, in the name of a run or an experiment | mend it |
//! | … its formatting panicked; the default takes its place | the same | mend it |
//! | … it and what follows are left out: of one value `N` fields are logged | a struct or map with very many fields | log the fields that matter |
//! | … it is left out: it stands too deep inside of its value | | log it by itself |
//! | … is logged outside of any run and is not recorded; … | a log call where no run is current: before the first, or on a thread or in a task that has not taken it along | [`tracked`](macro@crate::tracked), [`start_run`](crate::start_run()), [`thread`](crate::thread) |
//! | a run was built and not started: … | `let run = mlflow::start_run();` | `.start()` |
//! | the name of an experiment is empty; … and: the name of the experiment … has `N` characters; it is cut: … | MLflow takes 1 to 500 characters | another name |
//! | MLFLOW_EXPERIMENT_ID=… is not used, as MLFLOW_EXPERIMENT_NAME names another experiment, whose id is …. Unset one of them | the name counts | unset one of them |
//! | the run `ID` goes on in its experiment …: a run stays where it was created. …, which is named for it, is not used. … | a run is resumed, and an experiment named, by the program or the environment, that it is not in | leave the experiment out, or start a new run |
//! | metric, param, tag `KEY` is kept as `NAME`, as MLflow refuses the key: … | each character that MLflow refuses becomes `_`; nothing is lost | another key, if the name does not please |
//! | artifact `PATH` is kept as `NAME`, as MLflow's servers do not keep `%` and `#` in names | both become `_`, and the name ends with a hash of the path; nothing is lost | another name, if this one does not please |
//! | metric, param, tag `KEY` is also the name that `OTHER` is kept under, which MLflow refuses; … | two keys have one name; of a param the second value is refused | another key |
//! | field …: it is no number, and no metric; give the number itself, without `%` and `?` | a `metric.NAME` of an event, see the feature `tracing` | `metric.loss = loss` |
//! | field …: it is no integer; the event's metrics are at step 0 | the `step` of an event | `step = epoch` |
//! | `metric` or `metrics` at `FUNCTION` names …, and the function has returned …; … | the attribute names a returned value of another kind | leave the argument out, or return what it names |
//! | the expression of `ARGUMENT` at `FUNCTION` panicked; it is left out, the function goes on | an expression in the attribute, e.g. in `tags(…)` | mend it |
//! | artifact …: there is no such file or folder; it has no name of its own; its name is not valid UTF-8, which MLflow's paths are; it is neither a file nor a folder; it is a link to a folder, and not followed | `log_artifact` was given something else, or there is such a thing in the folder that it was given | another path |
//! | artifact …: its `N` bytes find no room beside the journal: `N` bytes are free, of which `N` stay free for the program's own files; free space there, or set MLFLOW_JOURNAL_DIR to a larger disk | it is not logged: our copy would fill the disk | free space |
//! | artifact …: its `N` bytes cannot be copied beside the journal (…); set MLFLOW_JOURNAL_DIR to a directory that can take them | it is not logged; the reason is the system's | |
//! | artifact …: its `N` bytes are too many for a journal in memory; set MLFLOW_JOURNAL_DIR to a directory that can be written | it is not logged: no directory can be written | |
//! | artifact … is set aside: its copy beside the journal should have `N` bytes and has `N`; the rest was lost, with the power or by another hand | a process died, and the machine with it, before the device had the copy | log it again; what is left of it is kept where the line says |
//! | artifact … is set aside: its copy beside the journal has `N` bytes, as it should, but not those that were logged (checksum) | the same | the same |
//! | artifact … is set aside: its copy beside the journal cannot be read: … | it is gone, or not a file of this user | the same |
//! | artifact …: it cannot be read: … | | |
//! | artifact …: it could not be copied beside the journal (…) and takes the way through memory | the disk is full or cannot be written | free space |
//! | artifact …: it could not be made beside the journal (…) and takes the way through memory | the same for `logs/console.log`, see the feature `tracing` | free space |
//! | artifact …: stdout and stderr are not captured for it: … | the disk is full; later runs are tried again | free space |
//! | artifact …: a line could not be written beside the journal: … | the disk is full; later lines are tried again | free space |
//! | artifact …: more lines are left out: it has as many bytes as MLFLOW_CONSOLE_MAX_BYTES allows | a run says very much | raise the limit, or let the layer see less: a filter, its `console` level |
//!
//! # The journal
//!
//! | it says | meaning | what to do |
//! |---|---|---|
//! | the journal is full; metrics and artifacts are dropped until the store has taken some | `MLFLOW_JOURNAL_MAX_BYTES` are waiting; params, tags, outcomes and copies of artifacts are still kept | bring the server back, or raise the limit |
//! | the memory that the journal may take is full; metrics and artifacts are dropped until the store has taken some | the same where the journal lies in memory | set `MLFLOW_JOURNAL_DIR` to a directory that can be written |
//! | files of the journal were removed before the store had taken their values, which are lost | somebody cleared the directory | set `MLFLOW_JOURNAL_DIR` to one that nobody clears |
//! | the journal's directory cannot be used; using the fallback. Set MLFLOW_JOURNAL_DIR to one of your own | it cannot be written, belongs to another user, or is writable by others: `error` says which; a directory below the temporary one is used | set `MLFLOW_JOURNAL_DIR` to one of your own |
//! | no directory for the journal can be used; values are kept in memory and are lost if the process is killed | the same of the fallback: `error` says why | the same |
//! | a journal is not shipped, as others could have changed it. Take that away (chmod -R go-w), if nobody has | `error` names it: it is this user's, and others can write to it | `chmod -R go-w` |
//! | the journal cannot be written; values are kept in memory and are lost if the process is killed | the disk is full or read-only by now | free space |
//! | the journal's thread could not be started; a loss of power may cost what was not delivered yet | values outlast the process all the same | raise the limit on threads |
//! | the device did not confirm the journal; a loss of power may cost what was not delivered yet | `fsync` failed | look at the disk |
//! | a journal file cannot be read; it is left where it is | `file` says which | look at its permissions, the disk |
//! | a journal file is damaged; everything else in it is shipped, and it is kept in the folder `damaged` of the journal (`damaged-<uid>` beside the journals) | the machine lost power, or the disk is at fault; `skipped_bytes` from `offset` on could not be read, `nameless` values could, but not what they are of; see [`damaged`](crate::Health::damaged) | look at the disk; delete the file when nobody needs it |
//! | a damaged journal file cannot be moved to the folder `damaged`; it stays where it is | `error` says why | make the journal's directory writable; the next tracked program tries again |
//! | a journal names a file that is no artifact of it; it is left out | somebody changed the journal | |
//! | a journal holds records of kinds that this version does not know; they stay for a newer one, everything else is shipped | a newer version of this library wrote it | run a program with that version |
//!
//! # Settings and the process
//!
//! | it says | meaning | what to do |
//! |---|---|---|
//! | `VARIABLE`=… cannot be used and is ignored; expected … | the default is used | mend it |
//! | `MLFLOW_RUN_CONTEXT` cannot be used and is ignored; expected a JSON object such as … | its value is not shown, as it may have a secret in it | mend it |
//! | `VARIABLE` is not valid UTF-8 and is ignored | the same | mend it |
//! | `SOURCE`=… cannot be used: …; expected … Nothing is sent; values wait in the journal until it is mended | the tracking URI is none that can be used; the values go to no other store | give what is expected: where it is plain what was meant, the next tracked program with that URI ships what waits, else [`recover_from`](crate::recover_from) |
//! | `MLFLOW_RENDEZVOUS_ID`=… is ignored, as no launcher says which rank this process is; expected RANK and WORLD_SIZE, or what Open MPI, PMI or srun sets in their place | see [`distributed`](crate::distributed) | start the program by `torchrun`, `mpirun` or `srun` |
//! | … cannot be used and is ignored: … | a template, e.g. the metric prefix | mend it |
//! | no thread could be started; values stay in the journal until the next tracked program | | raise the limit on threads |
//! | no I/O driver could be started; values stay in the journal until the next tracked program | too many open files | raise the limit |
//! | no exit hook could be installed; call mlflow::flush before the program ends | | |
//! | no signal handlers could be installed; runs that a signal ends are closed by the next tracked program | | |
//! | forks cannot be noticed; a child that goes on without exec must not track | | |
//! | stdout and stderr cannot be captured; they go where they went | `error` says why: there is no `tee`, say | install it, or do without |
//! | stdout and stderr are captured no more: they are longer than MLFLOW_CONSOLE_MAX_BYTES allows | what was written until then is in the artifact | raise the limit, or print less |
//! | stdout and stderr are no longer copied to `FILE`, as …; they go on to where they went before, and the file has what was written until now | the helper process was killed, or nobody reads the output any more | nothing |
//! | `FILE` may lack some of what was written to stdout and stderr, as …; is the disk full? | | free space |
//! | system metrics were asked for, but are not compiled in; enable the feature | the run goes on without | enable the feature `system-metrics` of mlflow-runtime |
//! | no thread could be started; the run has no system metrics | | raise the limit on threads |
//!
//! On stderr, unless `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` is set: the pages of the first five runs that have
//! one, then that those of further runs are not printed; of a file that was made, where it is and how to look at
//! it; at the end how many values are left, where, why, and who ships them; every setting that cannot be used;
//! keys that are kept under other ones; without a subscriber, that the journal's directory cannot be used.

// The table has the words as they are said.
#![allow(clippy::doc_markdown)]

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The words of every warning in the sources, up to its first value or sentence.
    fn warnings(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                warnings(&path, found);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
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
