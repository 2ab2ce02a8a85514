//! Everyday mistakes in the body of a tracked function: what the compiler says of them, beside what it says of the
//! plain function.

use std::fmt::Write as _;
use std::fs;

use crate::support::outsider::{CompileError, Outsider};

/// Name, and a function with the mistake; `#[it]` is where the attribute goes.
const MISTAKES: [(&str, &str); 22] = [
    ("semicolon", "#[it]\nfn f(a: f64) -> f64 {\n    a * 2.0;\n}"),
    (
        "push_on_shared",
        "#[it]\nfn f(data: &Vec<f64>) {\n    data.push(1.0);\n}",
    ),
    (
        "use_after_move",
        "#[it]\nfn f(data: Vec<f64>) -> usize {\n    drop(data);\n    data.len()\n}",
    ),
    (
        "unknown_return",
        "#[it]\nfn f(a: f64) -> Scroes {\n    todo!()\n}",
    ),
    (
        "unknown_argument",
        "#[it]\nfn f(a: Confg) -> f64 {\n    a.rate\n}",
    ),
    (
        "unknown_name",
        "#[it]\nfn f(rate: f64) -> f64 {\n    rte * 2.0\n}",
    ),
    ("other_type", "#[it]\nfn f(a: u8) -> String {\n    a\n}"),
    (
        "no_ok",
        "#[it]\nfn f(a: f64) -> Result<f64, String> {\n    a\n}",
    ),
    (
        "question_mark",
        "#[it]\nfn f(path: &str) {\n    let _bytes = std::fs::read(path)?;\n}",
    ),
    (
        "other_error",
        "#[it]\nfn f(text: &str) -> Result<u8, ()> {\n    Ok(text.parse::<u8>()?)\n}",
    ),
    (
        "not_mutable",
        "#[it]\nfn f(a: u8) -> u8 {\n    a += 1;\n    a\n}",
    ),
    (
        "moved_out",
        "struct C { name: String }\n#[it]\nfn f(c: &C) -> String {\n    c.name\n}",
    ),
    (
        "dangling",
        "#[it]\nfn f(a: &str) -> &str {\n    let s = a.to_owned();\n    &s\n}",
    ),
    (
        "lifetime",
        "#[it]\nfn f(a: &str, b: &str) -> &str {\n    if a > b { a } else { b }\n}",
    ),
    (
        "no_else",
        "#[it]\nfn f(a: u8) -> u8 {\n    if a > 1 {\n        return 2;\n    }\n}",
    ),
    (
        "await_outside",
        "#[it]\nfn f(a: u8) -> u8 {\n    std::future::ready(a).await\n}",
    ),
    (
        "self_not_mutable",
        "struct M(u8);\nimpl M {\n    #[it]\n    fn f(&self, a: u8) {\n        self.0 = a;\n    }\n}",
    ),
    (
        "later_use_after_move",
        "#[it]\nasync fn f(data: Vec<f64>) -> usize {\n    drop(data);\n    data.len()\n}",
    ),
    (
        "later_other_type",
        "#[it]\nasync fn f(a: u8) -> String {\n    a\n}",
    ),
    (
        "later_semicolon",
        "#[it]\nasync fn f(a: f64) -> f64 {\n    a * 2.0;\n}",
    ),
    (
        "later_question_mark",
        "#[it]\nasync fn f(path: &str) {\n    let _bytes = std::fs::read(path)?;\n}",
    ),
    (
        "no_await",
        "async fn g() -> u8 { 1 }\n#[it]\nasync fn f() -> u8 {\n    g()\n}",
    ),
];

/// The names of arguments were missing, places were that of the attribute, and a type that is not known was four
/// errors.
#[test]
fn an_error_in_a_tracked_body_is_that_of_the_plain_function() {
    let outsider = Outsider::at("package");
    let examples = outsider.package().join("examples");
    fs::create_dir(&examples).unwrap();
    let attributes = [("plain", "#[inline]"), ("tracked", "#[mlflow::tracked]")];
    for (name, function) in MISTAKES {
        for (kind, attribute) in attributes {
            let source = function.replace("#[it]", attribute);
            let file = examples.join(format!("{name}_{kind}.rs"));
            fs::write(file, format!("{source}\n\nfn main() {{}}\n")).unwrap();
        }
    }
    let errors = outsider.errors_in_examples();
    let mut shown = String::new();
    for (name, _) in MISTAKES {
        let [plain, tracked] = attributes.map(|(kind, attribute)| {
            let example = format!("{name}_{kind}");
            let errors = errors
                .get(&example)
                .expect("the compiler finds the mistake");
            let whole = |error: &CompileError| {
                let text = error
                    .text
                    .replace(&example, name)
                    .replace(attribute, "#[it]");
                text.trim_end().to_owned()
            };
            let texts: Vec<String> = errors.iter().map(whole).collect();
            let places: Vec<_> = errors.iter().map(|error| error.places.clone()).collect();
            (texts, places)
        });
        let mut places = tracked.1;
        // The type stands in the closure's signature, too, and the compiler tells the two apart.
        places.dedup();
        assert_eq!(places, plain.1, "{name}: {:?}", tracked.0);
        if tracked.0 == plain.0 {
            writeln!(shown, "== {name}: the same\n").unwrap();
        } else {
            let [plain, tracked] = [plain.0, tracked.0].map(|texts| texts.join("\n\n"));
            writeln!(
                shown,
                "== {name}, plain\n\n{plain}\n\n== {name}, tracked\n\n{tracked}\n"
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}
