//! The names under which values are stored if MLflow refuses their keys.
//!
//! Invariants:
//!
//! - Every name is one that MLflow accepts.
//! - A key that MLflow accepts is its own name, whatever else is logged.
//! - A refused key always has the same name within one journal, and no earlier key of the journal has that
//!   name. One warning reports the new name.
//! - An accepted key that is logged later, and equals the name of a refused key, shares that name. One
//!   warning reports that, too.
//!
//! A key that is known at run time only, such as `val/AR@100`, would be refused together with its value.
//! Therefore each character that MLflow refuses becomes `_`, as does each part that makes a key no plain
//! path, and a key that is too long is cut. If the result is the name of another key, it gets a hash of the
//! original key at its end, which is the same in every process.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::model::limits::{self, KEY_CHARS};
use crate::sync::lock;
use crate::warnings::WarningLimit;

/// Maximum number of keys that are remembered: a process that keeps making new keys must not fill its memory
/// with them.
const MAX_KEYS: usize = 100_000;

/// Names of one kind of value (metrics, params or tags) in one journal.
#[derive(Default)]
pub(crate) struct KeyNames {
    names: Mutex<NameTable>,
    warning_limit: WarningLimit,
}

#[derive(Default)]
struct NameTable {
    /// Hashes of the keys that are their own names. A key without `_` is no other key's name, and is left
    /// out.
    own_hashes: FxHashSet<u64>,
    /// Names of the refused keys.
    renamed: FxHashMap<Box<str>, Box<str>>,
    /// Refused keys, by the hashes of their names.
    keys_by_name_hash: FxHashMap<u64, Box<str>>,
    /// Hashes of the names about which a warning has said that two keys share them.
    warned_shared: FxHashSet<u64>,
}

/// Name under which a key is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResolvedName<'k> {
    pub(crate) name: Cow<'k, str>,
    /// Warning about the name, the first time only.
    pub(crate) warning: Option<KeyWarning>,
}

/// Warning about a name, and the end of its text: the last warning of a kind says that there may be more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyWarning(KeyWarningKind, &'static str);

#[derive(Debug, PartialEq, Eq)]
enum KeyWarningKind {
    /// The key is refused by MLflow, for this reason.
    Refused { fault: String },
    /// The key is also the name of another key.
    Shared { with: Box<str> },
}

impl KeyWarning {
    /// Returns the text of the warning, given the kind of value, the key, and its name.
    pub(crate) fn message(&self, kind: &str, key: &str, name: &str) -> String {
        let Self(what, end) = self;
        match what {
            KeyWarningKind::Refused { fault } => {
                format!(
                    "{kind} {key:?} is stored as {name:?}, because MLflow refuses the key: {fault}{end}"
                )
            }
            KeyWarningKind::Shared { with } => format!(
                "{kind} {key:?} is also the name under which {with:?} is stored, because MLflow refuses that key; rename \
                 one of the two{end}"
            ),
        }
    }
}

impl KeyNames {
    /// Returns the name under which a key is stored.
    pub(crate) fn resolve<'k>(&self, key: &'k str) -> ResolvedName<'k> {
        let fault = limits::find_key_fault(key);
        if fault.is_none() && is_collision_free(key) {
            return ResolvedName {
                name: Cow::Borrowed(key),
                warning: None,
            };
        }
        let mut names = self.lock();
        if let Some(name) = names.renamed.get(key) {
            return ResolvedName {
                name: Cow::Owned(name.to_string()),
                warning: None,
            };
        }
        let (name, what) = match fault {
            None => {
                let what = names.claim(key).map(|with| KeyWarningKind::Shared { with });
                (Cow::Borrowed(key), what)
            }
            Some(fault) => {
                let name = names.assign_name(key, sanitize_key(key));
                let fault = fault.into_owned();
                (Cow::Owned(name), Some(KeyWarningKind::Refused { fault }))
            }
        };
        drop(names);
        let news = what.and_then(|what| Some(KeyWarning(what, self.warning_limit.admit()?)));
        ResolvedName {
            name,
            warning: news,
        }
    }

    /// Registers those of the keys that MLflow accepts, before any of the others gets its name.
    pub(crate) fn reserve<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        let takes = |key: &&str| !is_collision_free(key) && limits::find_key_fault(key).is_none();
        let mut hashes = keys.filter(takes).map(|key| FxBuildHasher.hash_one(key));
        // Most calls have no key to register, and take no lock.
        if let Some(first) = hashes.next() {
            let mut names = self.lock();
            names.insert_own(first);
            hashes.for_each(|hash| names.insert_own(hash));
        }
    }

    fn lock(&self) -> MutexGuard<'_, NameTable> {
        lock(&self.names)
    }
}

/// Returns true if an accepted key cannot be another key's name: each such name has a `_`.
fn is_collision_free(key: &str) -> bool {
    !key.contains('_')
}

impl NameTable {
    /// Registers a key that is its own name. Returns the refused key that shares the name, the first time
    /// only.
    fn claim(&mut self, key: &str) -> Option<Box<str>> {
        let hash = FxBuildHasher.hash_one(key);
        self.insert_own(hash);
        let with = self.keys_by_name_hash.get(&hash)?;
        self.warned_shared.insert(hash).then(|| with.clone())
    }

    fn insert_own(&mut self, hash: u64) {
        if self.own_hashes.len() < MAX_KEYS {
            self.own_hashes.insert(hash);
        }
    }

    /// Gives a refused key the name `wanted` or, if another key has that name, `wanted` with a hash of the
    /// key at its end.
    fn assign_name(&mut self, key: &str, wanted: String) -> String {
        if self.renamed.len() >= MAX_KEYS {
            return wanted;
        }
        let is_free = |name: &str| {
            let hash = FxBuildHasher.hash_one(name);
            !self.own_hashes.contains(&hash) && !self.keys_by_name_hash.contains_key(&hash)
        };
        let name = if is_free(&wanted) {
            wanted
        } else {
            let hash = crc32c::crc32c(key.as_bytes());
            with_suffix(&wanted, &format!("_{hash:08x}"))
        };
        self.keys_by_name_hash
            .insert(FxBuildHasher.hash_one(&*name), key.into());
        self.renamed.insert(key.into(), (&*name).into());
        name
    }
}

/// Returns an accepted key in place of a refused one. The result has a `_`.
fn sanitize_key(key: &str) -> String {
    let (cut, is_cut) = limits::truncate_chars(key.into(), KEY_CHARS);
    let mut name = String::with_capacity(cut.len());
    for (at, part) in cut.split('/').enumerate() {
        if at > 0 {
            name.push('/');
        }
        let part = match part {
            "" | "." => "_",
            ".." => "__",
            part => match part.strip_prefix("..") {
                Some(rest) if at == 0 => {
                    name.push_str("__");
                    rest
                }
                _ => part,
            },
        };
        name.extend(part.chars().map(|c| match limits::is_key_char(c) {
            true => c,
            false => '_',
        }));
    }
    if is_cut || name.chars().count() > KEY_CHARS {
        name = with_suffix(&name, "_");
    }
    name
}

/// Returns `name` with `end` appended, cut to the length that MLflow accepts.
fn with_suffix(name: &str, end: &str) -> String {
    let (start, is_cut) = limits::truncate_chars(name.into(), KEY_CHARS - end.len());
    let start = if is_cut {
        start.trim_end_matches(['/', '.'])
    } else {
        &*start
    };
    format!("{start}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::determinism::Random;

    fn name(names: &KeyNames, key: &str) -> String {
        names.resolve(key).name.into_owned()
    }

    #[test]
    fn each_character_that_mlflow_refuses_becomes_an_underscore() {
        let names = KeyNames::default();
        let expected = [
            ("val/AR@100", "val/AR_100"),
            ("ndcg@10", "ndcg_10"),
            ("cat (tabby)", "cat _tabby_"),
            ("größe", "größe"),
            ("", "_"),
            ("/a//b/", "_/a/_/b/_"),
            ("./x/../y", "_/x/__/y"),
            ("..hidden", "__hidden"),
            ("a\0b", "a_b"),
        ];
        for (key, expected) in expected {
            assert_eq!(name(&names, key), expected, "{key:?}");
        }
    }

    #[test]
    fn keys_that_come_to_one_name_are_told_apart() {
        let names = KeyNames::default();
        assert_eq!(name(&names, "a_1"), "a_1");
        let (first, second) = (name(&names, "a@1"), name(&names, "a#1"));
        assert!(first != second && first.starts_with("a_1_") && second.starts_with("a_1_"));
        assert_eq!(name(&names, "a@1"), first, "the second time");
        assert_eq!(names.resolve("a@1").warning, None, "it is said once");
        let elsewhere = KeyNames::default();
        assert_eq!(name(&elsewhere, "a#1"), "a_1", "nobody else has it");
        assert_eq!(
            name(&elsewhere, "a@1"),
            first,
            "the same end in every process"
        );
        let (long, longer) = ("x".repeat(300), "x".repeat(400));
        assert_eq!(name(&names, &long), format!("{}_", "x".repeat(249)));
        assert!(name(&names, &longer).starts_with(&"x".repeat(241)));
    }

    #[test]
    fn a_key_that_is_the_name_of_another_keeps_it_and_that_is_said() {
        let names = KeyNames::default();
        assert_eq!(name(&names, "a@1"), "a_1");
        let shared = names.resolve("a_1");
        assert_eq!(shared.name, "a_1");
        let with = "a@1".into();
        assert_eq!(
            shared.warning,
            Some(KeyWarning(KeyWarningKind::Shared { with }, ""))
        );
        assert_eq!(names.resolve("a_1").warning, None, "it is said once");
    }

    #[test]
    fn what_comes_together_is_told_apart_in_any_order() {
        let names = KeyNames::default();
        names.reserve(["a@1", "a_1", "a"].into_iter());
        assert!(name(&names, "a@1").starts_with("a_1_"));
        assert_eq!(name(&names, "a_1"), "a_1");
    }

    #[test]
    fn whatever_the_key_is_mlflow_takes_its_name() {
        let mut random = Random::new(1);
        let names = KeyNames::default();
        for _ in 0..20_000 {
            let length = random.below(8) * random.below(60);
            let letters = ['a', '/', '.', '@', 'é', '\0', '_', '%'];
            let key: String = (0..length)
                .map(|_| letters[usize::try_from(random.below(8)).unwrap_or(0)])
                .collect();
            let name = name(&names, &key);
            assert_eq!(limits::find_key_fault(&name), None, "{key:?} is {name:?}");
        }
    }
}
