//! Secret names: the macro checks the names of arguments, and the runtime those of fields, by the rules in
//! `mlflow-rules`.

use mlflow::tracked;

use super::recorder::{fake, only_run, params};

macro_rules! judged {
    ($($name:ident)*) => {{
        #[derive(serde::Serialize)]
        struct Fields {
            $($name: u8,)*
        }
        #[tracked]
        #[allow(clippy::too_many_arguments)]
        fn arguments($($name: u8),*) {
            $(let _ = $name;)*
        }
        #[tracked]
        fn fields(fields: Fields) {
            let _ = fields;
        }
        let fake = fake();
        $(let $name = 1;)*
        arguments($($name),*);
        fields(Fields { $($name),* });
        let runs = fake.runs();
        let fields: Vec<(&str, &str)> =
            params(&runs[1]).into_iter().map(|(key, value)| (key.trim_start_matches("fields."), value)).collect();
        assert_eq!(params(&runs[0]), fields);
        runs[0].params.values().filter(|value| *value == "[redacted]").count()
    }};
}

#[test]
fn macro_and_runtime_agree() {
    let redacted = judged!(password passwd pwd db_pwd passphrase secret token api_key access_key private_key credential auth db_password_2 secrets passwords credentials cookie session dsn);
    assert_eq!(redacted, 19);
    let redacted = judged!(max_tokens tokenizer author api key access private monkey primary_key eos_token pad_token_id token_accuracy session_length alpha);
    assert_eq!(redacted, 0);
}

#[test]
fn camel_case_arguments() {
    #[tracked]
    #[allow(non_snake_case)]
    fn train(apiKey: &str, dbPassword1: &str, maxTokens: u8) {
        let _ = (apiKey, dbPassword1, maxTokens);
    }
    let fake = fake();
    train("k", "p", 7);
    let run = only_run(&fake);
    let expected = [
        ("apiKey", "[redacted]"),
        ("dbPassword1", "[redacted]"),
        ("maxTokens", "7"),
    ];
    assert_eq!(params(&run), expected);
}

struct Creds {
    api_key: String,
    auth: (String, u8),
    host: String,
}

fn creds() -> Creds {
    Creds {
        api_key: "hunter2".to_owned(),
        auth: ("hunter2".to_owned(), 2),
        host: "h".to_owned(),
    }
}

/// Regression: the name of the binding is harmless, but the name of the field is secret.
#[test]
fn a_secret_field_was_logged_by_its_new_name() {
    #[tracked(run_name = "{k}-{host}-{user}", params(k))]
    fn train(
        Creds {
            api_key: k,
            auth: (user, n),
            host,
        }: Creds,
    ) {
        let _ = (k, user, n, host);
    }
    let fake = fake();
    train(creds());
    let run = only_run(&fake);
    assert_eq!(run.name, "[redacted]-h-[redacted]");
    let expected = [
        ("host", "h"),
        ("k", "[redacted]"),
        ("n", "[redacted]"),
        ("user", "[redacted]"),
    ];
    assert_eq!(params(&run), expected);
}

#[test]
fn a_secret_field_logged_on_purpose() {
    #[tracked(params(k = k))]
    fn train(Creds { api_key: k, .. }: Creds) {
        let _ = k;
    }
    let fake = fake();
    train(creds());
    assert_eq!(params(&only_run(&fake)), [("k", "hunter2")]);
}

#[test]
fn a_secret_field_does_not_come_through_debug() {
    #[derive(Clone, Debug)]
    #[allow(dead_code)]
    struct Config {
        user: &'static str,
        password: String,
    }
    #[tracked(run_name = "of-{config:?}")]
    fn train(config: &Config, all: Vec<Config>) -> Result<(), Config> {
        let _ = all;
        Err(config.clone())
    }
    let fake = fake();
    let config = Config {
        user: "me",
        password: "hunter2".to_owned(),
    };
    assert!(train(&config, vec![config.clone()]).is_err());
    let run = only_run(&fake);
    let shown = r#"Config { user: "me", password: [redacted] }"#;
    assert_eq!(
        params(&run),
        [("all", format!("[{shown}]").as_str()), ("config", shown)]
    );
    assert_eq!(run.name, format!("of-{shown}"));
    assert_eq!(run.tags["error.message"], shown);
}
