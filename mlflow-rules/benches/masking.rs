//! Throughput of the masking, for ordinary texts without a secret and for texts that try to slow it down.
//!
//! ```sh
//! cargo bench -p mlflow-rules --bench masking
//! ```
//!
//! The references are a copy of the same text, and a loop that looks at each of its bytes.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use mlflow_rules::{Edge, mask};

const TEXT_BYTES: usize = 1 << 20;

fn main() {
    divan::main();
}

/// Pieces that are repeated to a text of 1 MiB.
const ORDINARY: [(&str, &str); 6] = [
    (
        "log",
        "2024-11-24T10:31:02.123456Z  INFO train::epoch: epoch=3 step=1200 loss=0.31415926 lr=0.001 tokens_per_second=18342\n",
    ),
    (
        "json",
        "{\"epoch\": 3, \"step\": 1200, \"loss\": 0.31415926, \"model\": \"meta-llama/Llama-3.1-8B\", \"layers\": [64, 32], \"bos_token\": \"<s>\"}\n",
    ),
    (
        "json in json",
        "{\"line\": \"{\\\"epoch\\\": 3, \\\"loss\\\": 0.31415926, \\\"model\\\": \\\"Llama-3.1-8B\\\"}\\n\"}\n",
    ),
    (
        "prose",
        "the learning rate falls by half where the loss did not for ten epochs; then the model is saved, and read again.\n",
    ),
    (
        "python",
        "    optimizer = AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=args.decay)  # see paper\n",
    ),
    (
        "progress",
        "Epoch 3/10: 100%|██████████| 1200/1200 [00:31<00:00, 38.20it/s, loss=0.314, acc=0.91, tok/s=18342]\r",
    ),
];

const HOSTILE: [(&str, &str); 15] = [
    ("escapes", "\\u0061\\\"=\\n"),
    ("equals", "="),
    ("colons", "a:"),
    ("quotes", "password=\"the\"'`"),
    ("tokens", "token=a "),
    ("token chain", "token="),
    ("schemes", "http://a:"),
    ("dashes", "--"),
    ("options", ".--token-x "),
    ("brackets", "secret:{["),
    ("jwt headers", "eyJ-"),
    (
        "base64",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    ),
    ("slack", "xoxb-a-"),
    ("backslashes", "password=\\"),
    ("secrets", "db_password=hunter2 "),
];

fn text(pieces: &[(&str, &str)], name: &str) -> String {
    let (_, piece) = pieces
        .iter()
        .find(|(other, _)| *other == name)
        .expect("it is listed");
    piece.repeat(TEXT_BYTES.div_ceil(piece.len()))
}

#[divan::bench]
fn reference_copy(bencher: Bencher) {
    let text = text(&ORDINARY, "log");
    bencher
        .counter(BytesCount::of_str(&text))
        .bench_local(|| black_box(&text).clone());
}

#[divan::bench]
fn reference_scan_of_bytes(bencher: Bencher) {
    let text = text(&ORDINARY, "log");
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        let bytes = black_box(&text).bytes();
        bytes.fold(0_u32, |sum, byte| sum.rotate_left(1) ^ u32::from(byte))
    });
}

#[divan::bench(args = ORDINARY.map(|(name, _)| name))]
fn ordinary(bencher: Bencher, name: &str) {
    let text = text(&ORDINARY, name);
    assert_eq!(mask(&text, Edge::End), None, "{name} has no secret");
    bencher
        .counter(BytesCount::of_str(&text))
        .bench_local(|| mask(black_box(&text), Edge::End).is_some());
}

#[divan::bench(args = HOSTILE.map(|(name, _)| name))]
fn hostile(bencher: Bencher, name: &str) {
    let text = text(&HOSTILE, name);
    bencher
        .counter(BytesCount::of_str(&text))
        .bench_local(|| mask(black_box(&text), Edge::End).is_some());
}
