//! Unit tests of the masking.
//!
//! The fixtures are put together at run time, so that a secret scanner that reads the repository
//! does not take them for real credentials.

use super::text::MAX_LOOKAHEAD;
use super::*;

fn text_of(text: &str, edge: Edge) -> String {
    mask(text, edge).map_or_else(|| text.to_owned(), |masked| masked.text)
}

fn repeated(piece: &str, count: usize) -> String {
    piece.repeat(count)
}

/// Returns credentials of every kind, each with a part of the kind's name in warnings.
fn credentials() -> Vec<(String, &'static str)> {
    let alnum = "0a1B2c3D4e5F6g7H8i9J".repeat(4);
    let letters = "FakeFakeFakeFakeFakeFakeFakeFakeFake".to_owned();
    let url_safe = "aB3_-".repeat(20);
    let jwt = format!(
        "eyJ{}.eyJ{}.{}",
        "hbGciOiJIUzI1NiJ9",
        "zdWIiOiJmYWtlIn0",
        &alnum[..43]
    );
    let mut credentials = vec![
        (["AK", "IAFAKEFAKEFAKE1234"].concat(), "AWS"),
        (["AS", "IA234567FAKEFAKE77"].concat(), "AWS"),
        (["AI", "za", &url_safe[..34], "X"].concat(), "Google"),
        (["sk-", &alnum[..48]].concat(), "sk-"),
        (["sk-", &"0123456789abcdef".repeat(2)].concat(), "sk-"),
        (["sk-", &letters].concat(), "sk-"),
        (["sk-proj-", &url_safe].concat(), "OpenAI"),
        (["sk-svcacct-", &url_safe].concat(), "OpenAI"),
        (["sk-admin-", &url_safe].concat(), "OpenAI"),
        (["sk-ant-", "api03-", &url_safe].concat(), "Anthropic"),
        (["sk-ant-", &letters].concat(), "sk-"),
        (["sk_", "live_", &alnum[..24]].concat(), "Stripe"),
        (["rk_", "live_", &alnum].concat(), "Stripe"),
        (["sk_", "test_", &alnum[..24]].concat(), "Stripe"),
        (
            ["github_", "pat_", &alnum[..22], "_", &alnum[..59]].concat(),
            "GitHub",
        ),
        (["glp", "at-", &url_safe[..20]].concat(), "GitLab"),
        (["h", "f_", &letters[..34]].concat(), "Hugging Face"),
        (
            ["xo", "xb-123456789012-1234567890123-", &alnum[..24]].concat(),
            "Slack",
        ),
        (["xo", "xa-2-", &alnum[..24]].concat(), "Slack"),
        (["xo", "xe-1-", &letters].concat(), "Slack"),
        (["np", "m_", &alnum[..36]].concat(), "npm"),
        (["py", "pi-AgEIcHlwaS5vcmc", &url_safe].concat(), "PyPI"),
        (["da", "pi", &"0f1e2d3c".repeat(4)].concat(), "Databricks"),
        (
            ["wandb", "_v1_", &alnum[..60], "_", &alnum[..18]].concat(),
            "W&B",
        ),
        (
            ["eyJhcGlfYWRkcmVzcyI6", &letters, "In0="].concat(),
            "Neptune",
        ),
        (jwt.clone(), "JWT"),
        (jwt.rsplit_once('.').unwrap().0.to_owned(), "JWT"),
        (pem("PRIVATE KEY"), "private key"),
        (pem("RSA PRIVATE KEY"), "private key"),
        (pem("OPENSSH PRIVATE KEY"), "private key"),
        (
            pem("ENCRYPTED PRIVATE KEY").replace('\n', "\\n"),
            "private key",
        ),
        (pem("PGP PRIVATE KEY BLOCK"), "private key"),
    ];
    for kind in ["p", "o", "u", "s", "r"] {
        credentials.push((["gh", kind, "_", &alnum[..36]].concat(), "GitHub"));
    }
    for kind in ["p", "r", "s"] {
        credentials.push((
            ["xox", kind, "-1234567890-", &alnum[..24]].concat(),
            "Slack",
        ));
    }
    credentials
}

fn pem(label: &str) -> String {
    let dashes = "-----";
    let body = repeated("MIIFAKE+/FAKEFAKEFAKE\n", 20);
    format!("{dashes}BEGIN {label}{dashes}\n{body}{dashes}END {label}{dashes}")
}

#[test]
fn every_kind_is_masked_and_the_rest_stays() {
    for (credential, kind) in credentials() {
        for (before, after) in [
            ("", ""),
            ("token ", " was refused"),
            ("key=", "&more"),
            ("(\"", "\")"),
            ("日本語", "日本語"),
            ("naïve: ", "\nnext line"),
            ("first\\n", "\\nlast"),
            ("?key%3D", ""),
            ("at/", "@host"),
        ] {
            // No `after` begins with a character that could continue a credential.
            let text = format!("{before}{credential}{after}");
            let masked = mask(&text, Edge::End).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(masked.text, format!("{before}[redacted]{after}"), "{text}");
            assert!(masked.kind.contains(kind), "{text}: {}", masked.kind);
            assert_eq!(mask(&masked.text, Edge::End), None, "{text}");
        }
    }
}

#[test]
fn several_are_all_masked() {
    let [(first, _), (second, _)] = &credentials()[..2] else {
        panic!("there are more")
    };
    let text = format!("{first} and {second}, {first}");
    assert_eq!(
        text_of(&text, Edge::End),
        "[redacted] and [redacted], [redacted]"
    );
}

#[test]
fn of_a_url_and_a_header_only_the_secret_goes() {
    let rows = [
        (
            "https://me:hunter2@host/p?q=1",
            "https://[redacted]@host/p?q=1",
        ),
        ("https://faketoken@host/p", "https://[redacted]@host/p"),
        ("HTTPS://me:p@ss@host:8443", "HTTPS://[redacted]@host:8443"),
        (
            "git+https://faketoken@host/a.git",
            "git+https://[redacted]@host/a.git",
        ),
        (
            "postgresql+psycopg2://u:päss@h/db",
            "postgresql+psycopg2://[redacted]@h/db",
        ),
        ("redis://:hunter2@h:6379/0", "redis://[redacted]@h:6379/0"),
        (
            "a http://x:y@b and http://x:z@c.",
            "a http://[redacted]@b and http://[redacted]@c.",
        ),
        ("mongodb://u:p@h1,h2/db", "mongodb://[redacted]@h1,h2/db"),
        (
            "Authorization: Bearer fake-token.1",
            "Authorization: Bearer [redacted]",
        ),
        (
            "authorization=basic ZmFrZTpmYWtl",
            "authorization=basic [redacted]",
        ),
        (
            "{\"Authorization\": \"token fakefake\"}",
            "{\"Authorization\": \"token [redacted]\"}",
        ),
        (
            "Proxy-Authorization: Basic ZmFrZTpmYWtl=\r\nHost: h",
            "Proxy-Authorization: Basic [redacted]\r\nHost: h",
        ),
        ("sent Bearer fakefakefake1234.", "sent Bearer [redacted]"),
    ];
    for (text, expected) in rows {
        assert_eq!(text_of(text, Edge::End), expected);
        assert_eq!(mask(expected, Edge::End), None, "{expected}");
    }
}

#[test]
fn a_private_key_without_an_end_goes_to_its_last_line() {
    let key = pem("PRIVATE KEY");
    let (open, _) = key.split_once("-----END").unwrap();
    assert_eq!(
        text_of(&format!("key: {open}"), Edge::End).trim_end(),
        "key: [redacted]"
    );
    let half = format!("key: {open}-----END PRIV");
    assert_eq!(text_of(&half, Edge::End), "key: [redacted]");
    let behind = format!("{open}epoch 3 is done\nloss 0.5");
    assert_eq!(
        text_of(&behind, Edge::End).split_once('\n').unwrap().1,
        "epoch 3 is done\nloss 0.5"
    );
}

/// Regression: a mention of a key removed all that followed.
#[test]
fn a_text_about_private_keys_keeps_what_follows() {
    for text in [
        "expected -----BEGIN PRIVATE KEY-----, got a certificate\nepoch 3",
        "if pem.contains(\"-----BEGIN RSA PRIVATE KEY-----\") { load(pem) }\nepoch 3",
    ] {
        let masked = text_of(text, Edge::End);
        assert!(masked.ends_with("\nepoch 3"), "{masked}");
    }
}

/// Regression: the colours of `tracing`'s own formatter hid names and credentials.
#[test]
fn colours_hide_no_secret() {
    let token = ["gh", "p_", &"FakeValue1".repeat(4)].concat();
    for (text, expected) in [
        (
            "\u{1b}[3mapi_key\u{1b}[0m\u{1b}[2m=\u{1b}[0mhunter2key".to_owned(),
            "api_key=[redacted]",
        ),
        (
            format!("\u{1b}[3mnote\u{1b}[0m\u{1b}[2m=\u{1b}[0m{token}"),
            "note=[redacted]",
        ),
        (
            format!("\u{1b}[32m INFO\u{1b}[0m used \u{1b}[1m{token}\u{1b}[0m at 10:31"),
            " INFO used [redacted] at 10:31",
        ),
    ] {
        assert_eq!(text_of(&text, Edge::End), expected);
    }
    let plain = "\u{1b}[32mloss\u{1b}[0m=0.5";
    assert_eq!(mask(plain, Edge::End), None);
}

/// Regression: the `;` between two commands was taken for that of a connection string.
#[test]
fn a_command_behind_a_secret_is_kept() {
    assert_eq!(
        text_of(
            "cd /work; DB_PASSWORD=hunter2x python train.py --lr 0.1",
            Edge::End
        ),
        "cd /work; DB_PASSWORD=[redacted] python train.py --lr 0.1"
    );
    assert_eq!(
        text_of("Server=db;Uid=me;Pwd=hunter2 with blank;Port=1", Edge::End),
        "Server=db;Uid=me;Pwd=[redacted];Port=1"
    );
}

#[test]
fn names_of_runs_with_a_providers_prefix_stay() {
    for name in [
        "lora_r8_alpha16_lr2e-4_bs32_llama-3-8b-instruct-dolly15k",
        "tfp_hierarchical_model_with_nuts_sampler_chains4",
        "glc_fcs30/global_land_cover_2020.tif",
        "jina_embeddings_v3_finetuned_on_MSMARCO_passages",
        "token_mixer=pooling",
        "--placeholder_token=<cat-toy>",
        "TOKEN_MIXER=pooling",
    ] {
        assert_eq!(mask(name, Edge::End), None, "{name}");
    }
}

#[test]
fn ordinary_values_stay() {
    let base64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk/".repeat(8);
    let key_but = |change: fn(&str) -> String| change(&["AK", "IAFAKEFAKEFAKE1234"].concat());
    let rows = [
        "",
        "a",
        "0.5",
        "adam",
        "true",
        "[64, 32]",
        "elastic-net",
        "sk-learn",
        "sk-learn-elastic-net-cv-2024-11-24",
        "scikit-learn",
        "sk-",
        "sk_",
        "sk_test_score",
        "sk-internationalization",
        "sk-proj-plan-of-the-next-quarter-2024",
        "sk-admin-panel-redesign-final",
        "risk-free-rate-estimation-of-government-bonds-0123456789abcdef0123456789abcdef",
        "task-0123456789abcdef0123456789abcdef",
        "disk-0123456789abcdef01234567",
        "hf_transformer",
        "hf_bert_base_uncased_finetuned_squad_v2",
        "xoxb",
        "xoxb-large-v2",
        "xoxb-large-multilingual-2024",
        "npm_config_registry",
        "pypi-package-name",
        "glpat-short",
        "dapi",
        "dapinder",
        "dapi0123456789abcdef",
        "ghp_",
        "ghs_short",
        "github_pat_rotation",
        "wandb_v1_baseline_model_with_dropout_and_batchnorm_2",
        "0123456789abcdef0123456789abcdef01234567",
        "550e8400-e29b-41d4-a716-446655440000",
        "sk-550e8400-e29b-41d4-a716-446655440000",
        "/data/models/sk-model/checkpoint-1000.safetensors",
        "C:\\data\\new\\task",
        "s3://bucket/key",
        "gs://b/o@v1",
        "file:///a:b@c",
        "runs:/0123/model",
        "http://localhost:5000",
        "https://registry.npmjs.org/@scope/pkg",
        "https://h?mail=a:b@c",
        "ssh://git@github.com/a/b.git",
        "git@github.com:a/b.git",
        "abfss://data@account.dfs.core.windows.net/p",
        "me@example.com",
        "docker://image:tag@sha256:0123456789abcdef",
        "http://[::1]:5000/",
        "://user:pass@host",
        "eyJhIjoxfQ==",
        "eyJhIjoxfQ.txt",
        "eyJsciI6IDAuMSwgImVwb2NocyI6IDEwMH0",
        "eyJ.eyJ.x",
        "AKIA",
        "AKIAlowercase",
        "AIzawa",
        "AIzawa-san",
        "ASIAN_MARKETS_2024_EXPANSION",
        "Bearer of bad news, unfortunately1",
        "bearer",
        "Authorization: Bearer",
        "authorization required",
        "Authorization: none",
        "authorization basics",
        "Basic configuration of the network2",
        "-----BEGIN CERTIFICATE-----\nMIIFAKE\n-----END CERTIFICATE-----",
        "-----",
        "----------------",
        "-----BEGIN PUBLIC KEY-----\nMIIFAKE\n-----END PUBLIC KEY-----",
        "-----BEGIN PRIVATE KEY",
        "[redacted]",
        "https://[redacted]@host/p",
        "日本語 naïve é",
    ];
    let made = [
        base64.clone(),
        format!("data:image/png;base64,{base64}"),
        key_but(|key| format!("x{key}")),
        key_but(|key| format!("{key}5")),
        key_but(str::to_lowercase),
        ["da", "pi", &"g".repeat(32)].concat(),
        ["np", "m_", &"a".repeat(20)].concat(),
        ["x", "gh", "p_", &"a".repeat(36)].concat(),
    ];
    for text in rows.into_iter().chain(made.iter().map(String::as_str)) {
        assert_eq!(mask(text, Edge::End), None, "{text}");
    }
}

#[test]
fn a_cut_leaves_no_piece_of_a_credential() {
    let urls = ["https://me:hunter2@host/p", "postgres://me:hunter2@host/p"]
        .map(|url| (url.to_owned(), "URL"));
    let headers = ["Authorization: Bearer fake-token.1"].map(|text| (text.to_owned(), "HTTP"));
    for (credential, _) in credentials().into_iter().chain(urls).chain(headers) {
        for (cut, _) in credential.char_indices().skip(1) {
            let piece = format!("before {}", &credential[..cut]);
            let masked = text_of(&piece, Edge::Cut);
            assert!(masked.starts_with("before "), "{masked}");
            // The prefix of a kind and the name of a header may stay visible, but no part of the
            // secret.
            let prefix = ["https://", "postgres://me", "Authorization: Bearer "]
                .into_iter()
                .find(|prefix| credential.starts_with(prefix))
                .unwrap_or_default();
            let secret = if cut <= prefix.len() { 0 } else { cut };
            let is_open = masked == piece && secret == 0;
            let is_begun = masked == piece && cut <= begun(&credential);
            let is_masked = masked.contains("[redacted]");
            assert!(is_open || is_begun || is_masked, "{piece} became {masked}");
        }
    }
    assert_eq!(
        text_of("at http://host:5000/path", Edge::Cut),
        "at http://host:5000/path"
    );
    assert_eq!(text_of("nothing to see", Edge::Cut), "nothing to see");
}

/// Regression: a secret directly behind a letter of another script was left in the source of a dataset, which is JSON.
#[test]
fn a_name_or_credential_behind_an_escape_is_seen() {
    let token = ["gh", "p_", &"FakeValue1".repeat(4)].concat();
    for escape in ["\\u8a9e", "\\u00FC", "\\x1b", "\\n", "\\t"] {
        let named = format!("a{escape}password=hunter2 b");
        let masked = format!("a{escape}password=[redacted] b");
        assert_eq!(text_of(&named, Edge::End), masked);
        let given = format!("a{escape}{token} b");
        assert_eq!(text_of(&given, Edge::End), format!("a{escape}[redacted] b"));
    }
    // Behind a piece, too.
    let long = format!(
        "{}\n{{\\\"api_key\\\": \\\"hunter2hunter2\\\"}}",
        "a\\nb ".repeat(400_000)
    );
    assert!(text_of(&long, Edge::End).ends_with("\n{\\\"api_key\\\": \\\"[redacted]\\\"}"));
    // In a line that is longer than a piece, wherever the credential stands.
    for before in [(1 << 20) - 60, (1 << 20) - 20, (1 << 20) - 8, (1 << 20) + 5] {
        let long = format!(
            "{}\\u8a9e{token}\\u8a9e{}",
            "x".repeat(before),
            " y".repeat(50_000)
        );
        assert!(!text_of(&long, Edge::End).contains(&token), "{before}");
    }
    // These are paths, and no escapes.
    for path in ["C:\\u8a9 x=1", "C:\\xdeploy", "\\u8a9esession=3"] {
        assert_eq!(text_of(path, Edge::End), path);
    }
}

/// Returns the length of the prefix that a credential shares with all others of its kind.
fn begun(credential: &str) -> usize {
    let private_key = credential.find("KEY").map_or(0, |at| {
        at + credential[at..]
            .find("-----")
            .map_or(0, |dashes| dashes + 4)
    });
    super::format::FORMATS
        .iter()
        .filter(|format| credential.starts_with(format.prefix))
        .map(|format| format.prefix.len())
        .chain([private_key])
        .max()
        .unwrap_or_default()
}

fn steps(text: &str, edge: Edge) -> usize {
    let mut scan = Scanner::new(text.as_bytes(), edge);
    while scan.next_match().is_some() {}
    scan.text.steps()
}

#[test]
fn work_grows_with_the_text_and_no_faster() {
    let words = [
        "sk-a-",
        " pwd: |\n",
        " api_token: |\n",
        "SK-",
        "sk-ant-A1-",
        "eyJ-",
        "eyJaaaaaaaaa.eyJ-",
        "eyJaaaaaaaaa.",
        "http://a:",
        "http://",
        "://",
        "-----BEGIN ",
        "-----",
        "-----BEGIN PRIVATE KEY",
        "Authorization: ",
        "Bearer aaaa ",
        "Bearer aaaaaaaaaaaaaaaaaaaa-",
        "AKIA/",
        "xoxb-",
        "pypi-Ag-",
        "ghp_aaaaaaaaaaaaaaaaaaa.",
        "wandb_v1_a-",
        "a",
        "é",
        "…",
        "-----END",
        "-----BEGIN PRIVATE KEY-----",
        "eyJhcGlfYWRkcmVzcyI6/",
        "github_pat_a-",
        "token=",
        "token=a ",
        "token='a",
        "password=\"the ",
        "password: \\\"the",
        "password=/a/",
        "secret:{[",
        "secret:{\n",
        "secret:{[redacted]",
        "secrets = Some(",
        ".--token-x ",
        "--user ",
        "-u a:",
        "password: |\n  a\n ",
        "\"name\":\"token\",\"value\":",
        "(\"token\",",
        "<token>",
        "%3D",
        "cookie=[redacted]",
        "cookie: a ",
        "authorization: digest [redacted]",
        "http://a:b@c/",
        "12345678:AA",
        "a.atlasv1.",
        "0Q~",
        "_mmk",
        "-us1",
        ";pwd=the ",
        "=",
        ": ",
        "\\",
        "(",
    ];
    let bound = 2 * MAX_LOOKAHEAD;
    for word in words {
        for edge in [Edge::End, Edge::Cut] {
            let [short, long] = [1000, 2000].map(|count| steps(&word.repeat(count), edge));
            assert!(short <= bound * (1000 * word.len()), "{word}: {short}");
            assert!(
                long <= 2 * short + MAX_LOOKAHEAD * MAX_LOOKAHEAD,
                "{word}: {short}, {long}"
            );
        }
    }
    // Linear congruential generator (the constants of Knuth's MMIX): the same texts on every run.
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..50 {
        let mut text = String::new();
        while text.len() < 20_000 {
            text.push_str(words[random(words.len())]);
        }
        for edge in [Edge::End, Edge::Cut] {
            assert!(steps(&text, edge) <= bound * text.len());
            let masked = text_of(&text, edge);
            let again = mask(&masked, Edge::End);
            assert_eq!(again, None, "{masked}\n{text}");
        }
    }
}

#[test]
fn ranges_are_those_of_the_masked_text() {
    for (text, expected) in [
        ("", &[][..]),
        ("plain", &[]),
        ("password=hunter2 rows=3", &["hunter2"]),
        (
            "a password=hunter2, then\nDB_TOKEN=Zx81kQ9vLm2P",
            &["hunter2", "Zx81kQ9vLm2P"],
        ),
        (
            "\u{1b}[3mpassword\u{1b}[0m\u{1b}[2m=\u{1b}[0mhunter2 \u{1b}[1mrows\u{1b}[0m=3",
            &["hunter2"],
        ),
        (
            "password=hun\u{1b}[1mter2 \u{1b}[0mend",
            &["hun\u{1b}[1mter2"],
        ),
        ("日本 password=hunter2 日本", &["hunter2"]),
    ] {
        let found = credential_ranges(text).into_iter();
        let found: Vec<_> = found.map(|range| &text[range]).collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

/// Regression: a key that a shell printed without quotes, in one line, was kept.
#[test]
fn a_private_key_in_one_line_goes_whole() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2);
    let key = format!("-----BEGIN PRIVATE KEY----- {line} {line} abc= -----END PRIVATE KEY-----");
    let masked = mask(&format!("KEY={key} rows"), Edge::End).expect("a key");
    assert_eq!(masked.text, "KEY=[redacted] rows");
    let prose = "a file begins with -----BEGIN PRIVATE KEY----- and has lines of base64";
    let masked = mask(prose, Edge::End).expect("its beginning");
    assert!(
        masked.text.ends_with("and has lines of base64"),
        "{}",
        masked.text
    );
}
