//! What is known about the places where runs start, before one does.
//!
//! Invariant: a site is a `static` made by a macro; everything in it is a constant, or follows
//! from constants.

use once_cell::race::OnceBox;

use crate::model::{Tag, tag_keys};

/// A place in the code where runs start: an annotated function, or a `start_run!`.
#[derive(Debug)]
pub struct Callsite {
    function: CallsiteFunction,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) package: Option<&'static str>,
    pub(crate) version: Option<&'static str>,
    pub(crate) note: Option<&'static str>,
    pub(crate) build_info: BuildInfo,
    pub(crate) is_root: bool,
    pub(crate) metric: Option<&'static str>,
    pub(crate) metrics: &'static [&'static str],
    /// Made by the first call.
    tags: OnceBox<Vec<Tag>>,
}

/// Returns the value of a callsite's tag, if the value is known.
type TagValue = fn(&Callsite) -> Option<String>;

/// The tags that every run of a callsite has, as far as their values are known.
const AUTOMATIC_TAGS: [(&str, TagValue); 12] = [
    (tag_keys::CODE_FUNCTION, |site| Some(site.function_path())),
    ("code.filepath", |site| Some(site.file.to_owned())),
    ("code.lineno", |site| Some(site.line.to_string())),
    ("service.name", |site| site.package.map(str::to_owned)),
    ("service.version", |site| site.version.map(str::to_owned)),
    (tag_keys::GIT_COMMIT, |site| {
        site.build_info.commit.map(str::to_owned)
    }),
    (tag_keys::GIT_BRANCH, |site| {
        site.build_info.branch.map(str::to_owned)
    }),
    (tag_keys::GIT_REPO_URL, |site| {
        site.build_info.url.map(str::to_owned)
    }),
    (tag_keys::GIT_DIRTY, |site| {
        site.build_info.dirty.map(|dirty| dirty.to_string())
    }),
    (tag_keys::GIT_DIRTY_SHOWN, |site| {
        site.build_info.dirty.map(|dirty| dirty.to_string())
    }),
    ("cargo.lock.sha256", |site| {
        site.build_info.lock.map(str::to_owned)
    }),
    ("rust.features", |site| {
        site.build_info.features.map(str::to_owned)
    }),
];

/// The function that a site is or stands in.
#[derive(Debug)]
enum CallsiteFunction {
    Annotated {
        module: &'static str,
        name: &'static str,
    },
    /// Returns the path of an item in it.
    Enclosing(fn() -> &'static str),
}

/// What the code was built from, and how. What is not known is absent.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Hash of the commit.
    pub commit: Option<&'static str>,
    /// Branch; absent on a detached HEAD.
    pub branch: Option<&'static str>,
    /// Where the repository came from, without credentials.
    pub url: Option<&'static str>,
    /// Whether the working tree differed from the commit.
    pub dirty: Option<bool>,
    /// SHA-256 of `Cargo.lock`.
    pub lock: Option<&'static str>,
    /// The package's features that were on.
    pub features: Option<&'static str>,
}

impl BuildInfo {
    /// Nothing is known.
    pub const ABSENT: Self = Self {
        commit: None,
        branch: None,
        url: None,
        dirty: None,
        lock: None,
        features: None,
    };
}

impl Callsite {
    /// A function and where it stands.
    #[must_use]
    pub const fn new(
        function: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        let name = function;
        Self::from_function(CallsiteFunction::Annotated { module, name }, file, line)
    }

    /// A `start_run!`; `item_path` returns the path of an item named `here` in the function around it.
    #[must_use]
    pub const fn by_hand(item_path: fn() -> &'static str, file: &'static str, line: u32) -> Self {
        Self::from_function(CallsiteFunction::Enclosing(item_path), file, line)
    }

    const fn from_function(function: CallsiteFunction, file: &'static str, line: u32) -> Self {
        Self {
            function,
            file,
            line,
            package: None,
            version: None,
            note: None,
            build_info: BuildInfo::ABSENT,
            is_root: false,
            metric: None,
            metrics: &[],
            tags: OnceBox::new(),
        }
    }

    /// Its package.
    #[must_use]
    pub const fn package(
        mut self,
        name: Option<&'static str>,
        version: Option<&'static str>,
    ) -> Self {
        self.package = name;
        self.version = version;
        self
    }

    /// Its documentation.
    #[must_use]
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// Its build.
    #[must_use]
    pub const fn build_info(mut self, build_info: BuildInfo) -> Self {
        self.build_info = build_info;
        self
    }

    /// `root`: never a child run.
    #[must_use]
    pub const fn root(mut self) -> Self {
        self.is_root = true;
        self
    }

    /// `metric = "…"`: the name of a returned bare number.
    #[must_use]
    pub const fn metric(mut self, name: &'static str) -> Self {
        self.metric = Some(name);
        self
    }

    /// `metrics("…", "…")`: the names of a returned tuple's elements.
    #[must_use]
    pub const fn metrics(mut self, names: &'static [&'static str]) -> Self {
        self.metrics = names;
        self
    }

    /// Returns true if [`tags`](Self::tags) may contain this key. The description is not automatic: it belongs to the
    /// code as its documentation does.
    pub(crate) fn is_automatic_tag(key: &str) -> bool {
        AUTOMATIC_TAGS.iter().any(|(known, _)| *known == key)
    }

    /// Returns what its runs are called.
    pub(crate) fn name(&self) -> &'static str {
        match self.function {
            CallsiteFunction::Annotated { name, .. } => name,
            CallsiteFunction::Enclosing(_) => "run",
        }
    }

    /// Returns the function's path.
    // Input:  `wine::main::{{closure}}::here`, in an `async fn`
    // Output: `wine::main`
    fn function_path(&self) -> String {
        match self.function {
            CallsiteFunction::Annotated { module, name } => format!("{module}::{name}"),
            CallsiteFunction::Enclosing(item_path) => {
                let path = item_path();
                let function = path.strip_suffix("::here").unwrap_or(path);
                function.trim_end_matches("::{{closure}}").to_owned()
            }
        }
    }

    /// The tags that say where the code is from.
    pub(crate) fn tags(&self) -> &[Tag] {
        // A cell that nobody waits for: a child made by `fork` meanwhile would wait for ever.
        self.tags.get_or_init(|| Box::new(self.make_tags()))
    }

    fn make_tags(&self) -> Vec<Tag> {
        let automatic = AUTOMATIC_TAGS
            .iter()
            .filter_map(|(key, value)| Some((*key, value(self)?)));
        let description = self
            .note
            .map(|note| (tag_keys::DESCRIPTION, note.to_owned()));
        automatic
            .chain(description)
            .map(|(key, value)| Tag {
                key: key.to_owned(),
                value,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_but_the_description_is_known_as_automatic() {
        let text = Some("x");
        let build_info = BuildInfo {
            commit: text,
            branch: text,
            url: text,
            dirty: Some(true),
            lock: text,
            features: text,
        };
        let site = Callsite::new("f", "m", "f.rs", 1)
            .package(text, text)
            .build_info(build_info);
        let site = site.note("n");
        let tags = site.tags();
        assert_eq!(tags.len(), 13);
        for Tag { key, .. } in tags {
            assert_eq!(
                Callsite::is_automatic_tag(key),
                key != "mlflow.note.content",
                "{key}"
            );
        }
    }
}
