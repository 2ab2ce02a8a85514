//! Program that logs values while the server is killed and restarted, on the same port and the same file. No
//! value may be lost or doubled.

use std::thread;
use std::time::{Duration, Instant};

use crate::Form;
use crate::kills::moment_within;
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::rng::Rng;
use crate::traffic::Traffic;

/// Longest time that the server runs between two kills, and longest time that it is down.
const LONGEST: Duration = Duration::from_secs(8);

pub(crate) fn run(form: Form) {
    let restarts = match form {
        Form::Short => 2,
        Form::Long => 10,
    };
    let mut rng = Rng::seeded();
    let mut server = Server::start_with(&[]);
    let folder = Folder::for_hours();
    let traffic = Traffic::start(server.url(), &folder.journal(), "restarts");
    let logged = traffic.log_while(|| {
        let mut delivered = 0;
        for restart in 1..=restarts {
            // Before the next kill, the server has to take further values.
            while mlflow::health().delivered == delivered {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(moment_within(&mut rng, LONGEST));
            server.kill();
            let killed = Instant::now();
            delivered = mlflow::health().delivered;
            thread::sleep(moment_within(&mut rng, LONGEST));
            server.restart();
            println!(
                "restart {restart}: killed after {delivered} values, away for {:.1} s",
                killed.elapsed().as_secs_f64()
            );
        }
    });
    logged.check(&server.database());
}
