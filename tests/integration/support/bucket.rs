//! S3 service on this machine: moto's server, used by MLflow's server in place of Amazon S3.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::installed::executable;
use super::mlflow::{Environment, Server, python};

/// Longest time that the service may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// S3 service with one bucket, named `bucket`.
pub(crate) struct Bucket {
    process: Child,
    url: String,
}

impl Bucket {
    /// Starts the service on a port that was free until now, and creates the bucket.
    pub(crate) fn start_on(port: u16) -> Self {
        let mut command = Command::new(executable().with_file_name("moto_server"));
        let process = command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server");
        let bucket = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "nobody listens at {}", bucket.url);
            thread::sleep(Duration::from_millis(50));
        }
        bucket.ask("client.create_bucket(Bucket='bucket')");
        bucket
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the objects in the bucket, ordered by key: the key, the content type and the bytes of each.
    pub(crate) fn objects(&self) -> Vec<(String, String, Vec<u8>)> {
        let listed = self.ask(
            "for found in client.list_objects_v2(Bucket='bucket').get('Contents', []):\n    \
             object = client.get_object(Bucket='bucket', Key=found['Key'])\n    \
             print(found['Key'], object['ContentType'], object['Body'].read().hex(), sep='\\t')",
        );
        let object = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [key, kind, bytes] = fields[..] else {
                panic!("{line}");
            };
            let bytes = (0..bytes.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).expect("hexadecimal digits"));
            (key.to_owned(), kind.to_owned(), bytes.collect())
        };
        listed.lines().map(object).collect()
    }

    /// Returns the number of uploads in parts that are neither complete nor aborted.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        let listed = self
            .ask("print(len(client.list_multipart_uploads(Bucket='bucket').get('Uploads', [])))");
        listed.trim().parse().expect("a number")
    }

    /// Runs a Python script with boto's `client` for this service; returns what the script printed.
    pub(crate) fn ask(&self, script: &str) -> String {
        let begin = "import boto3, sys\nclient = boto3.client('s3', endpoint_url=sys.argv[1], \
                     region_name='us-east-1', aws_access_key_id='k', aws_secret_access_key='s')\n";
        python(&format!("{begin}{script}"), &[&self.url])
    }
}

/// Starts a tracking server whose runs keep their artifacts in the bucket at this port. Only the server has
/// the credentials of the bucket.
pub(crate) fn server_of(port: u16) -> Server {
    let options = [
        "--no-serve-artifacts",
        "--default-artifact-root",
        "s3://bucket/runs",
    ];
    let endpoint = format!("http://127.0.0.1:{port}");
    Server::start_in(environment(&endpoint, &[]), &options)
}

/// Starts a tracking server that serves artifacts, and keeps them in the bucket at the URL `endpoint`.
pub(crate) fn serving_server(
    endpoint: &str,
    variables: &[(&'static str, &'static str)],
    options: &[&str],
) -> Server {
    let mut all = vec!["--artifacts-destination", "s3://bucket/served"];
    all.extend(options);
    Server::start_in(environment(endpoint, variables), &all)
}

/// Returns the variables of a server with the credentials of the bucket, and `variables`.
fn environment(endpoint: &str, variables: &[(&'static str, &'static str)]) -> Environment {
    let endpoint: &'static str = endpoint.to_owned().leak();
    let mut all = vec![
        ("MLFLOW_S3_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "the-servers-key"),
        ("AWS_SECRET_ACCESS_KEY", "the-servers-secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    all.extend(variables);
    all.leak()
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
