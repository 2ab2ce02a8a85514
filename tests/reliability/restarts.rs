//! Program that logs values while the server is killed and restarted, on the same port and the same file. No
//! value may be lost or doubled.
//!
//! The server is MLflow's own, or, as a program of its own, a PostgreSQL server that the values are written to. The
//! latter either closes its connections and ends, or ends at once and recovers its data at the next start.

use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::kills::moment_within;
use crate::support::mlflow::Server;
use crate::support::postgres::Postgres;
use crate::support::program::Folder;
use crate::support::rng::Rng;
use crate::traffic::Traffic;
use crate::{Form, postgres_copy};

/// Longest time that an MLflow server runs between two kills, and longest time that it is down.
const LONGEST: Duration = Duration::from_secs(8);
/// The same of a PostgreSQL server, which starts faster.
const LONGEST_OF_POSTGRES: Duration = Duration::from_secs(2);

/// Server that can be killed and started again.
enum Target {
    Mlflow(Server),
    Postgres(Postgres),
}

/// Restarts MLflow's server.
pub(crate) fn run(form: Form) {
    let restarts = match form {
        Form::Short => 2,
        Form::Long => 10,
    };
    let server = Target::Mlflow(Server::start_with(&[]));
    restart_under_traffic(server, restarts, LONGEST, "restarts");
}

/// Restarts a PostgreSQL server.
pub(crate) fn run_on_postgres(form: Form) {
    let restarts = match form {
        Form::Short => 3,
        Form::Long => 40,
    };
    let Some(server) = Postgres::start() else {
        return;
    };
    let server = Target::Postgres(server);
    restart_under_traffic(server, restarts, LONGEST_OF_POSTGRES, "restarts-postgres");
}

fn restart_under_traffic(mut server: Target, restarts: u32, longest: Duration, name: &str) {
    let mut rng = Rng::seeded();
    let folder = Folder::for_hours();
    let traffic = Traffic::start(&server.uri(), &folder.journal(), name);
    let logged = traffic.log_while(|| {
        let mut delivered = 0;
        for restart in 1..=restarts {
            // Before the next kill, the server has to take further values.
            while mlflow::health().delivered == delivered {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(moment_within(&mut rng, longest));
            server.kill(&mut rng);
            let killed = Instant::now();
            delivered = mlflow::health().delivered;
            thread::sleep(moment_within(&mut rng, longest));
            server.restart();
            println!(
                "restart {restart}: killed after {delivered} values, away for {:.1} s",
                killed.elapsed().as_secs_f64()
            );
        }
    });
    logged.check(&server.database());
}

impl Target {
    fn uri(&self) -> String {
        match self {
            Self::Mlflow(server) => server.url().to_owned(),
            Self::Postgres(server) => server.uri(),
        }
    }

    fn kill(&mut self, rng: &mut Rng) {
        match self {
            Self::Mlflow(server) => server.kill(),
            Self::Postgres(server) if rng.below(2) == 0 => server.stop(),
            Self::Postgres(server) => server.crash(),
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Mlflow(server) => server.restart(),
            Self::Postgres(server) => server.restart(),
        }
    }

    fn database(&self) -> Connection {
        match self {
            Self::Mlflow(server) => server.database(),
            Self::Postgres(server) => postgres_copy::copy(server),
        }
    }
}
