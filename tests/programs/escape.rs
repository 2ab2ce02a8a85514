//! Program that tracks on threads and in tasks which a fake may not reach, as a user's test may do:
//! `escape HOW`.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use mlflow::testing::{fake, global_fake};
use mlflow::tracked;

#[tracked(experiment = "production", run_name = "predict {request}")]
async fn predict(request: u8) {
    mlflow::metric!("score", f64::from(request), step = 1);
    tokio::task::yield_now().await;
}

fn on_a_runtime(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build();
    runtime.expect("a runtime").block_on(future);
}

/// Starts a server on a thread of its own, sends it one request, and returns the answer. The server tracks
/// on threads of a runtime.
fn serve() -> u8 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut request = [0];
        connection.read_exact(&mut request).expect("a request");
        on_a_runtime(predict(request[0]));
        connection.write_all(&[1]).expect("an answer is taken");
    });
    let mut connection = TcpStream::connect(address).expect("the server is there");
    connection.write_all(&[7]).expect("a request is taken");
    let mut answer = [0];
    connection.read_exact(&mut answer).expect("an answer");
    server.join().expect("it does not panic");
    answer[0]
}

/// Module whose function has a name like those of the test harness.
mod server_test {
    pub(crate) fn run_test_server() {
        super::on_a_runtime(super::predict(7));
    }
}

fn main() {
    match env::args().nth(1).expect("escape HOW").as_str() {
        // The spawned task does not know the fake, as nothing carries the fake to it.
        "task" => {
            let fake = fake();
            on_a_runtime(async {
                tokio::spawn(async { predict(7).await })
                    .await
                    .expect("it does not panic");
            });
            fake.assert_nothing_logged();
        }
        "carried" => {
            let fake = fake().strict();
            on_a_runtime(async {
                let task = mlflow::thread::carry_future(async { predict(7).await });
                tokio::spawn(task).await.expect("it does not panic");
            });
            let job = mlflow::thread::carry(|| on_a_runtime(predict(8)));
            thread::spawn(job).join().expect("it does not panic");
            fake.assert_run_finished("predict 7");
            fake.assert_run_finished("predict 8");
        }
        "server" => {
            let fake = global_fake().strict();
            assert_eq!(serve(), 1);
            fake.assert_param("request", "7");
            fake.assert_metric("score", &[(1, 7.0)]);
            assert!(mlflow::flush(Duration::ZERO).complete);
        }
        // Work on a thread with a fake of its own is not recorded by the fake of the process.
        "both" => {
            let all = global_fake();
            let own = fake();
            on_a_runtime(predict(9));
            thread::spawn(|| on_a_runtime(predict(10)))
                .join()
                .expect("it does not panic");
            own.assert_run_finished("predict 9");
            drop(own);
            assert_eq!(all.runs().len(), 1);
            all.assert_run_finished("predict 10");
            let waits = thread::spawn(|| global_fake().runs().len());
            drop(all);
            assert_eq!(waits.join().expect("it does not panic"), 0);
        }
        // The second fake waits for the first, which lives until stdin is closed.
        "waits" => {
            let first = global_fake();
            let second = thread::spawn(|| global_fake().runs().len());
            let read = std::io::stdin().read(&mut [0]);
            assert_eq!(read.expect("readable"), 0);
            drop(first);
            assert_eq!(second.join().expect("it does not panic"), 0);
        }
        "outside" => {
            let _fake = global_fake().strict();
            thread::spawn(|| mlflow::log_metric("loss", 0.5))
                .join()
                .expect("it does not panic");
        }
        "missed" => {
            let fake = fake();
            thread::spawn(|| mlflow::log_metric("loss", 0.5))
                .join()
                .expect("it does not panic");
            fake.assert_metric_logged("loss");
        }
        "named" => {
            let _fake = fake();
            thread::spawn(server_test::run_test_server)
                .join()
                .expect("it does not panic");
        }
        other => panic!("no such way: {other}"),
    }
}
