//! Texts that pages quote: the library's messages, and code of the examples. What is quoted stands where it comes from.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the text with single spaces and without the marks of code.
fn normalized(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('`', "")
}

/// Returns the quoted lines of a page, without what differs from case to case: the parts between each `…`.
fn quoted_parts(text: &str) -> Vec<String> {
    let quotes = text.lines().filter_map(|line| line.strip_prefix("> "));
    let parts = quotes.flat_map(|quote| quote.split('…').map(normalized));
    parts
        .filter(|part| part.chars().any(char::is_alphabetic))
        .collect()
}

#[test]
fn a_message_that_the_page_of_troubles_quotes_is_one_of_the_library() {
    let table = normalized(&read("mlflow-runtime/src/diagnostics.rs"));
    // The lines at the end of a process are no warnings. Their literals continue on the next line.
    let lines_at_the_end = read("mlflow-runtime/src/tracker/exit_report.rs").replace("\\\n", "");
    let lines_at_the_end = normalized(&lines_at_the_end);
    let quoted = quoted_parts(&read("docs/troubleshooting.md"));
    let is_known = |part: &&String| table.contains(*part) || lines_at_the_end.contains(*part);
    let unknown: Vec<_> = quoted.iter().filter(|part| !is_known(part)).collect();
    assert!(quoted.len() >= 50, "only {} were found", quoted.len());
    assert!(
        unknown.is_empty(),
        "no message of the library: {unknown:#?}"
    );
}

/// Returns the pages of the guide.
fn pages() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("docs")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Code on a page that needs the crates of an example says, in its first line, from which one it is.
#[test]
fn code_that_a_page_quotes_from_an_example_is_there() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```rust,ignore\n// From ").skip(1) {
            count += 1;
            let mut lines = block.lines().map(str::trim);
            let source = read(lines.next().unwrap());
            let mut source_lines = source.lines().map(str::trim);
            let quoted = lines
                .take_while(|line| *line != "```")
                .filter(|line| !line.is_empty());
            for line in quoted {
                // The page may leave lines out, and keeps the order of the others.
                let is_there = source_lines.any(|source| source == line);
                let page = page.display();
                assert!(
                    is_there,
                    "{page}: not in the example, or in another order: {line}"
                );
            }
        }
    }
    assert!(count >= 2, "only {count} were found");
}
