//! The most that a server takes over one connection: bodies of 1,000 points that are ready before
//! the first is sent, written to a socket, each as soon as the one before is answered.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use contenders::{PARAMS, arguments, delivered, keys};
use serde_json::{Value, json};

struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(uri: &str) -> Self {
        let host = uri.strip_prefix("http://").expect("a server").to_owned();
        let stream = TcpStream::connect(&host).expect("a server that listens");
        stream.set_nodelay(true).expect("a socket");
        Self {
            host,
            stream: BufReader::new(stream),
        }
    }

    /// The request, head and body, ready to be sent.
    fn request(&self, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        format!(
            "POST /api/2.0/mlflow/{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
        .into_bytes()
    }

    fn send(&mut self, request: &[u8]) -> Value {
        self.stream.get_mut().write_all(request).expect("sent");
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status).expect("an answer");
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a header");
            match line.trim_end().split_once(": ") {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a length");
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        assert!(status.contains(" 200 "), "{status}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

fn main() {
    let (uri, points) = arguments();
    let mut server = Connection::open(&uri);
    let create = server.request(
        "runs/create",
        &json!({"experiment_id": "0", "start_time": 1, "run_name": "ready"}),
    );
    let created = server.send(&create);
    let run = &created["run"]["info"]["run_id"];
    let keys = keys();
    let params: Vec<Value> = (0..PARAMS)
        .map(|number| json!({"key": format!("param_{number}"), "value": number.to_string()}))
        .collect();
    let metrics: Vec<Value> = (0..points)
        .map(|number| {
            let (key, step) = (&keys[number % keys.len()], number / keys.len());
            json!({"key": key, "value": number as f64, "timestamp": 1_700_000_000_000_u64, "step": step})
        })
        .collect();
    let mut requests =
        vec![server.request("runs/log-batch", &json!({"run_id": run, "params": params}))];
    for metrics in metrics.chunks(1000) {
        requests.push(server.request(
            "runs/log-batch",
            &json!({"run_id": run, "metrics": metrics}),
        ));
    }
    let begun = Instant::now();
    for request in &requests {
        server.send(request);
    }
    delivered(begun);
}
