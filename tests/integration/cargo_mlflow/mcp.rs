//! `cargo mlflow mcp`: a session of JSON-RPC lines, as an assistant has it, on a SQLite file and on a real server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{NOWHERE, SCRIPTED, file_uri, leave_killed, run, start_offline};
use crate::support::command_line::cargo_mlflow;
use crate::support::fault::Fault;
use crate::support::mlflow::Server;
use crate::support::program::{Folder, with_default_signals};
use crate::support::proxy::Proxy;

/// Longest wait for an answer before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Process of the server, and the client's side of its session.
struct Session {
    process: Child,
    /// Standard input; `None` after it was closed.
    stdin: Option<ChildStdin>,
    /// Lines on stdout, as they come.
    lines: Receiver<String>,
    last_id: u64,
}

impl Session {
    /// Starts the server, without introducing the client.
    fn start(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = folder.command(cargo_mlflow());
        with_default_signals(&mut command);
        let mut process = command
            .arg("mcp")
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self {
            stdin: process.stdin.take(),
            process,
            lines,
            last_id: 0,
        }
    }

    /// Starts the server and introduces the client.
    fn open(folder: &Folder, arguments: &[&str]) -> Self {
        let mut session = Self::start(folder, arguments, &[]);
        session.introduce();
        session
    }

    /// Returns what the server says about itself.
    fn introduce(&mut self) -> Value {
        let parameters = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let introduced = self.request("initialize", &parameters);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string());
        introduced["result"].clone()
    }

    fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("an open session");
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Returns the next message. Everything on stdout is one.
    #[track_caller]
    fn receive(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("an answer");
        let message: Value = serde_json::from_str(&line).expect("JSON on stdout");
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Sends a request and returns its answer.
    #[track_caller]
    fn request(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        self.send(&request.to_string());
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls a tool and returns its result, whether it succeeds or not.
    #[track_caller]
    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let parameters = json!({ "name": tool, "arguments": arguments });
        self.request("tools/call", &parameters)["result"].clone()
    }

    /// Calls a tool that is to succeed, and returns its text and its JSON.
    #[track_caller]
    fn answer(&mut self, tool: &str, arguments: &Value) -> (String, Value) {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{result:#}");
        (text_of(&result), result["structuredContent"].clone())
    }

    /// Calls a tool that is to fail, and returns the sentence that says why.
    #[track_caller]
    fn failure(&mut self, tool: &str, arguments: &Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result:#}");
        text_of(&result)
    }

    /// Closes stdin, and returns the rest of stdout, stderr and the exit code.
    fn close(mut self) -> (Vec<String>, String, Option<i32>) {
        self.stdin = None;
        let lines = self.lines.iter().collect();
        let mut stderr = String::new();
        let pipe = self.process.stderr.as_mut().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        (lines, stderr, self.process.wait().unwrap().code())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn text_of(result: &Value) -> String {
    result["content"][0]["text"]
        .as_str()
        .expect("a text")
        .to_owned()
}

/// Folder in which `demo` was run into a file and into a server of its own.
struct Demo {
    folder: Folder,
    server: Server,
}

impl Demo {
    fn shared() -> &'static Self {
        static DEMO: OnceLock<Demo> = OnceLock::new();
        DEMO.get_or_init(|| {
            let demo = Self {
                folder: Folder::for_hours(),
                server: Server::start_with(&[]),
            };
            for uri in [&[][..], &["--tracking-uri", demo.server.url()]] {
                let ended = run(&demo.folder, &[&["demo"][..], uri].concat());
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            }
            demo
        })
    }

    /// Opens a session for the file, and one for the server.
    fn both(&self) -> [Session; 2] {
        [
            Session::open(&self.folder, &[]),
            Session::open(&self.folder, &["--tracking-uri", self.server.url()]),
        ]
    }
}

/// Returns a text with what differs from one demo to the next replaced: ids, times and durations.
fn stable(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let words = words.iter().enumerate().map(|(index, word)| {
            let bare = word.trim_matches(['`', ',', ':', ';']);
            let is_number = |index: Option<usize>| {
                let word = index.and_then(|index| words.get(index));
                word.is_some_and(|word| word.parse::<u64>().is_ok())
            };
            let is_unit = |word: &str| matches!(word.trim_matches([',', ';']), "s" | "ms" | "min");
            let next = words.get(index + 1).copied().unwrap_or_default();
            let is_id = matches!(bare.len(), 8 | 32) && bare.bytes().all(|b| b.is_ascii_hexdigit());
            let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.starts_with("20");
            if is_id {
                word.replace(bare, "[id]")
            } else if is_time {
                word.replace(bare, "[time]")
            } else if is_number(Some(index)) && is_unit(next) {
                "[n]".to_owned()
            } else if is_unit(word) && is_number(index.checked_sub(1)) {
                word.replace(bare, "[unit]")
            } else {
                (*word).to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_server_introduces_itself_and_its_tools() {
    let folder = Folder::new();
    let mut session = Session::start(&folder, &[], &[]);
    let introduced = session.introduce();
    assert_eq!(introduced["serverInfo"]["name"], "cargo-mlflow");
    let instructions = introduced["instructions"].as_str().unwrap();
    let listed = session.request("tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool:#}");
        // What cannot be called without `--allow-changes` is not spoken of either.
        assert!(
            tool["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{tool:#}"
        );
        for (name, argument) in tool["inputSchema"]["properties"].as_object().unwrap() {
            assert!(argument["description"].is_string(), "{name} {argument}");
            assert!(argument["type"].is_string(), "{name} {argument}");
        }
    }
    for tool in [
        "search_runs",
        "diagnose_run",
        "get_metric_history",
        "tail_run",
    ] {
        assert!(instructions.contains(tool), "{instructions}");
    }
    let shown: Vec<String> = { tools.iter() }
        .map(|tool| {
            let schema = &tool["inputSchema"];
            let arguments: Vec<&str> = { schema["properties"].as_object() }
                .map(|properties| properties.keys().map(String::as_str).collect())
                .unwrap_or_default();
            format!(
                "{} ({}; required {})\n    {}",
                tool["name"].as_str().unwrap(),
                arguments.join(", "),
                schema["required"],
                tool["description"].as_str().unwrap()
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// Regression: all schemas allowed 0, which most tools refused.
#[test]
fn schemas_allow_what_the_tools_take() {
    let folder = Folder::new();
    let mut session = Session::open(&folder, &[]);
    let listed = session.request("tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    for (tool, argument, least, greatest) in [
        ("search_runs", "limit", json!(1), json!(100)),
        ("search_runs", "offset", json!(0), Value::Null),
        ("get_metric_history", "from_step", Value::Null, Value::Null),
        ("get_metric_history", "max_points", json!(4), json!(2000)),
        ("tail_run", "lines", json!(0), json!(400)),
        ("read_artifact", "offset", Value::Null, Value::Null),
        ("compare_runs", "runs", json!(2), json!(12)),
    ] {
        let schema = { tools.iter() }
            .find(|candidate| candidate["name"] == tool)
            .map(|tool| &tool["inputSchema"]["properties"][argument])
            .expect("the tool");
        let (minimum, maximum) = if schema["type"] == "array" {
            ("minItems", "maxItems")
        } else {
            ("minimum", "maximum")
        };
        assert_eq!(
            (&schema[minimum], &schema[maximum]),
            (&least, &greatest),
            "{tool} {argument}"
        );
    }
}

#[test]
fn tools_answer_the_same_for_a_file_and_for_a_server() {
    let [mut file, mut server] = Demo::shared().both();
    let mut shown = String::new();
    for (tool, arguments) in [
        ("search_experiments", json!({ "filter": "name = 'demo'" })),
        (
            "search_runs",
            json!({ "experiments": ["demo"], "order_by": ["params.learning_rate ASC"] }),
        ),
        (
            "search_runs",
            json!({
                "filter": "params.learning_rate > 0.1 AND status = 'FINISHED'",
                "order_by": ["metrics.`val/loss` DESC"],
                "columns": ["params.seed", "metrics.val/loss", "tags.model"],
                "limit": 1,
            }),
        ),
        ("get_run", json!({ "run": "lr-0.3", "contains": "loss" })),
        ("get_best_run", json!({ "metric": "val/loss", "count": 2 })),
        (
            "compare_runs",
            json!({ "runs": ["lr-1", "lr-300", "max:val/loss"], "contains": "l" }),
        ),
        (
            "get_metric_history",
            json!({ "metrics": ["val/loss", "nothing"], "runs": ["lr-1", "lr-0.1"], "max_points": 20 }),
        ),
        (
            "get_metric_history",
            json!({ "metrics": ["train/loss"], "runs": ["lr-1"], "from_step": 57 }),
        ),
        ("diagnose_run", json!({ "run": "lr-300" })),
        ("diagnose_run", json!({ "run": "lr-1" })),
        ("tail_run", json!({ "run": "lr-0.1", "points": 2 })),
        ("list_artifacts", json!({ "run": "lr-1" })),
        (
            "list_artifacts",
            json!({ "run": "lr-1", "folder": "model" }),
        ),
        (
            "read_artifact",
            json!({ "run": "lr-1", "path": "model/weights.txt", "limit": 20 }),
        ),
        (
            "read_artifact",
            json!({ "run": "lr-1", "path": "model/weights.txt", "offset": -11 }),
        ),
    ] {
        let (text, record) = file.answer(tool, &arguments);
        let (server_text, server_record) = server.answer(tool, &arguments);
        let text = stable(&text);
        assert_eq!(text, stable(&server_text), "{tool}");
        let fields = |record: &Value| -> Vec<String> {
            record
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(fields(&record), fields(&server_record), "{tool}");
        shown += &format!("> {tool} {arguments}\n{text}\n\n");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn json_holds_what_the_texts_say() {
    for mut session in Demo::shared().both() {
        let (_, found) = session.answer(
            "search_runs",
            &json!({ "experiments": ["demo"], "limit": 3 }),
        );
        assert_eq!(found["runs"].as_array().map(Vec::len), Some(3));
        assert!(found["left_out"].as_str().unwrap().contains("offset 3"));
        let (_, rest) = session.answer(
            "search_runs",
            &json!({ "experiments": ["demo"], "offset": 3 }),
        );
        assert_eq!(rest["runs"].as_array().map(Vec::len), Some(4));
        assert_eq!(rest["left_out"], Value::Null);
        let (_, curves) = session.answer(
            "get_metric_history",
            &json!({ "metrics": ["train/loss"], "runs": ["lr-300"], "times": true }),
        );
        let curve = &curves["curves"][0];
        assert_eq!(curve["points_total"], 1);
        assert_eq!(curve["points"][0][1], "NaN");
        assert_eq!(curve["points"][0].as_array().map(Vec::len), Some(3));
        assert_eq!(curve["non_finite"], 1);
        let (_, diagnosed) = session.answer("diagnose_run", &json!({ "run": "lr-300" }));
        let kinds: Vec<&Value> = { diagnosed["findings"].as_array().unwrap().iter() }
            .map(|finding| &finding["kind"])
            .collect();
        assert_eq!(kinds, ["failed", "not_a_number"]);
        let (_, compared) = session.answer("compare_runs", &json!({ "runs": ["lr-1", "lr-0.1"] }));
        let rows = compared["rows"].as_array().unwrap();
        let best = rows.iter().find(|row| row["key"] == "val/loss").unwrap();
        assert_eq!(best["best"], 0);
        assert!(rows.iter().all(|row| row["key"] != "epochs"), "{rows:#?}");
    }
}

#[test]
fn the_state_of_the_store_is_told() {
    let demo = Demo::shared();
    let [mut file, mut server] = demo.both();
    let (text, state) = file.answer("get_server_state", &json!({}));
    assert!(text.contains("mlflow.db can be used"), "{text}");
    assert_eq!(state["store"]["kind"], "sqlite");
    let (text, state) = server.answer("get_server_state", &json!({}));
    assert!(text.contains("MLflow 3."), "{text}");
    assert_eq!(state["store"]["reachable"], true);
}

#[test]
fn curves_keep_their_ends_and_extremes_within_the_budget() {
    let folder = Folder::new();
    let script = ["start a", "points loss 0 5000", "points acc 0 30", "end a"];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    let mut session = Session::open(&folder, &[]);
    let history = |session: &mut Session, arguments: Value| -> Value {
        session.answer("get_metric_history", &arguments).1["curves"].clone()
    };
    let curves = history(
        &mut session,
        json!({ "metrics": ["loss", "acc"], "max_points": 100 }),
    );
    let (loss, acc) = (&curves[0], &curves[1]);
    let points = loss["points"].as_array().unwrap();
    assert!(points.len() <= 70, "{}", points.len());
    assert_eq!(
        (&points[0], points.last()),
        (&json!([0, 0.0]), Some(&json!([4999, 4999.0])))
    );
    assert_eq!(loss["points_total"], 5000);
    assert_eq!(
        (&loss["min"]["step"], &loss["max"]["step"]),
        (&json!(0), &json!(4999))
    );
    assert!(
        loss["left_out"]
            .as_str()
            .unwrap()
            .contains("from_step and to_step"),
        "{loss:#}"
    );
    assert_eq!(acc["points"].as_array().map(Vec::len), Some(30));
    assert_eq!(acc["left_out"], Value::Null);
    let part = json!({ "metrics": ["loss"], "from_step": 100, "to_step": 119 });
    let part = history(&mut session, part);
    assert_eq!(part[0]["points"].as_array().map(Vec::len), Some(20));
    assert_eq!(part[0]["first"]["step"], 100);
}

#[test]
fn a_failure_is_an_answer_in_one_sentence() {
    for mut session in Demo::shared().both() {
        for (tool, arguments, expected) in [
            (
                "get_run",
                json!({ "run": "nobody" }),
                "there is no run with the id or name `nobody`: search_runs lists",
            ),
            (
                "get_run",
                json!({}),
                "argument `run` is missing; expected a text",
            ),
            (
                "get_run",
                json!({ "run": 3 }),
                "argument `run`: `3` is not a text",
            ),
            (
                "get_run",
                json!({ "run": "last", "foo": 1 }),
                "argument `foo` is not known; expected one of all_tags, contains",
            ),
            (
                "get_run",
                json!({ "run": "lr-1", "limit": 0 }),
                "argument `limit`: 0 is out of range; expected 1 to 500",
            ),
            (
                "search_runs",
                json!({ "limit": -1 }),
                "argument `limit`: -1 is out of range; expected 1 to 100",
            ),
            (
                "search_runs",
                json!({ "filter": "metrics.a > 3 OR b = 2" }),
                "have no OR",
            ),
            (
                "search_runs",
                json!({ "filter": "metrics.a >" }),
                "the filter cannot be read",
            ),
            ("search_runs", json!({ "order_by": ["colour"] }), "order"),
            (
                "search_runs",
                json!({ "experiments": ["nowhere"] }),
                "nowhere",
            ),
            (
                "search_runs",
                json!({ "columns": ["loss"] }),
                "expected metrics.KEY, params.KEY or tags.KEY",
            ),
            (
                "get_best_run",
                json!({ "metric": "seed" }),
                "give direction `min` or `max`",
            ),
            (
                "get_best_run",
                json!({ "metric": "seed", "direction": "up" }),
                "argument `direction`: `up` is not known; expected one of min, max",
            ),
            (
                "get_best_run",
                json!({ "metric": "wer" }),
                "no run has a finite number for the metric `wer`",
            ),
            (
                "get_run",
                json!({ "run": "min:seed" }),
                "no run has a finite number for the metric `seed`: get_run lists",
            ),
            (
                "compare_runs",
                json!({ "runs": ["last"] }),
                "argument `runs`: 1 entries are out of range; expected 2 to 12",
            ),
            (
                "get_metric_history",
                json!({ "metrics": ["nothing"], "runs": ["lr-1"] }),
                "no such metric: `nothing` in lr-1",
            ),
            (
                "get_metric_history",
                json!({ "metrics": [] }),
                "argument `metrics`: 0 entries are out of range; expected 1 to 20",
            ),
            (
                "get_metric_history",
                json!({ "metrics": ["a"], "max_points": 1_000_000 }),
                "expected 4 to 2000",
            ),
            (
                "get_metric_history",
                json!({ "metrics": ["val/loss"], "from_step": 9, "to_step": 3 }),
                "argument `from_step`: 9 is behind `to_step`, which is 3",
            ),
            (
                "tail_run",
                json!({ "run": "lr-1", "metrics": ["nothing"] }),
                "has no metric `nothing`; it has train/loss",
            ),
            (
                "list_artifacts",
                json!({ "run": "lr-1", "folder": "nowhere" }),
                "has no folder `nowhere`",
            ),
            (
                "read_artifact",
                json!({ "run": "lr-1", "path": "nothing.txt" }),
                "nothing.txt",
            ),
            (
                "set_tag",
                json!({ "run": "lr-1", "key": "a", "value": "b" }),
                "cargo mlflow mcp --allow-changes",
            ),
        ] {
            let failure = session.failure(tool, &arguments);
            assert!(failure.contains(expected), "{tool} {arguments}: {failure}");
        }
        let unknown = session.request("tools/call", &json!({ "name": "fly", "arguments": {} }));
        assert_eq!(unknown["error"]["code"], -32602);
        assert_eq!(
            unknown["error"]["message"],
            "there is no tool `fly`: tools/list lists the tools"
        );
    }
    let [mut file, _] = Demo::shared().both();
    let failure = file.failure(
        "search_runs",
        &json!({ "filter": "metrics.a > 3 OR b = 2" }),
    );
    insta::assert_snapshot!(failure);
}

#[test]
fn changes_are_made_where_they_are_allowed() {
    let folder = Folder::new();
    let server = Server::shared();
    for uri in [file_uri(&folder, "mlflow.db"), server.url().to_owned()] {
        let name = format!("changed-{}", uuid::Uuid::new_v4());
        let (start, end) = (format!("start {name}"), format!("end {name}"));
        let script = [&*start, "points loss 0 3", &*end];
        let environment = [("MLFLOW_TRACKING_URI", &*uri)];
        assert!(folder.run(SCRIPTED, &script, &environment).success);
        let shown = run(&folder, &["show", &name, "--json", "--tracking-uri", &uri]);
        let shown: Value = serde_json::from_str(&shown.stdout).expect(&shown.stderr);
        let id = shown["run_id"].as_str().unwrap();
        let mut session = Session::open(&folder, &["--allow-changes", "--tracking-uri", &uri]);
        let tools = session.request("tools/list", &json!({}));
        let hints = |name: &str| {
            let tools = tools["result"]["tools"].as_array().unwrap();
            let tool = tools
                .iter()
                .find(|tool| tool["name"] == name)
                .expect("the tool");
            let annotations = &tool["annotations"];
            (
                annotations["readOnlyHint"] == true,
                annotations["destructiveHint"] == true,
            )
        };
        for name in ["set_tag", "rename_run", "end_run", "delete_run"] {
            assert_eq!(hints(name), (false, true), "{name}");
        }
        assert_eq!(hints("restore_run"), (false, false));
        assert_eq!(hints("get_run"), (true, false));

        let set = |session: &mut Session, value: &str| {
            let arguments = json!({ "run": id, "key": "verdict", "value": value });
            session.answer("set_tag", &arguments).0
        };
        assert!(set(&mut session, "good").contains("it had none before"));
        assert!(set(&mut session, "bad").contains("it was `good` before"));
        let (renamed, _) = session.answer("rename_run", &json!({ "run": id, "name": "the best" }));
        let before = format!("was named `{name}` before");
        assert!(renamed.contains(&before), "{renamed}");
        session.answer("end_run", &json!({ "run": id, "status": "KILLED" }));
        let shown = run(&folder, &["show", id, "--json", "--tracking-uri", &uri]);
        let shown: Value = serde_json::from_str(&shown.stdout).expect(&shown.stderr);
        assert_eq!(shown["name"], "the best");
        assert_eq!(shown["status"], "KILLED");
        assert_eq!(shown["tags"]["verdict"], "bad");

        session.answer("delete_run", &json!({ "run": id }));
        let (_, deleted) = session.answer("get_run", &json!({ "run": id }));
        assert_eq!(deleted["run"]["is_deleted"], true);
        session.answer("restore_run", &json!({ "run": id }));
        let (_, restored) = session.answer("get_run", &json!({ "run": id }));
        assert_eq!(restored["run"]["is_deleted"], false);

        for run in ["last", "best:val/loss", "min:seed"] {
            let failure = session.failure("delete_run", &json!({ "run": run }));
            assert!(
                failure.contains("name the run to change by its id"),
                "{failure}"
            );
        }
        let failure = session.failure("end_run", &json!({ "run": id, "status": "RUNNING" }));
        assert!(
            failure.contains("`RUNNING` is not known; expected one of FINISHED, FAILED, KILLED"),
            "{failure}"
        );
        let failure = session.failure("rename_run", &json!({ "run": id, "name": " " }));
        assert!(
            failure.contains("argument `name`: it is empty"),
            "{failure}"
        );
    }
}

#[test]
fn malformed_lines_do_not_end_the_session() {
    let folder = Folder::new();
    let mut session = Session::start(&folder, &[], &[]);
    let lines = [
        "garbage",
        "{\"jsonrpc\":\"2.0\"",
        "[]",
        "3",
        "{}",
        "\u{0}\u{1}",
        "",
    ];
    let early = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    for line in lines.into_iter().chain([&*early]) {
        session.send(line);
    }
    // A line that is no JSON is answered as that, and JSON that is no message as a wrong request.
    for code in [-32700, -32700, -32600, -32600, -32600, -32700] {
        let answer = session.receive();
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
    }
    session.introduce();
    session.send(&"x".repeat(1 << 20));
    assert_eq!(session.receive()["error"]["code"], -32700);
    // What can be told apart from others has its id.
    for id in [json!(77), json!("a")] {
        session.send(&json!({ "id": id, "method": 3 }).to_string());
        let answer = session.receive();
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
        assert_eq!(answer["id"], id, "{answer}");
    }
    for (method, code) in [("fly", -32601), ("resources/read", -32601)] {
        let answer = session.request(method, &json!({ "uri": "a" }));
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    // A call without a name is answered, too.
    let answer = session.request("tools/call", &json!({ "arguments": {} }));
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(session.request("ping", &json!({}))["result"], json!({}));
    let (rest, stderr, code) = session.close();
    assert_eq!((rest.len(), &*stderr, code), (0, "", Some(0)));
}

#[test]
fn closing_stdin_ends_the_server_after_its_answers() {
    let folder = Folder::new();
    let (rest, stderr, code) = Session::start(&folder, &[], &[]).close();
    assert_eq!((rest.len(), &*stderr, code), (0, "", Some(0)));

    let mut session = Session::open(&folder, &["--tracking-uri", NOWHERE]);
    for id in 10..13 {
        let call = json!({ "name": "search_runs", "arguments": {} });
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call });
        session.send(&request.to_string());
    }
    let (rest, _, code) = session.close();
    let mut ids: Vec<u64> = { rest.iter() }
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_u64()
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!((ids, code), (vec![10, 11, 12], Some(0)));
}

#[test]
fn a_signal_ends_the_server() {
    let folder = Folder::new();
    for signal in [Signal::INT, Signal::TERM] {
        let session = Session::open(&folder, &[]);
        let process = Pid::from_child(&session.process);
        kill_process(process, signal).unwrap();
        let mut session = session;
        assert_eq!(
            session.process.wait().unwrap().code(),
            Some(0),
            "{signal:?}"
        );
        assert!(session.lines.recv().is_err(), "nothing more on stdout");
        let mut stderr = String::new();
        let pipe = session.process.stderr.as_mut().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "");
    }
}

#[test]
fn warnings_go_to_stderr_and_the_protocol_to_stdout() {
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_EXIT_TIMEOUT", "soon"),
        ("MLFLOW_CAPTURE_CONSOLE", "perhaps"),
        ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "perhaps"),
    ];
    let mut session = Session::start(&folder, &[], &environment);
    session.introduce();
    // Each line that arrives is checked to be a message of the protocol.
    let failure = session.failure("search_runs", &json!({}));
    assert!(failure.contains("there is no MLflow database"), "{failure}");
    session.answer("get_server_state", &json!({}));
    let (rest, stderr, code) = session.close();
    assert_eq!((rest.len(), code), (0, Some(0)));
    assert!(
        stderr.contains("MLFLOW_EXIT_TIMEOUT=\"soon\" cannot be used"),
        "{stderr}"
    );
}

#[test]
fn a_store_that_does_not_answer_is_an_error_in_seconds() {
    let folder = Folder::new();
    let mut session = Session::open(&folder, &["--tracking-uri", NOWHERE]);
    let started = Instant::now();
    let failure = session.failure("search_runs", &json!({}));
    assert!(failure.contains("Connection refused"), "{failure}");
    assert!(
        failure.ends_with(&format!("The store is {NOWHERE}")),
        "{failure}"
    );
    assert!(started.elapsed() < PATIENCE);
    let (text, _) = session.answer("get_server_state", &json!({}));
    assert!(
        text.contains("start the server, or fix MLFLOW_TRACKING_URI"),
        "{text}"
    );

    // A server that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let environment = [("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")];
    let mut session = Session::start(&folder, &["--tracking-uri", &uri], &environment);
    session.introduce();
    let failure = session.failure("get_run", &json!({ "run": "last" }));
    assert!(failure.contains(&uri), "{failure}");
    // The session goes on beside it.
    assert_eq!(session.request("ping", &json!({}))["result"], json!({}));
}

#[test]
fn a_run_that_only_a_journal_knows_is_pointed_at() {
    let folder = Folder::new();
    let uri = ["--tracking-uri", NOWHERE];
    // Only the file can be asked for a run: the server is unavailable.
    let mut session = Session::open(&folder, &uri);
    leave_killed(&folder, "offline", NOWHERE);
    let (text, _) = session.answer("get_server_state", &json!({}));
    assert!(
        text.contains("1 journal of programs that have ended"),
        "{text}"
    );
    let live = start_offline(&folder, NOWHERE, &["start a"]);
    let (text, _) = session.answer("get_server_state", &json!({}));
    assert!(text.contains("1 journal of running programs"), "{text}");
    live.kill();
}

#[test]
fn values_that_wait_in_a_journal_are_told_with_their_run() {
    let folder = Folder::new();
    let is_away = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&is_away);
    let proxy = Proxy::start(Server::shared().url(), move |request| {
        let is_write = request.line.contains("log-batch") || request.line.contains("runs/create");
        (is_write && refuses.load(Ordering::Relaxed)).then_some(Fault::Status(503))
    });
    let name = format!("training-{}", uuid::Uuid::new_v4());
    let start = format!("start {name}");
    let script = [
        &*start,
        "points loss 0 10",
        "text logs/console.log epoch-1",
        "flush 60",
        "wait stored",
        "points loss 10 110",
        "start unseen",
        "wait ready",
    ];
    let uri = proxy.url();
    let mut training = folder.start(SCRIPTED, &script, &[("MLFLOW_TRACKING_URI", &uri)]);
    training.wait_for_stdout("stored");
    let mut session = Session::open(&folder, &["--tracking-uri", &uri]);

    // A run that is still training shows its end.
    let tail = json!({ "run": name, "points": 3 });
    let (text, record) = session.answer("tail_run", &tail);
    assert_eq!(record["run"]["status"], "RUNNING");
    assert!(text.contains("loss (step:value) 7:7 8:8 9:9"), "{text}");
    assert!(
        text.contains("logs/console.log (the last 1 of 1 lines):\nepoch-1"),
        "{text}"
    );

    is_away.store(true, Ordering::Relaxed);
    training.tell();
    training.wait_for_stdout("ready");
    for tool in ["tail_run", "get_run", "diagnose_run"] {
        let (text, record) = session.answer(tool, &json!({ "run": name }));
        let waiting = record["waiting"].as_str().expect("a remark");
        assert!(text.contains(waiting), "{text}");
        // A value that is being parked or delivered just now may be counted twice.
        let count = { waiting.strip_prefix("Up to ") }
            .and_then(|rest| rest.split_once(" values of this run are on the way to the store"))
            .and_then(|(count, _)| count.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count >= 100), "{waiting}");
        assert!(
            waiting.contains("in the journal of the process"),
            "{waiting}"
        );
    }
    let failure = session.failure("get_run", &json!({ "run": "unseen" }));
    assert!(
        failure.contains("of the run `unseen` are on the way"),
        "{failure}"
    );

    training.kill();
    let (_, record) = session.answer("get_run", &json!({ "run": name }));
    let waiting = record["waiting"].as_str().expect("a remark");
    assert!(
        waiting.contains("wait in the journal of a process that has ended"),
        "{waiting}"
    );

    is_away.store(false, Ordering::Relaxed);
    let ended = run(&folder, &["sync", "--tracking-uri", &uri]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (_, record) = session.answer("get_run", &json!({ "run": name }));
    assert_eq!(record["waiting"], Value::Null);
    assert_eq!(record["metrics"]["loss"]["step"], 109);
}

/// Regression: only the store was read, so a training whose server was away could not be judged.
#[test]
fn a_run_whose_server_is_away_is_read_from_its_journal() {
    let folder = Folder::new();
    let mut session = Session::open(&folder, &["--tracking-uri", NOWHERE]);
    let live = start_offline(&folder, NOWHERE, &["start a", "points loss 0 100"]);
    for run in ["a", "last"] {
        let (text, record) = session.answer("tail_run", &json!({ "run": run, "points": 2 }));
        assert_eq!(record["run"]["status"], "RUNNING", "{text}");
        assert!(text.contains("loss (step:value) 98:98 99:99"), "{text}");
        assert!(text.contains("the store does not answer"), "{text}");
        assert!(record["store_error"].is_string(), "{record}");
        let waiting = record["waiting"].as_str().expect("a remark");
        assert!(
            waiting.contains("in the journal of the process"),
            "{waiting}"
        );
    }
    let (text, record) = session.answer("diagnose_run", &json!({ "run": "a" }));
    assert_eq!(record["points_examined"], 100, "{text}");

    live.kill();
    for tool in ["tail_run", "diagnose_run"] {
        let (text, record) = session.answer(tool, &json!({ "run": "a" }));
        assert_eq!(record["run"]["status"], "ABANDONED", "{text}");
        assert!(
            text.contains("the process has ended without ending the run"),
            "{text}"
        );
    }
    // Of a store that was not named, the journals of others are read, too.
    let mut session = Session::open(&folder, &[]);
    let (text, record) = session.answer("tail_run", &json!({ "run": "a" }));
    assert_eq!(record["store_error"], Value::Null, "{text}");
    assert!(
        text.contains("its store is not the configured one"),
        "{text}"
    );
    let elsewhere = file_uri(&folder, "elsewhere.db");
    let mut session = Session::open(&folder, &["--tracking-uri", &elsewhere]);
    session.failure("tail_run", &json!({ "run": "a" }));
    assert_eq!(folder.journals_left(), 1, "looking ships nothing");
}

#[test]
fn secrets_of_other_clients_are_masked() {
    let folder = Folder::new();
    let script = [
        "start a",
        "param api_key harmless",
        "param comment first",
        "tag note second",
        "text logs/console.log third",
        "text binary.bin fourth",
        "end a",
    ];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    // Another client has logged secrets.
    let token = format!("ghp_{}", "0aA".repeat(12));
    let database = folder.database();
    let change =
        |statement: &str| assert_eq!(database.execute(statement, []).unwrap(), 1, "{statement}");
    change("update params set value = 'hunter2' where key = 'api_key'");
    change(&format!(
        "update params set value = 'with {token}' where key = 'comment'"
    ));
    change(&format!(
        "update tags set value = '{token}' || char(27) || '[2J' where key = 'note'"
    ));
    let artifacts: String = database
        .query_row("select artifact_uri from runs", [], |row| row.get(0))
        .unwrap();
    let artifacts = folder.path().join(artifacts.trim_start_matches("file://"));
    std::fs::write(
        artifacts.join("logs/console.log"),
        format!("login\twith {token}\r\nnext\n"),
    )
    .unwrap();
    std::fs::write(artifacts.join("binary.bin"), b"\x89PNG\0\0").unwrap();

    let mut session = Session::open(&folder, &[]);
    for (tool, arguments) in [
        ("get_run", json!({ "run": "a" })),
        (
            "search_runs",
            json!({ "columns": ["params.comment", "params.api_key", "tags.note"] }),
        ),
        ("compare_runs", json!({ "runs": ["a", "a"], "all": true })),
        ("tail_run", json!({ "run": "a" })),
        (
            "read_artifact",
            json!({ "run": "a", "path": "logs/console.log" }),
        ),
        (
            "read_artifact",
            json!({ "run": "a", "path": "logs/console.log", "offset": 15 }),
        ),
    ] {
        let result = session.call(tool, &arguments).to_string();
        assert!(
            result.contains("[redacted]") || tool == "read_artifact",
            "{tool}: {result}"
        );
        for secret in [&token, &token[10..], "hunter2", "\\u001b"] {
            assert!(!result.contains(secret), "{tool}: {result}");
        }
    }
    let (_, log) = session.answer(
        "read_artifact",
        &json!({ "run": "a", "path": "logs/console.log" }),
    );
    assert_eq!(log["text"], "login\twith [redacted]\nnext\n");
    let failure = session.failure(
        "read_artifact",
        &json!({ "run": "a", "path": "binary.bin" }),
    );
    assert!(
        failure.starts_with("the artifact `binary.bin` is no text (6 B)"),
        "{failure}"
    );
}

#[test]
fn answers_are_bounded() {
    let folder = Folder::new();
    let long = "x".repeat(4000);
    let mut script = vec!["start a".to_owned()];
    script.extend((0..300).map(|number| format!("param key{number:03} {long}")));
    script.push(format!("text long.txt {}", "word-".repeat(20_000)));
    let line = &long[..100];
    let lines: Vec<String> = (0..1000).map(|number| format!("{number}{line}")).collect();
    script.push(format!("text logs/console.log {}", lines.join("\n")));
    script.push("end a".to_owned());
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    let mut session = Session::open(&folder, &[]);
    let (text, record) = session.answer("get_run", &json!({ "run": "a" }));
    assert!(text.len() <= 50_000, "{}", text.len());
    assert_eq!(
        record["params"].as_object().map(serde_json::Map::len),
        Some(100)
    );
    assert!(
        record["left_out"]
            .as_str()
            .unwrap()
            .starts_with("200 params are left out")
    );
    let (text, _) = session.answer("get_run", &json!({ "run": "a", "limit": 300 }));
    assert!(text.len() <= 50_000 && text.ends_with("ask for fewer runs, metrics or keys)"));
    let (_, few) = session.answer("get_run", &json!({ "run": "a", "contains": "key29" }));
    assert_eq!(
        few["params"].as_object().map(serde_json::Map::len),
        Some(10)
    );

    // The newest lines of a log stay.
    let (text, tail) = session.answer("tail_run", &json!({ "run": "a", "lines": 400 }));
    let shown = tail["log"]["lines"].as_array().unwrap();
    assert!((200..300).contains(&shown.len()), "{}", shown.len());
    assert_eq!(tail["log"]["lines_before"], 1000 - shown.len());
    let newest = shown.last().and_then(Value::as_str).unwrap();
    assert!(
        newest.starts_with("999x") && text.contains(newest),
        "{newest}"
    );

    // The parts of a long artifact are the whole.
    let (mut whole, mut offset) = (String::new(), 0);
    loop {
        let arguments =
            json!({ "run": "a", "path": "long.txt", "offset": offset, "limit": 32_000 });
        let (_, part) = session.answer("read_artifact", &arguments);
        whole += part["text"].as_str().unwrap();
        offset = part["end"].as_u64().unwrap();
        if part["left_out"].is_null() {
            break;
        }
    }
    assert_eq!(whole, "word-".repeat(20_000));
}

#[test]
fn the_log_of_the_newest_process_is_shown() {
    let folder = Folder::new();
    let script = [
        "start a",
        "text logs/console.log of-the-dead",
        "text logs/console-20260102T030405Z-0a1b2c3d.log of-the-second",
        "text logs/console-20260102T030406Z-00000000.log of-the-newest",
        "text logs/training.log of-a-library",
        "end a",
    ];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    let mut session = Session::open(&folder, &[]);
    let (text, record) = session.answer("tail_run", &json!({ "run": "a" }));
    assert_eq!(record["log"]["lines"], json!(["of-the-newest"]), "{text}");
    assert!(
        text.contains("logs/console-20260102T030406Z-00000000.log"),
        "{text}"
    );
}

#[test]
fn the_timeout_and_the_uri_of_the_command_line_count() {
    let folder = Folder::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let mut session = Session::open(&folder, &["--tracking-uri", &uri, "--timeout", "0.2"]);
    let started = Instant::now();
    let failure = session.failure("get_run", &json!({ "run": "last" }));
    assert!(failure.contains(&uri), "{failure}");
    // Without the option, a request alone takes 15 seconds.
    assert!(started.elapsed() < Duration::from_secs(14), "{failure}");

    let ended = run(&folder, &["mcp", "--tracking-uri", "gopher://example.org"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("gopher"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_change_that_takes_too_long_may_still_be_carried_out() {
    let folder = Folder::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let options = [
        "--allow-changes",
        "--tracking-uri",
        &uri,
        "--timeout",
        "100",
    ];
    let mut session = Session::open(&folder, &options);
    let change = json!({ "run": "0".repeat(32), "key": "a", "value": "b" });
    for (id, tool, arguments) in [
        ("change", "set_tag", change),
        ("reading", "get_run", json!({ "run": "last" })),
    ] {
        let call = json!({ "name": tool, "arguments": arguments });
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call });
        session.send(&request.to_string());
    }
    for _ in 0..2 {
        let answer = session.receive();
        let text = text_of(&answer["result"]);
        assert_eq!(answer["result"]["isError"], true, "{text}");
        assert!(text.contains("took longer than 30 seconds"), "{text}");
        let is_change = answer["id"] == "change";
        let warns = text.contains("may still be carried out: look with get_run");
        assert_eq!(warns, is_change, "{text}");
        assert_eq!(text.contains("ask for fewer runs"), !is_change, "{text}");
    }
}

#[test]
fn a_stored_infinity_is_no_maximum() {
    let folder = Folder::new();
    assert!(
        folder
            .run(SCRIPTED, &["start a", "points loss 0 100", "end a"], &[])
            .success
    );
    let changed = folder.database().execute(
        "update metrics set value = 1.7976931348623157e308 where step = 40",
        [],
    );
    assert_eq!(changed.unwrap(), 1);
    let mut session = Session::open(&folder, &[]);
    let arguments = json!({ "metrics": ["loss"], "max_points": 10 });
    let (text, record) = session.answer("get_metric_history", &arguments);
    assert_eq!(record["curves"][0]["max"]["value"], 99.0, "{text}");
    assert_eq!(record["curves"][0]["non_finite"], 1, "{text}");
    assert!(text.contains("40:inf"), "{text}");
}

#[test]
fn a_curve_whose_steps_are_times_is_examined() {
    let folder = Folder::new();
    assert!(
        folder
            .run(SCRIPTED, &["start a", "points loss 0 40", "end a"], &[])
            .success
    );
    let database = folder.database();
    for table in ["metrics", "latest_metrics"] {
        let change = format!("update {table} set step = 1700000000000 + 1000 * step");
        assert!(database.execute(&change, []).unwrap() > 0);
    }
    let mut session = Session::open(&folder, &[]);
    let (text, record) = session.answer("diagnose_run", &json!({ "run": "a" }));
    assert_eq!(record["points_examined"], 40, "{text}");
    assert_eq!(record["left_out"], Value::Null, "{text}");
    let (text, _) = session.answer("tail_run", &json!({ "run": "a", "points": 2 }));
    assert!(text.contains("1700000038000:38 1700000039000:39"), "{text}");
}
