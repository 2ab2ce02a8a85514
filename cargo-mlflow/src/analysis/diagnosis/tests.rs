//! Curves of good and bad trainings. The noise has a seed.

use super::*;

const NOW_MS: i64 = 1_900_000_000_000;

/// Source of numbers that are the same in every test run.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let part = (self.0 >> 11) as f64;
        part / 2_f64.powi(53)
    }

    /// Returns a normally distributed number.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Curve that owns its points, one each second.
struct Points {
    key: &'static str,
    steps: Vec<i64>,
    values: Vec<f64>,
    timestamps_ms: Vec<i64>,
}

impl Points {
    /// Computes the value of each of `count` points from its place between 0 and 1.
    fn new(key: &'static str, count: u32, mut value: impl FnMut(f64) -> f64) -> Self {
        let steps: Vec<i64> = (0..i64::from(count)).collect();
        Self {
            key,
            values: (0..count)
                .map(|index| value(f64::from(index) / f64::from(count)))
                .collect(),
            timestamps_ms: { steps.iter() }
                .map(|step| NOW_MS - 10_000_000 + 1000 * step)
                .collect(),
            steps,
        }
    }

    fn curve(&self) -> Curve<'_> {
        Curve {
            key: self.key,
            steps: &self.steps,
            values: &self.values,
            timestamps_ms: &self.timestamps_ms,
        }
    }
}

fn finished() -> RunState<'static> {
    RunState {
        status: RunStatus::Finished,
        start_time_ms: Some(NOW_MS - 10_000_000),
        end_time_ms: Some(NOW_MS),
        error: None,
        has_metrics: true,
        now_ms: NOW_MS,
    }
}

fn find(curves: &[Points]) -> Vec<Finding> {
    let curves: Vec<Curve<'_>> = curves.iter().map(Points::curve).collect();
    diagnose(&finished(), &curves)
}

/// Returns the kinds of what is found in a single curve.
fn kinds(points: Points) -> Vec<FindingKind> {
    find(&[points])
        .into_iter()
        .map(|finding| finding.kind)
        .collect()
}

/// Loss of a training that goes well.
fn healthy_loss(place: f64) -> f64 {
    0.2 + 2.0 * (-3.0 * place).exp()
}

#[test]
fn a_healthy_training_gives_no_finding() {
    for seed in 0..100 {
        let mut noise = Noise(seed);
        for count in [10, 30, 100, 1000] {
            for size in [0.0, 0.01, 0.05] {
                let mut waves = 0.0;
                let found = find(&[
                    Points::new("train/loss", count, |x| {
                        healthy_loss(x) * (1.0 + size * noise.normal())
                    }),
                    Points::new("val/loss", count, |x| {
                        0.05 + healthy_loss(x) + size * Noise(seed + 7).normal()
                    }),
                    // Neighbouring values are alike, as in an average over the last steps.
                    Points::new("val/accuracy", count, |x| {
                        waves = 0.8 * waves + 0.2 * size * Noise(seed ^ (x * 1e6) as u64).normal();
                        0.9 - 0.6 * (-3.0 * x).exp() + waves
                    }),
                    Points::new("tokens_per_second", count, |_| {
                        5000.0 * (1.0 + 0.05 * noise.normal())
                    }),
                    Points::new("step_time", count, |_| {
                        0.2 * (1.0 + 0.05 * noise.normal()).abs()
                    }),
                    Points::new("time/total", count, |x| x * 100.0),
                    Points::new("lr", count, |x| 0.1 * (1.0 - x)),
                    Points::new("grad_norm", count, |_| noise.normal().abs().exp()),
                ]);
                assert_eq!(found, [], "seed {seed}, {count} points, noise {size}");
            }
        }
    }
}

#[test]
fn strong_noise_gives_no_finding() {
    for seed in 0..50 {
        for count in [20, 200, 2000] {
            let mut noise = Noise(977 * seed + u64::from(count));
            let mut wave = 0.0;
            let curves = [
                // In proportion to the loss, and skewed, as the losses of batches are.
                Points::new("train/loss", count, |x| {
                    healthy_loss(x) * (0.2 * noise.normal()).exp()
                }),
                // Wandering, as an average over the last hundred steps does.
                Points::new("val/loss", count, |x| {
                    wave = 0.95 * wave + 0.015 * noise.normal();
                    healthy_loss(x) + wave
                }),
                Points::new("episode/reward", count, |x| {
                    200.0 * x + 40.0 * noise.normal()
                }),
                Points::new("samples_per_second", count, |_| {
                    1000.0 * (0.3 * noise.normal()).exp()
                }),
            ];
            assert_eq!(find(&curves), [], "seed {seed}, {count} points");
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_found_with_their_first_step() {
    let from = |start: f64, value: f64| {
        Points::new("loss", 100, move |x| {
            if x >= start { value } else { healthy_loss(x) }
        })
    };
    let found = find(&[from(0.4, f64::NAN)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].kind, found[0].severity, found[0].step),
        (FindingKind::NotANumber, Severity::Error, Some(40))
    );
    assert!(
        found[0]
            .text
            .contains("NaN at 60 of 100 points from step 40 on"),
        "{}",
        found[0].text
    );
    // Infinity, as it is and as MLflow's SQL stores keep it.
    for infinity in [f64::INFINITY, 1.797_693_134_862_315_7e308] {
        let found = find(&[from(0.9, infinity)]);
        assert!(
            found[0].text.contains("infinite at 10 of 100"),
            "{}",
            found[0].text
        );
    }
    // A single one, after which the training goes on.
    let single = Points::new("loss", 100, |x| {
        if x == 0.5 { f64::NAN } else { healthy_loss(x) }
    });
    let found = find(&[single]);
    assert_eq!(
        (found.len(), found[0].severity),
        (1, Severity::Warning),
        "{found:#?}"
    );
}

#[test]
fn a_loss_that_grows_again_diverges() {
    for seed in 0..50 {
        let mut noise = Noise(seed);
        let explodes = |x: f64| {
            if x < 0.6 {
                healthy_loss(x)
            } else {
                healthy_loss(0.6) + 8.0 * (x - 0.6)
            }
        };
        let points = Points::new("train/loss", 200, |x| {
            explodes(x) * (1.0 + 0.05 * noise.normal())
        });
        let found = find(&[points]);
        assert_eq!(found.len(), 1, "{found:#?}");
        let step = found[0].step.unwrap();
        assert_eq!(
            (found[0].kind, found[0].severity),
            (FindingKind::Divergence, Severity::Error)
        );
        assert!((100..130).contains(&step), "{step}");
    }
    // An accuracy that collapses does the same the other way round.
    let collapse = Points::new("accuracy", 100, |x| if x < 0.7 { x } else { 0.1 });
    let found = find(&[collapse]);
    assert_eq!(found[0].kind, FindingKind::Divergence);
    assert!(
        found[0].text.contains("has fallen from 0.67"),
        "{}",
        found[0].text
    );
}

#[test]
fn a_few_bad_points_at_the_end_are_no_divergence() {
    let points = Points::new(
        "loss",
        100,
        |x| if x >= 0.97 { 3.0 } else { healthy_loss(x) },
    );
    assert_eq!(kinds(points), []);
}

#[test]
fn a_loss_that_stays_is_a_plateau() {
    for seed in 0..50 {
        let mut noise = Noise(seed);
        let converged = Points::new("loss", 400, |x| {
            0.2 + 2.0 * (-40.0 * x).exp() + 0.02 * noise.normal()
        });
        let found = find(&[converged]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].kind, found[0].severity),
            (FindingKind::Plateau, Severity::Info)
        );
        // Most of the improvement is in the first hundredth of the points.
        let quick = Points::new("loss", 2000, |x| {
            0.2 + 2.0 * (-1000.0 * x).exp() + 0.02 * noise.normal()
        });
        assert_eq!(find(&[quick])[0].severity, Severity::Info);
        let idle = Points::new("loss", 400, |_| 2.303 + 0.02 * noise.normal());
        let found = find(&[idle]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].kind, found[0].severity),
            (FindingKind::Plateau, Severity::Warning)
        );
        assert!(
            found[0].text.contains("not improved at all"),
            "{}",
            found[0].text
        );
    }
    // Where the loss improves, the training works.
    let found = find(&[
        Points::new("val/loss", 100, healthy_loss),
        Points::new("val/accuracy", 100, |_| 0.83),
    ]);
    assert_eq!(
        (found.len(), found[0].severity),
        (1, Severity::Info),
        "{found:#?}"
    );
    // What is perfect cannot improve.
    assert_eq!(kinds(Points::new("accuracy", 100, |_| 1.0)), []);
    assert_eq!(kinds(Points::new("error", 100, |_| 0.0)), []);
}

#[test]
fn overfitting_is_seen_by_the_names_of_a_pair() {
    let validation = |x: f64| 0.5 + 3.0 * (x - 0.4).powi(2);
    for (training_key, validation_key) in [
        ("train/loss", "val/loss"),
        ("loss", "val_loss"),
        ("training_loss", "eval.loss"),
        ("loss/train", "loss/test"),
    ] {
        for (count, size) in [(12, 0.0), (20, 0.005), (200, 0.05)] {
            let mut noise = Noise(u64::from(count));
            let found = find(&[
                Points::new(training_key, 10 * count, healthy_loss),
                Points::new(validation_key, count, |x| {
                    validation(x) + size * noise.normal()
                }),
            ]);
            assert_eq!(found.len(), 1, "{training_key} {count} {found:#?}");
            assert_eq!(
                (found[0].kind, found[0].metric.as_deref()),
                (FindingKind::Overfitting, Some(validation_key))
            );
        }
    }
    // Other metrics are no pair, and without a pair this is a divergence.
    let found = find(&[
        Points::new("train/accuracy", 100, |x| x),
        Points::new("val/loss", 100, validation),
    ]);
    assert_eq!(
        found.iter().map(|finding| finding.kind).collect::<Vec<_>>(),
        [FindingKind::Divergence]
    );
}

#[test]
fn overfitting_is_seen_where_steps_count_epochs_and_batches() {
    let mut training = Points::new("train/loss", 1000, healthy_loss);
    let mut validation = Points::new("val/loss", 20, |x| 0.5 + 3.0 * (x - 0.4).powi(2));
    for (index, time) in (0..).zip(&mut validation.timestamps_ms) {
        *time = training.timestamps_ms[50 * index];
    }
    assert_eq!(
        find(&[training, validation])[0].kind,
        FindingKind::Overfitting
    );
    // The training did not improve any more when the validation got worse.
    training = Points::new("train/loss", 1000, |x| healthy_loss(x.min(0.3)));
    validation = Points::new("val/loss", 1000, |x| 0.5 + 3.0 * (x - 0.4).powi(2));
    let found = find(&[training, validation]);
    assert!(
        found
            .iter()
            .all(|finding| finding.kind != FindingKind::Overfitting),
        "{found:#?}"
    );
}

#[test]
fn spikes_are_counted_and_the_worst_is_named() {
    for seed in 0..50 {
        let mut noise = Noise(seed);
        let mut points = Points::new("loss", 500, |x| {
            healthy_loss(x) * (1.0 + 0.03 * noise.normal())
        });
        points.values[250] = 9.0;
        points.values[333] = 4.0;
        let found = find(&[points]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].kind, found[0].step),
            (FindingKind::Spikes, Some(250))
        );
        assert!(
            found[0]
                .text
                .contains("2 spikes, the worst of 9 at step 250"),
            "{}",
            found[0].text
        );
    }
}

#[test]
fn a_training_that_gets_slower_is_found() {
    for seed in 0..50 {
        let mut noise = Noise(seed);
        let falling = Points::new("tokens_per_second", 200, |x| {
            (5000.0 - 3000.0 * x) * (1.0 + 0.1 * noise.normal())
        });
        assert_eq!(kinds(falling), [FindingKind::Slowdown]);
        let rising = Points::new("time/step_seconds", 200, |x| {
            (0.2 + 0.2 * x) * (1.0 + 0.1 * noise.normal())
        });
        assert_eq!(kinds(rising), [FindingKind::Slowdown]);
        // Faster is fine, and so is a slow start.
        let faster = Points::new("throughput", 200, |x| {
            (5000.0 + 3000.0 * x) * (1.0 + 0.1 * noise.normal())
        });
        assert_eq!(kinds(faster), []);
        let slow_start = Points::new("step_time", 200, |x| if x < 0.04 { 9.0 } else { 0.2 });
        assert_eq!(kinds(slow_start), []);
    }
}

#[test]
fn a_stalled_run_is_one_whose_points_stay_away_much_longer_than_usual() {
    let points = Points::new("loss", 100, healthy_loss);
    let last = *points.timestamps_ms.last().unwrap();
    let at = |now_ms| RunState {
        status: RunStatus::Running,
        end_time_ms: None,
        now_ms,
        ..finished()
    };
    let kinds = |now_ms, curves: &[Curve<'_>]| -> Vec<FindingKind> {
        diagnose(&at(now_ms), curves)
            .into_iter()
            .map(|finding| finding.kind)
            .collect()
    };
    assert_eq!(kinds(last + 30_000, &[points.curve()]), []);
    assert_eq!(
        kinds(last + 600_000, &[points.curve()]),
        [FindingKind::Stalled]
    );
    // Five points, an hour apart: two hours of silence are usual, ten are not.
    let hour = 3_600_000;
    let slow = Points {
        key: "val/loss",
        steps: (0..5).collect(),
        values: vec![0.5, 0.4, 0.3, 0.25, 0.2],
        timestamps_ms: (0..5).map(|step| step * hour).collect(),
    };
    assert_eq!(kinds(6 * hour, &[slow.curve()]), []);
    assert_eq!(kinds(16 * hour, &[slow.curve()]), [FindingKind::Stalled]);
    // The machine is sampled by a thread of its own, which goes on.
    let mut machine = Points::new("system/cpu", 100, |_| 0.5);
    machine.timestamps_ms = (0..100).map(|step| last + 6000 * (step + 1)).collect();
    assert_eq!(
        kinds(last + 600_000, &[points.curve(), machine.curve()]),
        [FindingKind::Stalled]
    );
    // A finished run is silent.
    assert_eq!(diagnose(&finished(), &[points.curve()]), []);
}

#[test]
fn the_end_of_a_run_is_told() {
    let ended = |status| {
        let run = RunState {
            status,
            error: Some("disk full"),
            has_metrics: false,
            ..finished()
        };
        diagnose(&run, &[])
    };
    let failed = ended(RunStatus::Failed);
    assert!(
        failed[0]
            .text
            .starts_with("the run failed after 2 h 46 min with the error `disk full`"),
        "{}",
        failed[0].text
    );
    let kinds = |status| {
        ended(status)
            .into_iter()
            .map(|finding| finding.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(RunStatus::Killed),
        [FindingKind::Killed, FindingKind::NoMetrics]
    );
    assert_eq!(kinds(RunStatus::Finished), [FindingKind::NoMetrics]);
    assert_eq!(kinds(RunStatus::Scheduled), []);
}

#[test]
fn a_number_just_below_infinity_is_a_number() {
    let mut noise = Noise(7);
    let exploding = Points::new("loss", 100, |part| {
        if part < 0.8 {
            1.0 - part + 0.01 * noise.normal()
        } else {
            1.7e308 * part
        }
    });
    let found = find(&[exploding]);
    let kinds: Vec<FindingKind> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Divergence]);
    assert!(
        found[0].text.contains("e308 at the end"),
        "{}",
        found[0].text
    );
}

#[test]
fn no_curve_makes_the_diagnosis_panic() {
    let odd = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        1.7e308,
        -1.7e308,
        1e-308,
    ];
    for seed in 0..2000 {
        let mut noise = Noise(seed);
        let count = (noise.uniform() * 50.0) as u32;
        let mut points = |key| {
            Points::new(key, count, |_| {
                let choice = (noise.uniform() * 14.0) as usize;
                odd.get(choice).copied().unwrap_or_else(|| noise.normal())
            })
        };
        let curves = [
            points("train/loss"),
            points("val/loss"),
            points("accuracy"),
            points("tokens_per_sec"),
        ];
        for finding in find(&curves) {
            assert!(!finding.text.is_empty());
        }
    }
}
