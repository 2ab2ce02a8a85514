//! The pages beside the code: each link leads to a file that is there, and to a heading in it. Each page of the guide is
//! found from the README, and the pages that list names list all of them. In the library, each public item has an example.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::mlflow::python;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Pages that people read on the repository's site.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let folders = ["", "docs", "docs/testing", "fuzz", "adapters/burn"];
    let mut pages: Vec<_> = { folders.iter() }
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() >= 9, "{pages:?}");
    pages
}

/// Returns the lines of a page that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the anchors of a page's headings, as GitHub makes them.
// Input:  `## \`#[tracked(…)]\``
// Output: `tracked`
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut unique = anchor.clone();
        for number in 1.. {
            if anchors.insert(unique) {
                break;
            }
            unique = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// Returns the targets of the links of a page.
fn links(text: &str) -> Vec<String> {
    let text: Vec<_> = prose(text).collect();
    let text = text.join("\n");
    let ends = text.match_indices("](").map(|(at, mark)| at + mark.len());
    let target = |at: usize| {
        let end = text[at..].find(')')?;
        Some(text[at..at + end].to_owned())
    };
    ends.filter_map(target).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut dead = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let has_anchor = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                anchor.is_empty() || anchors(&text).contains(anchor)
            };
            if !target.exists() || !has_anchor() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(count >= 50, "only {count} links were found");
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Returns the pages that are found from the README by links, the README included.
fn reachable_pages() -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut to_read = vec![root().join("README.md")];
    while let Some(page) = to_read.pop() {
        let page = page.canonicalize().unwrap();
        let is_page = page.extension().is_some_and(|extension| extension == "md");
        if !is_page || !reached.insert(page.clone()) {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let files = links(&text).into_iter().filter_map(|link| {
            let file = link.split('#').next().unwrap_or_default();
            Some(page.parent()?.join(file)).filter(|file| file.is_file())
        });
        to_read.extend(files);
    }
    reached
}

#[test]
fn every_page_of_the_guide_is_found_from_the_readme_and_listed_in_the_index() {
    let docs = root().join("docs").canonicalize().unwrap();
    let reachable = reachable_pages();
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let listed: BTreeSet<_> = links(&index).iter().map(|link| docs.join(link)).collect();
    let mut pages: Vec<_> = pages()
        .iter()
        .map(|page| page.canonicalize().unwrap())
        .collect();
    pages.retain(|page| page.starts_with(&docs) && *page != docs.join("README.md"));
    assert!(pages.len() >= 8, "{pages:?}");
    let lost: Vec<_> = { pages.iter() }
        .filter(|page| !reachable.contains(*page))
        .collect();
    assert!(lost.is_empty(), "no link leads from README.md to {lost:#?}");
    let unlisted: Vec<_> = { pages.iter() }
        .filter(|page| !listed.contains(*page))
        .collect();
    assert!(
        unlisted.is_empty(),
        "docs/README.md does not list {unlisted:#?}"
    );
}

/// Returns the names in backticks.
// Input:  "valid arguments are `name`, `crate`"
// Output: `name`, `crate`
fn names_in_backticks(line: &str) -> BTreeSet<String> {
    { line.split('`').skip(1).step_by(2) }
        .map(str::to_owned)
        .collect()
}

/// The macro's own error message lists its arguments; the tests of `mlflow-macros` hold the message.
#[test]
fn every_argument_of_the_attributes_has_a_heading() {
    let page = fs::read_to_string(root().join("docs/attribute.md")).unwrap();
    for messages in ["arguments.stderr", "keys.stderr"] {
        let path = root().join("mlflow-macros/ui").join(messages);
        let messages = fs::read_to_string(path).unwrap();
        let line = messages
            .lines()
            .find(|line| line.contains("valid arguments are"));
        let arguments = names_in_backticks(line.unwrap());
        assert!(arguments.len() >= 2, "{line:?}");
        for argument in arguments {
            let headings = ["##", "###"].map(|level| format!("{level} `{argument}`"));
            let is_there = prose(&page).any(|line| headings.iter().any(|heading| line == heading));
            assert!(is_there, "docs/attribute.md has no heading `{argument}`");
        }
    }
}

#[test]
fn every_public_name_of_pythons_mlflow_has_an_equivalent_or_a_reason() {
    let page = fs::read_to_string(root().join("docs/coming-from-python.md")).unwrap();
    // Only code counts: many of the names are words of English, too.
    let code: BTreeSet<_> = page.lines().flat_map(names_in_backticks).collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words: BTreeSet<_> = { code.iter() }
        .flat_map(|code| code.split(|c| !is_name(c)))
        .collect();
    let printed = python("import mlflow; print(*mlflow.__all__)", &[]);
    let names: Vec<_> = printed.split_whitespace().collect();
    assert!(names.len() > 100, "{printed}");
    let missing: Vec<_> = { names.iter() }
        .filter(|name| !words.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "coming-from-python.md does not say anything of {missing:?}"
    );
}

/// Public item of the library, as its source text shows it.
struct Item {
    location: String,
    folder: PathBuf,
    is_function: bool,
    name: String,
    /// Types whose function the item is, or the module that it is in; empty for an item that stands alone.
    owners: Vec<String>,
    doc: String,
}

impl Item {
    /// Returns the code blocks of the item's doc.
    fn code(&self) -> String {
        let mut is_code = false;
        let in_blocks = self.doc.lines().filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            is_code && !is_fence
        });
        in_blocks.collect::<Vec<_>>().join("\n")
    }

    /// Returns true if the item has an example, if its doc names the item whose example uses it, or if the example of its
    /// type does.
    fn has_example(&self, all: &[Self]) -> bool {
        let is_shown_by = |other: &Self| {
            let code = other.code();
            !code.is_empty() && (!self.is_function || words(&code).any(|word| word == self.name))
        };
        let links = names_in_backticks(&self.doc);
        let is_linked = |other: &Self| {
            let target = |link: &String| words(link).last() == Some(other.name.as_str());
            links.iter().any(target)
        };
        let is_shown_by_owner = |owner: &String| {
            let is_owner = |other: &&Self| {
                !other.is_function && other.name == *owner && other.folder == self.folder
            };
            all.iter().filter(is_owner).any(is_shown_by)
        };
        !self.code().is_empty()
            || self.doc.contains("example")
                && all
                    .iter()
                    .any(|other| is_linked(other) && is_shown_by(other))
            || !self.owners.is_empty() && self.owners.iter().all(is_shown_by_owner)
    }
}

/// Returns the words of a text that may be names in Rust.
fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c))
        .filter(|word| !word.is_empty())
}

/// Returns the public functions, types and inline modules of a file that are not hidden. Functions that a macro writes belong
/// to all types in whose `impl` the macro stands.
fn public_items(file: &Path) -> Vec<Item> {
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let (mut items, mut macro_uses) = (Vec::new(), Vec::new());
    let (mut doc, mut owner) = (String::new(), String::new());
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(prose) = trimmed.strip_prefix("///") {
            doc.extend([prose, "\n"]);
            continue;
        }
        let mut line_words = words(trimmed).filter(|word| !matches!(*word, "async" | "const"));
        let (first, kind, name) = (line_words.next(), line_words.next(), line_words.next());
        let is_top = line.starts_with(|c: char| !c.is_whitespace());
        if let (Some("pub"), Some(kind @ ("fn" | "struct" | "enum" | "trait" | "mod")), Some(name)) =
            (first, kind, name)
            && trimmed.starts_with("pub ")
            && !(kind == "mod" && trimmed.ends_with(';'))
            && (is_top || kind != "trait")
            && !trimmed.contains("fn $")
            && !doc.contains("#[doc(hidden)]")
        {
            items.push(Item {
                location: format!("{}:{}: {owner} {name}", file.display(), index + 1),
                folder: file.parent().unwrap().to_owned(),
                is_function: kind == "fn",
                name: name.to_owned(),
                owners: Some(owner.clone())
                    .filter(|owner| !owner.is_empty())
                    .into_iter()
                    .collect(),
                doc: std::mem::take(&mut doc),
            });
        }
        match (first, kind) {
            (Some("macro_rules"), Some(name)) if is_top => owner = name.to_owned(),
            (Some("pub"), Some("mod")) if trimmed.ends_with('{') => {
                owner = name.unwrap_or_default().to_owned();
            }
            (Some("impl"), _) if is_top && trimmed.ends_with('{') => {
                let head = trimmed.split(" for ").last().unwrap_or_default();
                let head = head.trim_start_matches("impl");
                let head = if head.starts_with('<') {
                    head.split_once("> ").map_or("", |(_, rest)| rest)
                } else {
                    head
                };
                let path = head.split(['<', '{']).next().unwrap_or_default();
                owner = words(path).last().unwrap_or_default().to_owned();
            }
            (Some(name), _) if trimmed.starts_with(&format!("{name}!(")) => {
                macro_uses.push((name.to_owned(), owner.clone()));
            }
            _ if line.starts_with('}') => owner.clear(),
            _ => {}
        }
        if trimmed == "#[doc(hidden)]" {
            doc.push_str(trimmed);
        } else if trimmed.is_empty()
            || trimmed.ends_with(['{', '}', ';'])
            || trimmed.starts_with("pub")
        {
            doc.clear();
        }
    }
    for item in &mut items {
        let users = macro_uses
            .iter()
            .filter(|(name, _)| item.owners.contains(name));
        let users: Vec<String> = users.map(|(_, user)| user.clone()).collect();
        if !users.is_empty() {
            item.owners = users;
        }
    }
    items
}

/// Appends the sources below a folder.
fn find_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_public_item_of_the_library_has_an_example() {
    // The folders whose public items users see. The functions that the macros call need no example.
    let folders = [
        "client",
        "entities",
        "journals",
        "run",
        "search",
        "testing",
        "tracing_layer",
        "tracker",
    ];
    let is_for_macros =
        |item: &Item| item.location.contains("callsite.rs") || item.name == "start_run_at";
    let source = root().join("mlflow-runtime/src");
    let mut files = Vec::new();
    find_sources(&source, &mut files);
    let all: Vec<Item> = files.iter().flat_map(|file| public_items(file)).collect();
    let is_checked = |item: &&Item| {
        folders
            .iter()
            .any(|folder| item.folder.starts_with(source.join(folder)))
    };
    let checked: Vec<_> = all
        .iter()
        .filter(is_checked)
        .filter(|item| !is_for_macros(item))
        .collect();
    assert!(
        checked.len() > 350,
        "only {} items were found",
        checked.len()
    );
    let without: Vec<_> = { checked.iter() }
        .filter(|item| !item.has_example(&all))
        .map(|item| &item.location)
        .collect();
    assert!(without.is_empty(), "no example shows {without:#?}");
}
