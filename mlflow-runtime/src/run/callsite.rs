//! What is known about the places where runs start, before one does.
//!
//! Invariant: a site is a `static` made by a macro; everything in it is a constant, or follows
//! from constants.

use once_cell::race::OnceBox;

use crate::model::Tag;

/// A place in the code where runs start: an annotated function, or a `start_run!`.
#[derive(Debug)]
pub struct Site {
    function: SiteFunction,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) package: Option<&'static str>,
    pub(crate) version: Option<&'static str>,
    pub(crate) note: Option<&'static str>,
    pub(crate) built: Built,
    pub(crate) is_root: bool,
    pub(crate) metric: Option<&'static str>,
    pub(crate) metrics: &'static [&'static str],
    /// Made by the first call.
    tags: OnceBox<Vec<Tag>>,
}

/// The function that a site is or stands in.
#[derive(Debug)]
enum SiteFunction {
    Annotated {
        module: &'static str,
        name: &'static str,
    },
    /// Returns the path of an item in it.
    Enclosing(fn() -> &'static str),
}

/// What the code was built from, and how. What is not known is absent.
#[derive(Clone, Copy, Debug)]
pub struct Built {
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

impl Built {
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

impl Site {
    /// A function and where it stands.
    #[must_use]
    pub const fn new(
        function: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        let name = function;
        Self::from_function(SiteFunction::Annotated { module, name }, file, line)
    }

    /// A `start_run!`; `item_path` returns the path of an item named `here` in the function around it.
    #[must_use]
    pub const fn by_hand(item_path: fn() -> &'static str, file: &'static str, line: u32) -> Self {
        Self::from_function(SiteFunction::Enclosing(item_path), file, line)
    }

    const fn from_function(function: SiteFunction, file: &'static str, line: u32) -> Self {
        Self {
            function,
            file,
            line,
            package: None,
            version: None,
            note: None,
            built: Built::ABSENT,
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
    pub const fn built(mut self, built: Built) -> Self {
        self.built = built;
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

    /// Whether [`tags`](Self::tags) may have this one, the description excepted: that is the code's.
    pub(crate) fn is_automatic_tag(key: &str) -> bool {
        const TAGS: [&str; 12] = [
            "code.function",
            "code.filepath",
            "code.lineno",
            "service.name",
            "service.version",
            "mlflow.source.git.commit",
            "mlflow.source.git.branch",
            "mlflow.source.git.repoURL",
            "mlflow.source.git.dirty",
            "git.dirty",
            "cargo.lock.sha256",
            "rust.features",
        ];
        TAGS.contains(&key)
    }

    /// Returns what its runs are called.
    pub(crate) fn name(&self) -> &'static str {
        match self.function {
            SiteFunction::Annotated { name, .. } => name,
            SiteFunction::Enclosing(_) => "run",
        }
    }

    /// Returns the function's path.
    // Input:  `wine::main::{{closure}}::here`, in an `async fn`
    // Output: `wine::main`
    fn function_path(&self) -> String {
        match self.function {
            SiteFunction::Annotated { module, name } => format!("{module}::{name}"),
            SiteFunction::Enclosing(item_path) => {
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
        let Built {
            commit,
            branch,
            url,
            dirty,
            lock,
            features,
        } = self.built;
        let mut tags = vec![
            ("code.function", self.function_path()),
            ("code.filepath", self.file.to_owned()),
            ("code.lineno", self.line.to_string()),
        ];
        let texts = [
            ("service.name", self.package),
            ("service.version", self.version),
            ("mlflow.note.content", self.note),
            ("mlflow.source.git.commit", commit),
            ("mlflow.source.git.branch", branch),
            ("mlflow.source.git.repoURL", url),
            ("cargo.lock.sha256", lock),
            ("rust.features", features),
        ];
        tags.extend(
            texts
                .into_iter()
                .filter_map(|(key, text)| Some((key, text?.to_owned()))),
        );
        // MLflow's page leaves out tags of its own: the second is the one that is seen there.
        for key in ["mlflow.source.git.dirty", "git.dirty"] {
            tags.extend(dirty.map(|dirty| (key, dirty.to_string())));
        }
        let tag = |(key, value): (&str, String)| Tag {
            key: key.to_owned(),
            value,
        };
        tags.into_iter().map(tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_but_the_description_is_known_as_automatic() {
        let text = Some("x");
        let built = Built {
            commit: text,
            branch: text,
            url: text,
            dirty: Some(true),
            lock: text,
            features: text,
        };
        let site = Site::new("f", "m", "f.rs", 1)
            .package(text, text)
            .built(built);
        let site = site.note("n");
        let tags = site.tags();
        assert_eq!(tags.len(), 13);
        for Tag { key, .. } in tags {
            assert_eq!(
                Site::is_automatic_tag(key),
                key != "mlflow.note.content",
                "{key}"
            );
        }
    }
}
