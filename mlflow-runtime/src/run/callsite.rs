//! Callsites: places in the code where runs start, with the facts that are known before a run starts.
//!
//! Invariant: a callsite is a `static` made by a macro. Each of its fields is a constant, or follows from
//! constants.

use once_cell::race::OnceBox;

use crate::model::{Tag, tag_keys};

/// Place in the code where runs start: an annotated function, or a `start_run!`.
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
    /// Tags of the callsite, made by the first call of [`tags`](Self::tags).
    tags: OnceBox<Vec<Tag>>,
}

/// Function that returns the value of a callsite's tag, if the value is known.
type TagValue = fn(&Callsite) -> Option<String>;

/// Tags that every run of a callsite has, as far as their values are known.
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

/// Annotated function, or the function around a `start_run!`.
#[derive(Debug)]
enum CallsiteFunction {
    Annotated {
        module: &'static str,
        name: &'static str,
    },
    /// Function that contains a `start_run!`, given by a function that returns the path of an item in it.
    Enclosing(fn() -> &'static str),
}

/// Facts about the build of the code: its source and its options. An unknown fact is `None`.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Hash of the commit.
    pub commit: Option<&'static str>,
    /// Branch; `None` on a detached HEAD.
    pub branch: Option<&'static str>,
    /// URL of the remote repository, without credentials.
    pub url: Option<&'static str>,
    /// True if the working tree differed from the commit.
    pub dirty: Option<bool>,
    /// SHA-256 of `Cargo.lock`.
    pub lock: Option<&'static str>,
    /// Enabled features of the package, sorted and separated by commas.
    pub features: Option<&'static str>,
}

impl BuildInfo {
    /// Build of which nothing is known.
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
    /// Makes the callsite of an annotated function at the given place.
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

    /// Makes the callsite of a `start_run!`. `item_path` returns the path of an item named `here` in the
    /// function around it.
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

    /// Sets the name and the version of the package that contains the callsite.
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

    /// Sets the description of the runs, which is the function's documentation.
    #[must_use]
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// Sets the facts about the build.
    #[must_use]
    pub const fn build_info(mut self, build_info: BuildInfo) -> Self {
        self.build_info = build_info;
        self
    }

    /// Applies `root`: the callsite's runs are never child runs.
    #[must_use]
    pub const fn root(mut self) -> Self {
        self.is_root = true;
        self
    }

    /// Applies `metric = "…"`: sets the name of a returned bare number.
    #[must_use]
    pub const fn metric(mut self, name: &'static str) -> Self {
        self.metric = Some(name);
        self
    }

    /// Applies `metrics("…", "…")`: sets the names of a returned tuple's elements.
    #[must_use]
    pub const fn metrics(mut self, names: &'static [&'static str]) -> Self {
        self.metrics = names;
        self
    }

    /// Returns true if [`tags`](Self::tags) may contain this key. The key of the description is not
    /// automatic: the description is the user's text.
    pub(crate) fn is_automatic_tag(key: &str) -> bool {
        AUTOMATIC_TAGS.iter().any(|(known, _)| *known == key)
    }

    /// Returns the name of the annotated function, or `run` for a `start_run!`.
    pub(crate) fn name(&self) -> &'static str {
        match self.function {
            CallsiteFunction::Annotated { name, .. } => name,
            CallsiteFunction::Enclosing(_) => "run",
        }
    }

    /// Returns the path of the function.
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

    /// Returns the tags that describe the origin of the code.
    pub(crate) fn tags(&self) -> &[Tag] {
        // No thread waits for this cell. With a blocking cell, a child that is forked meanwhile would wait
        // for ever.
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
            assert!(tag_keys::is_automatic_tag(key), "{key}");
        }
    }
}
