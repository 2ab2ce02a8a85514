//! [`Config::explain`]: all settings with their sources, made from the record of the [`Resolver`].
//!
//! Invariants: what is explained is what the process would use, because the same code chooses it. No secret is
//! in the result, and nothing is logged.

use mlflow_rules::{Edge, mask};

use super::proxies;
use super::resolver::{ChosenSetting, Resolver};
use super::setting::Setting;
use crate::config::Config;
use crate::environment::launcher::{self, RankInfo};
use crate::environment::{self, run_context};
use crate::warnings::UserWarning;

impl Config {
    /// Returns every setting as it is resolved now: from this configuration, the environment, the
    /// [configuration file](crate#configuration-file), MLflow's credentials file and the defaults, in this order. Settings are listed in the order of the
    /// [table of variables](crate#configuration), each by the name of its variable. Behind them are variables
    /// that are ignored, but no settings.
    ///
    /// Nothing is logged, and no file but these two is read. Secrets are not in the result.
    ///
    /// ```
    /// use mlflow::{Config, SettingSource};
    ///
    /// let config = Config::new().tracking_uri("http://me:secret@127.0.0.1:5000").token("t0ken");
    /// let settings = config.explain();
    /// let find = |name| settings.iter().find(|setting| setting.name == name).unwrap();
    ///
    /// let uri = find("MLFLOW_TRACKING_URI");
    /// assert_eq!(uri.value.as_deref(), Some("http://127.0.0.1:5000"));
    /// assert_eq!(uri.source, SettingSource::Configured);
    /// assert_eq!(find("MLFLOW_TRACKING_TOKEN").value.as_deref(), Some("[redacted]"));
    /// for setting in &settings {
    ///     for problem in &setting.problems {
    ///         println!("{problem}"); // MLFLOW_EXIT_TIMEOUT="soon" cannot be used and is ignored; expected …
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn explain(&self) -> Vec<Setting> {
        let faults = launcher::faults().collect();
        self.explain_from(Resolver::of_process(), launcher::rank_info(), faults)
    }

    /// Explains the settings like [`explain`](Self::explain), with the given resolver and rank in place of the process's.
    pub(super) fn explain_from(
        &self,
        mut resolver: Resolver<'_>,
        place: Option<RankInfo>,
        launcher_faults: Vec<(&'static str, UserWarning)>,
    ) -> Vec<Setting> {
        self.clone().resolve_with(&mut resolver, place);
        resolver
            .choose(environment::DEPLOYMENT_ENVIRONMENT)
            .description(Ok)
            .or_unset();
        resolver
            .choose(run_context::VARIABLE)
            .description(|text| {
                let tags = run_context::parse_tags(&text)?;
                let tags = tags.iter().map(|tag| format!("{}={}", tag.key, tag.value));
                Ok(tags.collect::<Vec<_>>().join(", "))
            })
            .or_unset();
        proxies::record_proxies(&mut resolver);
        for (variable, warning) in launcher_faults {
            resolver.warn(variable, warning);
        }
        resolver
            .into_record()
            .into_iter()
            .map(Setting::from)
            .collect()
    }
}

impl From<ChosenSetting> for Setting {
    fn from(chosen: ChosenSetting) -> Self {
        let ChosenSetting {
            variable,
            value,
            source,
            warnings,
        } = chosen;
        Self {
            name: variable,
            value: value.map(|value| mask(&value, Edge::End).map_or(value, |masked| masked.text)),
            source,
            problems: warnings.into_iter().map(UserWarning::into_text).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::ffi::OsString;
    use std::fs;
    use std::num::NonZeroU32;
    use std::os::unix::ffi::OsStringExt as _;
    use std::time::Duration;

    use super::*;
    use crate::config::SettingSource;

    fn explain(config: &Config, environment: &[(&'static str, &str)]) -> Vec<Setting> {
        let environment: Vec<_> = { environment.iter() }
            .map(|(key, value)| (*key, OsString::from(value)))
            .collect();
        explain_bytes(config, &environment)
    }

    fn explain_bytes(config: &Config, environment: &[(&'static str, OsString)]) -> Vec<Setting> {
        let lookup = |variable: &str| {
            let found = environment.iter().find(|(key, _)| *key == variable);
            found.map(|(_, value)| value.clone())
        };
        config.explain_from(Resolver::new(&lookup, None), None, Vec::new())
    }

    fn find<'s>(settings: &'s [Setting], name: &str) -> &'s Setting {
        let mut found = settings.iter().filter(|setting| setting.name == name);
        let setting = found.next().expect(name);
        assert_eq!(found.next(), None, "{name} is listed once");
        setting
    }

    /// Asserts value, source and problems of a setting.
    fn assert_setting(
        settings: &[Setting],
        name: &str,
        value: Option<&str>,
        source: &SettingSource,
    ) {
        let setting = find(settings, name);
        assert_eq!(setting.value.as_deref(), value, "{name}");
        assert_eq!(setting.source, *source, "{name}");
        assert!(setting.problems.is_empty(), "{setting:?}");
    }

    /// Variables in the first column of the table in the documentation of the crate.
    fn documented() -> Vec<&'static str> {
        let page = include_str!("../lib.rs");
        let rows = page.lines().filter_map(|line| line.strip_prefix("//! | `"));
        rows.filter_map(|row| row.split_once(" | "))
            .flat_map(|(variables, _)| variables.split(", "))
            .map(|variable| variable.trim_matches('`'))
            .collect()
    }

    #[test]
    fn every_documented_setting_is_explained_in_its_order() {
        let settings = explain(&Config::new(), &[]);
        let names: Vec<_> = settings.iter().map(|setting| setting.name).collect();
        assert!(names.len() > 25, "{names:?}");
        assert_eq!(names, documented());
    }

    #[test]
    fn without_anything_all_are_defaults() {
        let settings = explain(&Config::new(), &[]);
        for setting in &settings {
            assert_eq!(setting.source, SettingSource::Default, "{setting:?}");
            assert!(setting.problems.is_empty(), "{setting:?}");
        }
        let here = env::current_dir().expect("it is there").join("mlflow.db");
        let here = format!("sqlite:///{}", here.display());
        let default = &SettingSource::Default;
        for (name, value) in [
            ("MLFLOW_TRACKING_URI", Some(here.as_str())),
            ("MLFLOW_EXPERIMENT_NAME", None),
            ("MLFLOW_EXPERIMENT_ID", Some("0")),
            ("MLFLOW_TRACKING_PASSWORD", None),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", Some("120")),
            ("MLFLOW_TRACKING_ENABLED", Some("true")),
            ("MLFLOW_JOURNAL_MAX_BYTES", Some("1073741824")),
            ("MLFLOW_SYSTEM_METRICS_NODE_ID", None),
        ] {
            assert_setting(&settings, name, value, default);
        }
    }

    /// A variable and a value that can be used, for each setting.
    const VARIABLES: [(&str, &str); 38] = [
        ("MLFLOW_TRACKING_URI", "http://env:5000"),
        ("MLFLOW_EXPERIMENT_NAME", "env"),
        ("MLFLOW_EXPERIMENT_ID", "7"),
        ("MLFLOW_RUN_ID", "0123"),
        ("MLFLOW_METRIC_PREFIX", "env/"),
        ("MLFLOW_TRACKING_USERNAME", "ml"),
        ("MLFLOW_TRACKING_PASSWORD", "hunter2"),
        ("MLFLOW_TRACKING_TOKEN", "tok3n"),
        ("MLFLOW_TRACKING_TOKEN_FILE", "/env/token"),
        ("MLFLOW_TRACKING_AUTH", "kubernetes"),
        ("MLFLOW_TRACKING_HEADERS", "x-team=vision"),
        ("MLFLOW_TRACKING_AWS_SIGV4", "true"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "true"),
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", "/env/ca.pem"),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "/env/me.pem"),
        ("MLFLOW_WORKSPACE", "env"),
        ("MLFLOW_LOCAL_ARTIFACTS_DIR", "/env/artifacts"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "2.5"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true"),
        ("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "99"),
        ("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "99"),
        ("MLFLOW_TRACKING_ENABLED", "false"),
        ("MLFLOW_EXIT_TIMEOUT", "9"),
        ("MLFLOW_JOURNAL_DIR", "/env/journal"),
        ("MLFLOW_JOURNAL_MAX_BYTES", "99"),
        ("MLFLOW_METRIC_MAX_POINTS_PER_SECOND", "2.5"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_REDACT_PATTERN", "ENV-[0-9]{4}"),
        ("MLFLOW_CAPTURE_CONSOLE", "true"),
        ("MLFLOW_CONSOLE_MAX_BYTES", "99"),
        ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true"),
        ("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "3"),
        ("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "4"),
        ("MLFLOW_SYSTEM_METRICS_NODE_ID", "env"),
        ("MLFLOW_ENV", "production"),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];

    /// Returns false for the setting of a feature that is not built.
    fn is_usable(name: &str) -> bool {
        let of_features = [
            (
                "MLFLOW_METRIC_MAX_POINTS_PER_SECOND",
                cfg!(feature = "thinning"),
            ),
            ("MLFLOW_REDACT_PATTERN", cfg!(feature = "redact")),
            ("MLFLOW_TRACKING_AWS_SIGV4", cfg!(feature = "aws-sigv4")),
        ];
        !of_features.contains(&(name, false))
    }

    #[test]
    fn a_variable_is_the_source_of_its_value() {
        let settings = explain(&Config::new(), &VARIABLES);
        for (name, value) in VARIABLES {
            let shown = match name {
                "MLFLOW_TRACKING_PASSWORD" | "MLFLOW_TRACKING_TOKEN" => "[redacted]",
                "MLFLOW_TRACKING_HEADERS" => "x-team=[redacted]",
                _ => value,
            };
            if is_usable(name) {
                assert_setting(&settings, name, Some(shown), &SettingSource::Variable(name));
            }
        }
        let variables: Vec<_> = { VARIABLES.iter() }
            .map(|(name, _)| *name)
            .chain([
                "MLFLOW_RENDEZVOUS_ID",
                "MLFLOW_RUN_CONTEXT",
                "HTTP_PROXY",
                // Tested beside the file.
                "MLFLOW_CONFIG_FILE",
            ])
            .collect();
        for name in documented() {
            assert!(variables.contains(&name), "{name} is not tested");
        }
    }

    #[test]
    fn a_configured_value_wins_over_its_variable() {
        let config = Config::new()
            .tracking_uri("http://code:5000")
            .experiment("code")
            .run_id("4567")
            .metric_prefix("code/")
            .basic_auth("code", "c0de")
            .token("c0de")
            .header("X-Team", "c0de")
            .aws_sigv4(false)
            .insecure_tls(false)
            .server_cert("/code/ca.pem")
            .client_cert("/code/me.pem")
            .workspace("code")
            .local_artifacts_dir("/code/artifacts")
            .request_timeout(Duration::from_millis(1500))
            .max_retries(1)
            .enabled(true)
            .exit_timeout(Duration::from_secs(1))
            .journal_dir("/code/journal")
            .journal_max_bytes(1)
            .metric_max_points_per_second(0.5)
            .quiet(false);
        #[cfg(feature = "redact")]
        let config = config.redact("CODE-[0-9]{4}");
        let config = config
            .capture_console(false)
            .console_max_bytes(1)
            .system_metrics(false)
            .system_metrics_sampling_interval(Duration::from_millis(1))
            .system_metrics_samples_before_logging(NonZeroU32::MIN.get())
            .system_metrics_node_id("code");
        let settings = explain(&config, &VARIABLES);
        let from_environment = [
            "MLFLOW_EXPERIMENT_ID",
            "MLFLOW_TRACKING_AUTH",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE",
            "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE",
            "MLFLOW_ENV",
            "HTTPS_PROXY",
            "NO_PROXY",
        ];
        for (name, _) in VARIABLES {
            let setting = find(&settings, name);
            let expected = match name {
                // The configured name leaves no place for an id.
                "MLFLOW_EXPERIMENT_ID" => SettingSource::Default,
                // The configured token is used in place of one in a file.
                "MLFLOW_TRACKING_TOKEN_FILE" => SettingSource::Default,
                _ if from_environment.contains(&name) => SettingSource::Variable(name),
                _ => SettingSource::Configured,
            };
            if is_usable(name) {
                assert_eq!(setting.source, expected, "{name}");
            }
        }
        let configured = &SettingSource::Configured;
        for (name, value) in [
            ("MLFLOW_TRACKING_URI", "http://code:5000"),
            ("MLFLOW_EXPERIMENT_NAME", "code"),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "1.5"),
            // As it is used, not as it was given.
            ("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2"),
        ] {
            assert_setting(&settings, name, Some(value), configured);
        }
        let by_id = explain(&Config::new().experiment_id("3"), &VARIABLES);
        assert_setting(&by_id, "MLFLOW_EXPERIMENT_ID", Some("3"), configured);
        let default = &SettingSource::Default;
        assert_setting(&by_id, "MLFLOW_EXPERIMENT_NAME", None, default);
    }

    #[test]
    fn the_last_source_of_a_token_that_is_configured_counts() {
        let variables = [
            ("MLFLOW_TRACKING_TOKEN", "tok3n"),
            ("MLFLOW_TRACKING_TOKEN_FILE", "/env/token"),
        ];
        let config = Config::new().token("c0de").token_file("/code/token");
        let settings = explain(&config, &variables);
        let default = &SettingSource::Default;
        assert_setting(&settings, "MLFLOW_TRACKING_TOKEN", None, default);
        let configured = &SettingSource::Configured;
        let file = "MLFLOW_TRACKING_TOKEN_FILE";
        assert_setting(&settings, file, Some("/code/token"), configured);
        let provider = || Ok::<_, std::io::Error>("c0de".to_owned());
        let settings = explain(&config.token_provider(provider), &variables);
        let token = "MLFLOW_TRACKING_TOKEN";
        assert_setting(&settings, token, Some("[redacted]"), configured);
        assert_setting(&settings, file, None, default);
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_a_problem_of_the_others() {
        let settings = explain(
            &Config::new(),
            &[("MLFLOW_TRACKING_HEADERS", "x-a=hunter2,hunter2")],
        );
        let headers = find(&settings, "MLFLOW_TRACKING_HEADERS");
        assert_eq!(headers.value.as_deref(), Some("x-a=[redacted]"));
        assert!(headers.problems[0].contains("entry 2 has no `=`"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn the_credentials_file_is_a_source() {
        let home = env::temp_dir().join(format!("mlflow-explain-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(home.join(".mlflow")).expect("writable");
        let path = home.join(".mlflow/credentials");
        let text = "[mlflow]\nmlflow_tracking_username = alice\nmlflow_tracking_password = s3cr3t";
        fs::write(&path, text).expect("writable");
        let home_variable = ("HOME", home.to_str().expect("UTF-8"));
        let settings = explain(&Config::new(), &[home_variable]);
        let source = &SettingSource::CredentialsFile(path.clone());
        assert_setting(&settings, "MLFLOW_TRACKING_USERNAME", Some("alice"), source);
        assert_setting(
            &settings,
            "MLFLOW_TRACKING_PASSWORD",
            Some("[redacted]"),
            source,
        );
        let user = ("MLFLOW_TRACKING_USERNAME", "bob");
        let settings = explain(&Config::new(), &[home_variable, user]);
        let variable = &SettingSource::Variable("MLFLOW_TRACKING_USERNAME");
        assert_setting(&settings, "MLFLOW_TRACKING_USERNAME", Some("bob"), variable);
        assert_setting(
            &settings,
            "MLFLOW_TRACKING_PASSWORD",
            Some("[redacted]"),
            source,
        );

        fs::write(&path, "[mlflow\ns3cr3t").expect("writable");
        let settings = explain(&Config::new(), &[home_variable]);
        let username = find(&settings, "MLFLOW_TRACKING_USERNAME");
        assert_eq!(
            (&username.value, &username.source),
            (&None, &SettingSource::Default)
        );
        let problem = &username.problems[0];
        assert!(
            problem.contains("expected a section `[mlflow]`"),
            "{problem}"
        );
        assert!(!format!("{settings:?}").contains("s3cr3t"));
        fs::remove_dir_all(&home).expect("it is ours");
    }

    #[test]
    fn a_value_that_cannot_be_used_is_a_problem_and_no_source() {
        for (name, bad, default) in [
            ("MLFLOW_RENDEZVOUS_ID", "job", None),
            ("MLFLOW_METRIC_PREFIX", "{host}/", None),
            ("MLFLOW_TRACKING_INSECURE_TLS", "maybe", Some("false")),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "-3", Some("120")),
            ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "many", Some("7")),
            ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "ja", None),
            (
                "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE",
                "1 GB",
                Some("524288000"),
            ),
            ("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "-1", Some("10485760")),
            ("MLFLOW_TRACKING_ENABLED", "ja", Some("true")),
            ("MLFLOW_EXIT_TIMEOUT", "soon", Some("5")),
            ("MLFLOW_JOURNAL_MAX_BYTES", "1 GB", Some("1073741824")),
            ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "2", Some("false")),
            ("MLFLOW_CAPTURE_CONSOLE", "2", Some("false")),
            ("MLFLOW_CONSOLE_MAX_BYTES", "-1", Some("67108864")),
            ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "2", Some("false")),
            ("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0", Some("10")),
            (
                "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING",
                "0",
                Some("1"),
            ),
            ("MLFLOW_SYSTEM_METRICS_NODE_ID", "a=b", None),
            ("MLFLOW_RUN_CONTEXT", "team=vision", None),
            ("MLFLOW_TRACKING_AUTH", "arn", None),
        ] {
            let settings = explain(&Config::new(), &[(name, bad)]);
            let setting = find(&settings, name);
            assert_eq!(setting.value.as_deref(), default, "{name}");
            assert_eq!(setting.source, SettingSource::Default, "{name}");
            let [problem] = &setting.problems[..] else {
                panic!("one problem: {setting:?}");
            };
            assert!(problem.contains(name), "{problem}");
            // The variable with tags may hold a secret.
            assert_eq!(
                problem.contains(bad),
                name != "MLFLOW_RUN_CONTEXT",
                "{problem}"
            );
            assert!(
                problem.contains("expected") || problem.contains("not supported"),
                "{problem}"
            );
            let others = settings.iter().filter(|other| other.name != name);
            assert_eq!(others.map(|other| other.problems.len()).sum::<usize>(), 0);
        }
    }

    #[test]
    fn the_next_source_is_used_in_place_of_a_value_that_cannot_be() {
        let config = Config::new().metric_prefix("{host}/").experiment("");
        let environment = [
            ("MLFLOW_METRIC_PREFIX", "env/"),
            ("MLFLOW_EXPERIMENT_NAME", "env"),
        ];
        let settings = explain(&config, &environment);
        for (name, value) in environment {
            let setting = find(&settings, name);
            assert_eq!(setting.value.as_deref(), Some(value));
            assert_eq!(setting.source, SettingSource::Variable(name));
            assert_eq!(setting.problems.len(), 1, "{setting:?}");
        }
    }

    #[test]
    fn a_tracking_uri_that_cannot_be_used_stays_and_says_why() {
        let uri = "me:hunter2@mlflow:5000/pre";
        for (config, environment, source) in [
            (
                Config::new().tracking_uri(uri),
                &[][..],
                SettingSource::Configured,
            ),
            (
                Config::new(),
                &[("MLFLOW_TRACKING_URI", uri)],
                SettingSource::Variable("MLFLOW_TRACKING_URI"),
            ),
        ] {
            let settings = explain(&config, environment);
            let setting = find(&settings, "MLFLOW_TRACKING_URI");
            assert_eq!(setting.value.as_deref(), Some("mlflow:5000/pre"));
            assert_eq!(setting.source, source);
            let problem = &setting.problems[0];
            assert!(
                problem.contains("expected http://mlflow:5000/pre"),
                "{problem}"
            );
            assert!(!format!("{settings:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_a_problem() {
        let bytes = OsString::from_vec(b"s3cr3t\xff".to_vec());
        for name in documented().into_iter().chain(["HOME", "XDG_STATE_HOME"]) {
            let settings = explain_bytes(&Config::new(), &[(name, bytes.clone())]);
            let setting = find(&settings, name);
            match name {
                // These describe the process, and are read whatever their bytes are.
                "MLFLOW_ENV" => assert_eq!(setting.value.as_deref(), Some("s3cr3t\u{fffd}")),
                // The HTTP client leaves them out without a word.
                "HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY" => assert_eq!(setting.value, None),
                _ => {
                    assert_eq!(setting.source, SettingSource::Default, "{name}");
                    assert_eq!(setting.problems.len(), 1, "{setting:?}");
                    assert!(!format!("{settings:?}").contains("s3cr3t"), "{name}");
                }
            }
        }
    }

    #[test]
    fn proxies_are_those_of_the_http_client() {
        let shown = |environment: &[(&'static str, &str)]| {
            let settings = explain(&Config::new(), environment);
            let found = find(&settings, "HTTP_PROXY");
            (found.value.clone(), found.source.clone())
        };
        let by =
            |value: &str, variable| (Some(value.to_owned()), SettingSource::Variable(variable));
        let all = ("ALL_PROXY", "socks5://me:secret@all");
        assert_eq!(shown(&[all]), by("socks5://all", "ALL_PROXY"));
        let lower = ("http_proxy", "me:secret@proxy:3128");
        assert_eq!(shown(&[all, lower]), by("proxy:3128", "http_proxy"));
        let upper = ("HTTP_PROXY", "t0ken@proxy");
        assert_eq!(shown(&[lower, upper]), by("proxy", "HTTP_PROXY"));
        let unset = (None, SettingSource::Default);
        assert_eq!(shown(&[upper, ("REQUEST_METHOD", "GET")]), unset);
        let https = explain(&Config::new(), &[("HTTPS_PROXY", "http://me:secret@proxy")]);
        assert_eq!(
            find(&https, "HTTPS_PROXY").value.as_deref(),
            Some("http://proxy")
        );
        assert_eq!(find(&https, "HTTP_PROXY").value, None);
    }

    #[test]
    fn the_login_in_a_tracking_uri_wins_and_is_not_shown() {
        let config = Config::new().tracking_uri("http://al1ce:hunter2@host");
        let settings = explain(&config, &VARIABLES);
        let uri = &SettingSource::TrackingUri;
        for name in ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"] {
            assert_setting(&settings, name, Some("[redacted]"), uri);
        }
        assert!(!format!("{settings:?}").contains("al1ce"));
    }

    /// Texts that hold a secret in every place where a user may put one.
    #[test]
    fn secrets_are_never_shown() {
        // Put together here, so that no secret scanner takes it for a real one.
        let token = ["gh", "p_", &"FakeValue1".repeat(4)].concat();
        for (secret, texts) in [
            (
                token.as_str(),
                vec![
                    token.clone(),
                    format!("https://{token}@host"),
                    format!("a {token}/{{x"),
                ],
            ),
            (
                "hunter2",
                vec![
                    "http://me:hunter2@host:5000/a?key=hunter2#hunter2".to_owned(),
                    "postgresql://me:hunter2@host/db".to_owned(),
                    "me:hunter2@host:5000".to_owned(),
                    "http://me:hunt/er:hunter2@host".to_owned(),
                ],
            ),
        ] {
            for text in texts {
                for name in documented() {
                    let settings = explain(&Config::new(), &[(name, &text)]);
                    let is_url =
                        matches!(name, "MLFLOW_TRACKING_URI" | "HTTP_PROXY" | "HTTPS_PROXY");
                    if is_url
                        || secret == token
                        || name.ends_with("PASSWORD")
                        || name.ends_with("TOKEN")
                    {
                        let shown = format!("{settings:?}");
                        assert!(!shown.contains(secret), "{name}={text}: {shown}");
                    }
                }
                let config = Config::new()
                    .tracking_uri(&text)
                    .basic_auth("me", &text)
                    .token(&text);
                let shown = format!("{:?}", explain(&config, &[]));
                assert!(!shown.contains(secret), "{text}: {shown}");
            }
        }
        let context = r#"{"team": "vision", "api_token": "s3cr3t"}"#;
        let settings = explain(&Config::new(), &[("MLFLOW_RUN_CONTEXT", context)]);
        let shown = find(&settings, "MLFLOW_RUN_CONTEXT").value.as_deref();
        assert_eq!(shown, Some("api_token=[redacted], team=vision"));
    }
}
