//! Secret names: the macro judges arguments, the runtime judges fields, by the same words.

use mlflow::tracked;

use super::recorder::{fake, params};

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
    let redacted = judged!(password passwd secret token api_key access_key private_key credential auth db_password_2);
    assert_eq!(redacted, 10);
    let redacted =
        judged!(max_tokens tokenizer author api key access private monkey secrets passwords alpha);
    assert_eq!(redacted, 0);
}
