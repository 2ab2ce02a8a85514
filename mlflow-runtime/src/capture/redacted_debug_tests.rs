use std::collections::BTreeMap;

use super::*;
use crate::capture::TextEnd;

fn veiled(shown: fmt::Arguments<'_>) -> String {
    let text = render_debug(6000, shown);
    assert_eq!(text.end, TextEnd::Complete);
    text.text
}

#[derive(Debug)]
#[allow(dead_code)]
struct Config {
    user: &'static str,
    password: Option<&'static str>,
    inner: Inner,
}

#[derive(Debug)]
#[allow(dead_code)]
struct Inner {
    api_key: (u8, Vec<char>),
    max_tokens: u32,
}

fn config() -> Config {
    Config {
        user: "me, password: \"none\", {token: 1",
        password: Some("a \"quoted\" } , hunter2 \\"),
        inner: Inner {
            api_key: (7, vec!['"', '\'', '}', ',', '\u{301}']),
            max_tokens: 5,
        },
    }
}

#[test]
fn a_secret_field_is_hidden_to_its_end_and_nothing_else_is() {
    assert_eq!(
        veiled(format_args!("{:?}", config())),
        r#"Config { user: "me, password: \"none\", {token: 1", password: [redacted], inner: Inner { api_key: [redacted], max_tokens: 5 } }"#
    );
}

#[test]
fn pretty_output_keeps_its_form() {
    assert_eq!(
        veiled(format_args!("{:#?}", config())),
        r#"Config {
    user: "me, password: \"none\", {token: 1",
    password: [redacted],
    inner: Inner {
        api_key: [redacted],
        max_tokens: 5,
    },
}"#
    );
}

#[test]
fn what_is_hidden() {
    let map = BTreeMap::from([("db password", "hunter2"), ("host", "h")]);
    for (shown, expected) in [
        ("C { password: x }", "C { password: [redacted] }"),
        (
            "C { password: x, a: 1 }",
            "C { password: [redacted], a: 1 }",
        ),
        (
            "[C { token: T { a: [1, 2] } }, D]",
            "[C { token: [redacted] }, D]",
        ),
        (
            r#"{"auth": "a", "b": "c"}"#,
            r#"{"auth": [redacted], "b": "c"}"#,
        ),
        (
            r#"{"a\"b": 1, "token":"x"}"#,
            r#"{"a\"b": 1, "token":[redacted]}"#,
        ),
        (
            r#"C { a: '"', token: '"', b: 'c' }"#,
            r#"C { a: '"', token: [redacted], b: 'c' }"#,
        ),
        (
            r#"C { a: '\'', token: 1 }"#,
            r#"C { a: '\'', token: [redacted] }"#,
        ),
        (
            "C { a: don't, token: 1 }",
            "C { a: don't, token: [redacted] }",
        ),
        ("C { ä: 1, r#token: 2 }", "C { ä: 1, r#token: [redacted] }"),
        ("C { token: C { password: 1 } }", "C { token: [redacted] }"),
    ] {
        assert_eq!(veiled(format_args!("{shown}")), expected);
        // The division of the output into parts makes no difference.
        let text = render_bounded(6000, |out| {
            let mut veil = RedactingWriter {
                out,
                quotes: QuoteState::None,
                name: NameScan::None,
                redacted: None,
            };
            shown.chars().try_for_each(|char| veil.write_char(char))
        });
        assert_eq!(text.text, expected);
    }
    assert_eq!(
        veiled(format_args!("{map:?}")),
        r#"{"db password": [redacted], "host": "h"}"#
    );
}

#[test]
fn what_stays() {
    for shown in [
        "Token(1)",
        "token: 1",
        "invalid token: expected comma",
        "C { max_tokens: 1, tokenizer: 2, author: 3 }",
        "{token::Kind, password::X}",
        r#"{"token", "password"}"#,
        r#"["password: x", "{ token: y }"]"#,
        r#"C { a: "\\", b: "{ token: 1" }"#,
        "it's \"{token: 1}\" {",
        "日本 { 語: '語' }",
    ] {
        assert_eq!(veiled(format_args!("{shown}")), shown);
    }
}

#[test]
fn a_hidden_value_without_an_end_ends_the_text() {
    struct Endless;
    impl fmt::Debug for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("{ token: \"")?;
            loop {
                f.write_str("hunter2 ")?;
            }
        }
    }
    let text = render_debug(6000, format_args!("{Endless:?}"));
    assert_eq!(
        (text.text.as_str(), text.end),
        ("{ token: [redacted]…", TextEnd::Truncated)
    );
}

#[test]
fn a_cut_shows_nothing_of_a_secret() {
    for limit in 1..30 {
        let text = render_debug(limit, format_args!("C {{ password: \"hunter2\", b: 1 }}"));
        assert!(!text.text.contains("hunter"), "{}", text.text);
        assert!(text.text.chars().count() <= limit);
    }
}
