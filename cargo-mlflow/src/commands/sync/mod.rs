//! `sync`: ships what processes that have ended left in their journals, beside running processes.
//!
//! Invariants: a server is contacted only if it is the configured one, because the credentials of the
//! environment go there. The journal of a running process is left alone. Runs keep their own times.

pub(crate) mod destination;
mod plan;
pub(crate) mod progress;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mlflow::{Config, RecoverError, RecoverReport, Recovery, TrackingState};
use serde::Serialize;

use super::check_uri;
use super::interrupt::Interrupt;
use crate::arguments::Sync;
use crate::failure::Failure;
use crate::output::{Output, format};
use plan::{Left, Plan, Shipment};
use progress::Progress;

/// Pause between two looks with `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(3);
/// Longest pause while nothing can be shipped.
const MAX_WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// Ships what was left, once or until a signal comes.
pub(crate) fn run(
    config: Config,
    output: Output,
    options: &Sync,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    // This program ships whether or not programs track here, and reports by itself.
    let mut config = config.enabled(true).quiet(true);
    if let Some(to) = &options.to {
        config = config.tracking_uri(to);
    }
    check_uri(&config)?;
    let plan = Plan::make(&config, options)?;
    if options.dry_run {
        return show_plan(output, &plan);
    }
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::Io("cannot listen for signals".to_owned(), error))?;
    let mut fleet = Fleet {
        config,
        output,
        interrupt,
        timeout,
        recoveries: Vec::new(),
    };
    if options.watch {
        return fleet.watch(plan, options);
    }
    let outcome = fleet.ship(plan)?;
    outcome.show(output)?;
    outcome.into_result(fleet.interrupt.has_come())
}

/// Shippers of this program, one for each destination.
struct Fleet {
    config: Config,
    output: Output,
    interrupt: Interrupt,
    timeout: Option<Duration>,
    recoveries: Vec<Recovery>,
}

/// Result of one shipment.
#[derive(Serialize)]
struct Shipped {
    destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    complete: bool,
    journals_found: u64,
    journals_left: u64,
    delivered: u64,
    /// Values that the store has refused for good; they are kept.
    rejected: u64,
    /// Values that the store takes only after a person has acted.
    blocked: u64,
    /// Records that could not be read; their files are kept.
    damaged: u64,
    /// True if the store did not answer, or takes nothing at all.
    is_unavailable: bool,
    reason: Option<String>,
}

/// Result of all shipments.
#[derive(Serialize)]
struct Outcome {
    shipped: Vec<Shipped>,
    left: Vec<Left>,
    live_journals: u64,
}

impl Fleet {
    /// Ships as planned.
    fn ship(&mut self, plan: Plan) -> Result<Outcome, Failure> {
        let deadline = self
            .timeout
            .and_then(|time| Instant::now().checked_add(time));
        let mut shipped = Vec::new();
        for shipment in &plan.shipments {
            if self.interrupt.has_come() {
                shipped.push(Shipped::not_begun(shipment));
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            shipped.push(self.ship_one(shipment, left.unwrap_or(Duration::MAX))?);
        }
        Ok(Outcome {
            shipped,
            left: plan.left,
            live_journals: plan.live_journals,
        })
    }

    fn ship_one(&mut self, shipment: &Shipment, timeout: Duration) -> Result<Shipped, Failure> {
        let (output, interrupt) = (self.output, &self.interrupt);
        let known = { self.recoveries.iter() }
            .position(|recovery| recovery.destination() == shipment.destination);
        let recovery = match known {
            Some(index) => self.recoveries.swap_remove(index),
            None => {
                let config = self.config.clone();
                // The configured URI may contain credentials, which the name of the destination lacks.
                start(if shipment.is_configured {
                    config
                } else {
                    config.tracking_uri(&shipment.destination)
                })?
            }
        };
        output.remark(format_args!(
            "shipping {} of {} to {}",
            format::counted(shipment.values, "value"),
            format::counted(shipment.journals, "journal"),
            shipment.destination
        ));
        let before = recovery.progress();
        let mut progress = Progress::begin(output, shipment.values, &before);
        let mut on_progress = |now: &mlflow::RecoverProgress| {
            progress.show(now);
            if interrupt.has_come() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let report = match &shipment.from {
            Some(from) => recovery.run_from(from, timeout, &mut on_progress),
            None => recovery.run(timeout, &mut on_progress),
        };
        drop(progress);
        let shipped = Shipped::new(shipment, report, &before, &recovery);
        self.recoveries.push(recovery);
        Ok(shipped)
    }

    /// Ships again and again until a signal comes.
    fn watch(&mut self, first: Plan, options: &Sync) -> Result<(), Failure> {
        let (mut plan, mut pause) = (first, WATCH_INTERVAL);
        let (mut last_left, mut last_faults) = (None, None);
        self.output
            .remark("watching for journals of processes that have ended; Ctrl-C ends that");
        loop {
            let outcome = self.ship(plan)?;
            let is_interrupted = self.interrupt.has_come();
            let faults: Vec<_> = { outcome.shipped.iter() }
                .filter(|shipped| !shipped.complete)
                .map(|shipped| (shipped.destination.clone(), shipped.reason.clone()))
                .collect();
            let left: Vec<_> = { outcome.left.iter() }
                .map(|left| (left.destination.clone(), left.journals, left.values))
                .collect();
            pause = if faults.is_empty() {
                WATCH_INTERVAL
            } else {
                MAX_WATCH_INTERVAL.min(2 * pause)
            };
            // A round that is like the one before is not worth a line.
            let has_shipped =
                { outcome.shipped.iter() }.any(|shipped| shipped.complete || shipped.delivered > 0);
            let is_left_new = last_left.replace(left.clone()) != Some(left);
            let is_fault_new = last_faults.replace(faults.clone()) != Some(faults);
            let is_news = has_shipped || is_left_new || (is_fault_new && !is_interrupted);
            if is_news && self.output.json {
                self.output.json_line(&outcome)?;
            } else if is_news {
                outcome.show(self.output)?;
            }
            if is_interrupted || self.interrupt.wait(pause) {
                return Ok(());
            }
            plan = Plan::make(&self.config, options)?;
        }
    }
}

/// Starts the thread that ships to the destination of `config`.
pub(crate) fn start(config: Config) -> Result<Recovery, Failure> {
    Recovery::new(config).map_err(|error| match error {
        RecoverError::InvalidUri { reason } => {
            Failure::Usage(format!("the tracking URI cannot be used: {reason}"))
        }
        error => Failure::Other(error.to_string()),
    })
}

impl Shipped {
    /// Creates the result of a shipment that an interrupt has prevented.
    fn not_begun(shipment: &Shipment) -> Self {
        Self {
            destination: shipment.destination.clone(),
            from: shipment.from.clone(),
            complete: false,
            journals_found: shipment.journals,
            journals_left: shipment.journals,
            delivered: 0,
            rejected: 0,
            blocked: 0,
            damaged: 0,
            is_unavailable: false,
            reason: Some("interrupted before it began".to_owned()),
        }
    }

    fn new(
        shipment: &Shipment,
        report: RecoverReport,
        before: &mlflow::RecoverProgress,
        recovery: &Recovery,
    ) -> Self {
        let now = recovery.progress();
        let is_failing = matches!(now.state, TrackingState::Waiting | TrackingState::Degraded);
        Self {
            destination: shipment.destination.clone(),
            from: shipment.from.clone(),
            complete: report.complete,
            journals_found: report.journals_found,
            journals_left: report.journals_left,
            delivered: report.delivered,
            rejected: now.rejected - before.rejected,
            blocked: report.blocked,
            damaged: now.damaged - before.damaged,
            is_unavailable: !report.complete && is_failing,
            reason: now.reason.filter(|_| !report.complete),
        }
    }
}

impl Outcome {
    /// Writes the results.
    fn show(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            return output.json(self);
        }
        if self.shipped.is_empty() {
            output.remark("nothing is to be shipped");
        }
        for shipped in &self.shipped {
            let from = match &shipped.from {
                Some(from) => format!(" (logged for {from})"),
                None => String::new(),
            };
            output.line(format_args!(
                "{}{from}: {} of {} delivered",
                shipped.destination,
                format::counted(shipped.delivered, "value"),
                format::counted(shipped.journals_found, "journal"),
            ))?;
            if shipped.rejected > 0 {
                output.remark(format_args!(
                    "  the store has refused {} for good; they are kept: `cargo mlflow journal resend` sends them \
                     again",
                    format::counted(shipped.rejected, "value")
                ));
            }
            if shipped.damaged > 0 {
                output.remark(format_args!(
                    "  {} in damaged files could not be read; the files are kept: `cargo mlflow journal ls` lists them",
                    format::counted(shipped.damaged, "record")
                ));
            }
        }
        show_left(output, &self.left, self.live_journals)
    }

    /// Returns a failure if something that was to be shipped is left.
    fn into_result(self, is_interrupted: bool) -> Result<(), Failure> {
        let texts: Vec<String> = { self.shipped.iter() }
            .filter(|shipped| !shipped.complete)
            .map(|shipped| {
                let reason = match (&shipped.reason, is_interrupted) {
                    (_, true) => "interrupted".to_owned(),
                    (Some(reason), false) => reason.clone(),
                    (None, false) => "the time was too short (--timeout)".to_owned(),
                };
                format!(
                    "{}: {} left: {reason}",
                    shipped.destination,
                    format::counted(shipped.journals_left, "journal")
                )
            })
            .collect();
        if texts.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{}. Nothing is lost; `cargo mlflow sync` goes on",
            texts.join("; ")
        );
        let is_unavailable = self.shipped.iter().any(|shipped| shipped.is_unavailable);
        Err(if is_unavailable && !is_interrupted {
            Failure::Unavailable(text)
        } else {
            Failure::Other(text)
        })
    }
}

/// Writes what would be shipped.
fn show_plan(output: Output, plan: &Plan) -> Result<(), Failure> {
    if output.json {
        return output.json(plan);
    }
    if plan.shipments.is_empty() {
        output.remark("nothing is to be shipped");
    }
    for shipment in &plan.shipments {
        let from = match &shipment.from {
            Some(from) => format!(" (logged for {from})"),
            None => String::new(),
        };
        output.line(format_args!(
            "{}{from}: {} of {} would be shipped",
            shipment.destination,
            format::counted(shipment.values, "value"),
            format::counted(shipment.journals, "journal")
        ))?;
    }
    show_left(output, &plan.left, plan.live_journals)
}

/// Writes what is not shipped, and what to type for it.
fn show_left(output: Output, left: &[Left], live_journals: u64) -> Result<(), Failure> {
    for left in left {
        let destination = left.destination.as_deref().unwrap_or("no destination");
        let command = match &left.command {
            Some(command) => format!(":\n  {command}"),
            None => String::new(),
        };
        output.line(format_args!(
            "{destination}: {} of {} left, because {}{command}",
            format::counted(left.values, "value"),
            format::counted(left.journals, "journal"),
            left.reason
        ))?;
    }
    if live_journals > 0 {
        output.remark(format_args!(
            "{} of running processes, which deliver by themselves",
            format::counted(live_journals, "journal")
        ));
    }
    Ok(())
}
