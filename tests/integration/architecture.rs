//! Layers of the runtime: a folder imports only what lies below it, and no folder has a circle inside.
//!
//! The test reads the tokens of the sources. A path counts wherever it stands, in a `use` or in an expression, and
//! however it is written: with `crate`, `super` or `self`, with braces, or through a re-export. Unit tests are left
//! out, and so are the paths of `macro_rules!` that begin with `$crate`, which belong to the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Modules and folders of the runtime, from the bottom up: each imports only those that stand before it.
/// CONTRIBUTING shows the same list.
const ORDER: [&str; 31] = [
    "stderr",
    "determinism",
    "time",
    "percent_encoding",
    "sync",
    "cache_line",
    "os",
    "warnings",
    "model",
    "entities",
    "search",
    "capture",
    "env_vars",
    "environment",
    "journal",
    "secret",
    "config",
    "journals",
    "distributed",
    "store",
    "shipper",
    "system_metrics",
    "stdio_capture",
    "tracker",
    "run",
    "tracked",
    "testing",
    "thread",
    "tracing_layer",
    "client",
    "signals",
];

/// Modules above all others: the public surface, and code that only tests, benchmarks and fuzz targets use.
const ABOVE: [&str; 5] = [
    "__private",
    "bench_support",
    "diagnostics",
    "fuzz_support",
    "lib",
];

/// Files that only tests and fuzz targets use.
const HARNESSES: [&str; 2] = ["store/rest/fuzz_support.rs", "shipper/fuzz_support.rs"];

/// Passes of the macros, in their order: each imports only earlier ones.
const MACRO_PASSES: [&str; 6] = [
    "errors",
    "paths",
    "parse",
    "analyze",
    "build_info",
    "expand",
];

/// Macros, which stand at the root of the crate wherever they are defined.
const MACROS_ARE_IN: &str = "run";

type Module = Vec<String>;

/// Paths and re-exports of one file.
#[derive(Default)]
struct Source {
    module: Module,
    /// Absolute paths, without `crate`.
    paths: BTreeSet<Module>,
    /// Absolute path of each name that a `pub use` gives to the module.
    reexports: BTreeMap<String, Module>,
}

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

/// Returns true if only tests and fuzz targets use the file.
fn is_of_tests(file: &str) -> bool {
    let is_test = |part: &str| {
        let name = part.trim_end_matches(".rs");
        name == "tests" || name.ends_with("_tests") || name == "simulation"
    };
    file.split('/').any(is_test) || HARNESSES.contains(&file)
}

// Input:  `shipper/read/cursor.rs`, `shipper/mod.rs`, `lib.rs`
// Output: [shipper, read, cursor], [shipper], []
fn module_of(file: &str) -> Module {
    let parts = file.trim_end_matches(".rs").split('/');
    let named = parts.filter(|part| !matches!(*part, "mod" | "lib"));
    named.map(str::to_owned).collect()
}

impl Source {
    fn read(module: &Module, code: &str) -> Self {
        let mut source = Self {
            module: module.clone(),
            ..Self::default()
        };
        source.scan(module, &code.parse().expect("Rust code"));
        source
    }

    fn scan(&mut self, module: &Module, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if is_attribute_of_tests(&tokens[at..]) {
                at = end_of_item(&tokens, at + 2);
                continue;
            }
            if is_word(&tokens[at], "use") {
                let end = end_of_item(&tokens, at);
                self.add_use(module, &tokens, at, end);
                at = end;
                continue;
            }
            if let TokenTree::Group(group) = &tokens[at] {
                let name = inline_module(&tokens[..at]);
                let inner = module.iter().cloned().chain(name).collect();
                self.scan(&inner, &group.stream());
            }
            let (paths, next) = path_at(module, &tokens, at);
            self.paths.extend(paths.into_iter().map(|(path, _)| path));
            at = next.max(at + 1);
        }
    }

    fn add_use(&mut self, module: &Module, tokens: &[TokenTree], at: usize, end: usize) {
        let is_public = at > 0
            && (is_word(&tokens[at - 1], "pub")
                || matches!(&tokens[at - 1], TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis));
        let (paths, _) = use_tree(module, module, &tokens[at + 1..end]);
        for (path, name) in paths {
            if is_public && *module == self.module {
                self.reexports.insert(name, path.clone());
            }
            self.paths.insert(path);
        }
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Returns true if the tokens begin with `#[cfg(test)]`, `#[cfg(any(test, …))]` or `#[cfg(fuzzing)]`.
fn is_attribute_of_tests(tokens: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = tokens.get(1).filter(|_| is_mark(tokens.first(), '#'))
    else {
        return false;
    };
    let text = group.stream().to_string();
    let text: String = text.split_whitespace().collect();
    text.starts_with("cfg(test")
        || text.starts_with("cfg(any(test")
        || text.starts_with("cfg(fuzzing")
}

/// Returns the index behind the item that begins at `at`: behind its block or its `;`.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let is_use = tokens.get(at).is_some_and(|token| is_word(token, "use"));
    let is_end = |token: &TokenTree| {
        if is_use {
            is_mark(Some(token), ';')
        } else {
            is_end(token)
        }
    };
    let length = tokens[at..].iter().position(is_end);
    length.map_or(tokens.len(), |length| at + length + 1)
}

/// Returns the name of the module whose block follows these tokens.
fn inline_module(before: &[TokenTree]) -> Option<String> {
    match before {
        [.., keyword, TokenTree::Ident(name)] if is_word(keyword, "mod") => Some(name.to_string()),
        _ => None,
    }
}

/// Returns the paths that begin at `at` with `crate`, `super` or `self`, and the index behind them.
fn path_at(module: &Module, tokens: &[TokenTree], at: usize) -> (Vec<(Module, String)>, usize) {
    let is_start = ["crate", "super", "self"]
        .iter()
        .any(|word| is_word(&tokens[at], word));
    let is_path = is_mark(tokens.get(at + 1), ':') && is_mark(tokens.get(at + 2), ':');
    let is_inside =
        at > 0 && (is_mark(tokens.get(at - 1), ':') || is_mark(tokens.get(at - 1), '$'));
    if !is_start || !is_path || is_inside {
        return (Vec::new(), at + 1);
    }
    let (paths, length) = use_tree(module, module, &tokens[at..]);
    (paths, at + length)
}

/// Returns the absolute paths of a `use` tree with the name that each gets, and the number of tokens. Paths of other
/// crates are left out.
fn use_tree(
    module: &Module,
    base: &Module,
    tokens: &[TokenTree],
) -> (Vec<(Module, String)>, usize) {
    let mut path = base.clone();
    let mut is_ours = base != module || tokens.first().is_some_and(|first| is_word(first, "self"));
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => match ident.to_string().as_str() {
                "crate" => (path, is_ours) = (Module::new(), true),
                "super" => {
                    path.pop();
                    is_ours = true;
                }
                "self" => {}
                name => path.push(name.to_owned()),
            },
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let parts = inner.split(|token| is_mark(Some(token), ','));
                let parts = parts.filter(|part| !part.is_empty());
                let paths = parts.flat_map(|part| match is_ours {
                    true => nested_tree(&path, part),
                    false => Vec::new(),
                });
                return (paths.collect(), at + 1);
            }
            _ => break,
        }
        at += 1;
        if !(is_mark(tokens.get(at), ':') && is_mark(tokens.get(at + 1), ':')) {
            break;
        }
        at += 2;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if let (Some(keyword), Some(TokenTree::Ident(alias))) = (tokens.get(at), tokens.get(at + 1))
        && is_word(keyword, "as")
    {
        name = alias.to_string();
    }
    (
        if is_ours {
            vec![(path, name)]
        } else {
            Vec::new()
        },
        at.max(1),
    )
}

/// Returns the paths of one part of a braced tree, whose names follow `base`.
fn nested_tree(base: &Module, part: &[TokenTree]) -> Vec<(Module, String)> {
    // A base that no module has: what follows is ours, whatever its first word.
    let elsewhere = vec![String::new()];
    use_tree(&elsewhere, base, part).0
}

/// The modules of the runtime with the modules that each imports.
struct Imports(Vec<Source>);

impl Imports {
    fn of_runtime() -> Self {
        Self::of("mlflow-runtime")
    }

    fn of(package: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(package)
            .join("src");
        let mut files = Vec::new();
        find_sources(&root, &mut files);
        let sources = files.iter().filter_map(|path| {
            let file = path.strip_prefix(&root).unwrap().to_str().unwrap();
            let code = fs::read_to_string(path).unwrap();
            (!is_of_tests(file)).then(|| Source::read(&module_of(file), &code))
        });
        Self(sources.collect())
    }

    fn has_module(&self, module: &[String]) -> bool {
        self.0.iter().any(|source| source.module == module)
    }

    /// Returns the module in which the item of a path is defined.
    fn defining_module(&self, path: &Module) -> Module {
        let mut path = path.clone();
        for _ in 0..8 {
            let modules = (0..=path.len()).rev().map(|length| &path[..length]);
            let module = { modules }
                .find(|module| self.has_module(module))
                .unwrap_or_default();
            let Some(name) = path.get(module.len()) else {
                return module.to_vec();
            };
            let source = self.0.iter().find(|source| source.module == module);
            match source.and_then(|source| source.reexports.get(name)) {
                Some(target) => {
                    let rest = path[module.len() + 1..].to_vec();
                    path = [target.clone(), rest].concat();
                }
                None => return module.to_vec(),
            }
        }
        path
    }

    /// Returns, for each module, the modules whose items it names.
    fn edges(&self) -> BTreeSet<(Module, Module)> {
        let of_source = |source: &Source| {
            let paths = source.paths.iter();
            let targets = paths.map(|path| self.defining_module(path));
            let edges = targets.map(|target| (source.module.clone(), target));
            edges.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_source).collect()
    }
}

/// Returns a circle of the graph, if there is one.
fn find_circle(edges: &BTreeSet<(String, String)>) -> Option<Vec<String>> {
    fn visit(
        node: &str,
        edges: &BTreeSet<(String, String)>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|known| known == node) {
            return Some(trail[start..].to_vec());
        }
        if done.contains(node) {
            return None;
        }
        trail.push(node.to_owned());
        let next = edges.iter().filter(|(from, _)| from == node);
        let found = { next }.find_map(|(_, to)| visit(to, edges, trail, done));
        trail.pop();
        done.insert(node.to_owned());
        found
    }
    let mut done = BTreeSet::new();
    let nodes = edges.iter().map(|(from, _)| from);
    { nodes }.find_map(|node| visit(node, edges, &mut Vec::new(), &mut done))
}

#[test]
fn a_folder_imports_only_what_lies_below_it() {
    let imports = Imports::of_runtime();
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut units = BTreeSet::new();
    for source in &imports.0 {
        let unit = source.module.first().map_or("lib", String::as_str);
        let is_known = place(unit).is_some() || ABOVE.contains(&unit);
        assert!(
            is_known,
            "`{unit}` has no place in the order: give it one, above all it imports"
        );
        units.extend(place(unit));
    }
    assert_eq!(
        units.len(),
        ORDER.len(),
        "one of the order is not there any more"
    );
    let mut upward = Vec::new();
    for (from, to) in imports.edges() {
        let unit = from.first().map_or("lib", String::as_str);
        let Some(own) = place(unit) else { continue };
        // What no module has and nothing re-exports is a macro.
        let target = to.first().map_or(MACROS_ARE_IN, String::as_str);
        if place(target).is_none_or(|target| target > own) {
            upward.push(format!("{} imports {}", from.join("::"), to.join("::")));
        }
    }
    assert!(upward.is_empty(), "imports of what lies above: {upward:#?}");
}

#[test]
fn the_passes_of_the_macros_go_one_way() {
    let imports = Imports::of("mlflow-macros");
    let pass = |module: &Module| {
        let name = module.first().map(String::as_str);
        MACRO_PASSES.iter().position(|pass| Some(*pass) == name)
    };
    let upward: Vec<_> = imports
        .edges()
        .into_iter()
        .filter(|(from, to)| pass(from).is_some() && pass(to) > pass(from))
        .collect();
    assert!(upward.is_empty(), "{upward:#?}");
    assert!(
        imports
            .edges()
            .iter()
            .any(|(from, to)| pass(from) > pass(to) && pass(to).is_some())
    );
}

#[test]
fn no_folder_has_a_circle_inside() {
    for package in ["mlflow-runtime", "mlflow-macros", "mlflow-rules"] {
        assert_no_circles(&Imports::of(package));
    }
}

fn assert_no_circles(imports: &Imports) {
    let edges = imports.edges();
    let folders: BTreeSet<Module> = imports
        .0
        .iter()
        .map(|source| source.module.clone())
        .collect();
    let mut circles = Vec::new();
    for folder in folders {
        let depth = folder.len();
        let is_inside = |module: &Module| module.len() > depth && module.starts_with(&folder);
        let inside = edges
            .iter()
            .filter(|(from, to)| is_inside(from) && is_inside(to));
        let between = inside.map(|(from, to)| (from[depth].clone(), to[depth].clone()));
        let between = between.filter(|(from, to)| from != to).collect();
        circles.extend(
            find_circle(&between).map(|circle| format!("{}: {circle:?}", folder.join("::"))),
        );
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let module = vec!["journal".to_owned(), "writer".to_owned()];
    for (code, path) in [
        ("use crate::run::Run;", "run::Run"),
        ("use crate::{model::{Tag, Param}, run};", "run"),
        ("use crate::{model::{Tag, Param}, run};", "model::Param"),
        ("use super::super::run::Run;", "run::Run"),
        ("use super::{record, super::run as other};", "run"),
        (
            "fn f() { let run = crate::run::Run::current(); }",
            "run::Run::current",
        ),
        (
            "fn f() { if true { super::super::run::start() } }",
            "run::start",
        ),
        ("macro_rules! m { () => { crate::run::log() } }", "run::log"),
        ("mod inner { use super::super::super::run; }", "run"),
        ("fn f() -> Vec<crate::run::Run> { crate::flush() }", "flush"),
    ] {
        let source = Source::read(&module, code);
        let found: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
        assert!(found.iter().any(|found| found == path), "{code}: {found:?}");
    }
    for code in [
        "#[cfg(test)] mod tests { use crate::run::Run; }",
        "#[cfg(any(test, fuzzing))] use crate::run::Run;",
        "use other::{crate_name, run};",
        "macro_rules! m { () => { $crate::run::log() } }",
        "fn f() { let text = \"crate::run\"; } // crate::run",
    ] {
        let source = Source::read(&module, code);
        assert!(source.paths.is_empty(), "{code}: {:?}", source.paths);
    }
}

#[test]
fn the_guide_shows_the_order() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../CONTRIBUTING.md");
    let guide = fs::read_to_string(guide).unwrap();
    let list = ORDER.map(|name| format!("`{name}`")).join(" → ");
    assert!(guide.contains(&list), "CONTRIBUTING.md lacks: {list}");
}
