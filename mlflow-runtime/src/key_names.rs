//! The names under which MLflow keeps what is logged under a key that MLflow refuses.
//!
//! Invariants: MLflow takes every name. The same key always has the same name in one journal, and no two
//! keys have the same one. A key that MLflow takes is its own name, unless another one came before it that
//! has this name; a key that has another name is said once.
//!
//! A key that is known at run time only, as `val/AR@100`, would be refused with its value. So each character
//! that MLflow refuses becomes `_`, and so does what makes a key no plain path; what is too long is cut. Of
//! two keys that come to the same name the second one has `_2` at its end.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::diagnostics::Limit;
use crate::limits::{self, KEY_CHARS};

/// The most keys that are told apart: a process that goes on making new ones must not keep them all.
const MOST: usize = 100_000;

/// The names that one kind of value has in one journal.
#[derive(Default)]
pub(crate) struct KeyNames {
    names: Mutex<Names>,
    news: Limit,
}

#[derive(Default)]
struct Names {
    /// Keys that are their own names, by their hashes. One without `_` is no other key's name, and is left out.
    own: FxHashSet<u64>,
    /// The names of the other keys.
    others: FxHashMap<Box<str>, Box<str>>,
    /// The hashes of these names.
    given: FxHashSet<u64>,
    /// How many keys have come to a name.
    met: FxHashMap<u64, u64>,
}

/// What a key is kept under.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'k> {
    pub(crate) name: Cow<'k, str>,
    /// What is to be said of it: the first time only.
    pub(crate) news: Option<News>,
}

/// What is to be said of a name, and what stands at its end: the last one says that there may be more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct News(What, &'static str);

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// MLflow refuses the key for this reason.
    Refused { fault: String },
    /// Another key has its name.
    Taken,
}

impl News {
    /// Returns the line that says it, of a key of this kind and the name that it is kept under.
    pub(crate) fn line(&self, kind: &str, key: &str, name: &str) -> String {
        let Self(what, end) = self;
        match what {
            What::Refused { fault } => {
                format!(
                    "{kind} {key:?} is kept as {name:?}, as MLflow refuses the key: {fault}{end}"
                )
            }
            What::Taken => format!(
                "{kind} {key:?} is kept as {name:?}, as another one that MLflow refuses is kept as {key:?}{end}"
            ),
        }
    }
}

impl KeyNames {
    /// Returns the name that a key is kept under.
    pub(crate) fn name<'k>(&self, key: &'k str) -> Named<'k> {
        let fault = limits::key_fault(key);
        if fault.is_none() && is_nobody_elses(key) {
            return Named {
                name: Cow::Borrowed(key),
                news: None,
            };
        }
        let mut names = self.lock();
        if let Some(name) = names.others.get(key) {
            return Named {
                name: Cow::Owned(name.to_string()),
                news: None,
            };
        }
        let (name, what) = match fault {
            None if names.take(key) => (Cow::Borrowed(key), None),
            None => (Cow::Owned(names.give(key, key)), Some(What::Taken)),
            Some(fault) => {
                let name = names.give(key, &mended(key));
                let fault = fault.into_owned();
                (Cow::Owned(name), Some(What::Refused { fault }))
            }
        };
        drop(names);
        let news = what.and_then(|what| Some(News(what, self.news.admit()?)));
        Named { name, news }
    }

    /// Has the keys among these that MLflow takes keep their names, whatever order they come in.
    pub(crate) fn reserve<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        let takes = |key: &&str| !is_nobody_elses(key) && limits::key_fault(key).is_none();
        for key in keys.filter(takes) {
            let mut names = self.lock();
            if !names.others.contains_key(key) {
                names.take(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a key that MLflow takes can be no other key's name: each of those has a `_`.
fn is_nobody_elses(key: &str) -> bool {
    !key.contains('_')
}

impl Names {
    /// Takes the name of a key that is its own; false if another key has it.
    fn take(&mut self, key: &str) -> bool {
        let hash = FxBuildHasher.hash_one(key);
        if self.given.contains(&hash) {
            return false;
        }
        if self.own.len() < MOST {
            self.own.insert(hash);
        }
        true
    }

    /// Gives a key the name `wanted`, with a number at its end where that is taken.
    fn give(&mut self, key: &str, wanted: &str) -> String {
        if self.others.len() >= MOST {
            return wanted.to_owned();
        }
        let met = self.met.entry(FxBuildHasher.hash_one(wanted)).or_default();
        let name = loop {
            *met += 1;
            let name = match *met {
                1 => wanted.to_owned(),
                number => with_end(wanted, &format!("_{number}")),
            };
            let hash = FxBuildHasher.hash_one(&*name);
            if !self.own.contains(&hash) && self.given.insert(hash) {
                break name;
            }
        };
        self.others.insert(key.into(), (&*name).into());
        name
    }
}

/// Returns a key that MLflow takes for one that it refuses. It has a `_`.
fn mended(key: &str) -> String {
    let (cut, is_cut) = limits::cut(key.into(), KEY_CHARS);
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
        name = with_end(&name, "_");
    }
    name
}

/// Returns `name` with `end`, and within the length that MLflow takes.
fn with_end(name: &str, end: &str) -> String {
    let (start, is_cut) = limits::cut(name.into(), KEY_CHARS - end.len());
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
    use crate::seeded::Random;

    fn name(names: &KeyNames, key: &str) -> String {
        names.name(key).name.into_owned()
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
        assert_eq!(name(&names, "a@1"), "a_1_2");
        assert_eq!(name(&names, "a#1"), "a_1_3");
        assert_eq!(name(&names, "a@1"), "a_1_2", "the second time");
        assert_eq!(names.name("a@1").news, None, "it is said once");
        let (long, longer) = ("x".repeat(300), "x".repeat(400));
        assert_eq!(name(&names, &long), format!("{}_", "x".repeat(249)));
        assert_eq!(name(&names, &longer), format!("{}_2", "x".repeat(248)));
    }

    #[test]
    fn a_key_whose_name_another_one_has_gets_another() {
        let names = KeyNames::default();
        assert_eq!(name(&names, "a@1"), "a_1");
        for news in [Some(News(What::Taken, "")), None] {
            let named = names.name("a_1");
            assert_eq!(named.name, "a_1_2");
            assert_eq!(named.news, news);
        }
        assert_eq!(name(&names, "a_1_2"), "a_1_2_2");
    }

    #[test]
    fn what_comes_together_keeps_its_name_where_it_has_one() {
        let names = KeyNames::default();
        names.reserve(["a@1", "a_1", "a"].into_iter());
        assert_eq!(name(&names, "a@1"), "a_1_2");
        assert_eq!(name(&names, "a_1"), "a_1");
        names.reserve(["a_1_2"].into_iter());
        assert_eq!(name(&names, "a_1_2"), "a_1_2_2");
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
            assert_eq!(limits::key_fault(&name), None, "{key:?} is {name:?}");
        }
    }
}
