//! Program that logs values while each kind of network fault strikes, in turn and then at random. No value
//! may be lost or doubled. The durations of the log calls are printed, to show that no call waits.

use std::thread;
use std::time::Duration;

use crate::Form;
use crate::fault_schedule::fault_schedule;
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;
use crate::traffic::Traffic;

pub(crate) fn run(form: Form) {
    let length = match form {
        Form::Short => Duration::from_secs(20),
        Form::Long => Duration::from_secs(600),
    };
    let server = Server::start_with(&[]);
    let folder = Folder::for_hours();
    let proxy = Proxy::start(
        server.url(),
        fault_schedule(Rng::seeded(), form == Form::Long),
    );
    let traffic = Traffic::start(&proxy.url(), &folder.journal(), "faults");
    let logged = traffic.log_while(|| {
        thread::sleep(length);
        let counts = proxy.counts();
        println!(
            "{} requests, of which spoiled: {:?}",
            counts.requests, counts.faults
        );
        proxy.heal();
    });
    logged.check(&server.database());
}
