//! The commit that a build records: from the variables of a build service, else from the repository.
//!
//! Invariants: information that cannot be found is absent, and nothing fails. Credentials are never
//! included.

mod repository;

use std::env;

pub use repository::Repository;

use crate::url::url_without_credentials;

/// Variables with the commit that is built; the first that is set counts.
pub const COMMIT_VARIABLES: [&str; 5] = [
    "GIT_COMMIT",
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
];
/// Variables with the branch.
pub const BRANCH_VARIABLES: [&str; 5] = [
    "GIT_BRANCH",
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "BUILDKITE_BRANCH",
];
/// Variables with the URL of the repository. Their values may hold a credential.
pub const URL_VARIABLES: [&str; 4] = [
    "GIT_URL",
    "CI_PROJECT_URL",
    "CI_REPOSITORY_URL",
    "BUILDKITE_REPO",
];
/// Variables with the URL of the GitHub server, and with the path of the repository on that server.
pub const GITHUB_VARIABLES: [&str; 2] = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY"];

/// Information about the commit that the code is built from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GitInfo {
    /// Hash of the commit.
    pub commit: Option<String>,
    /// Name of the branch; `None` on a detached HEAD.
    pub branch: Option<String>,
    /// URL of the repository, without credentials.
    pub url: Option<String>,
    /// True if a tracked file differs from the commit, or if a source of the package is not
    /// tracked.
    pub dirty: Option<bool>,
}

impl GitInfo {
    /// Returns the information that build services give in environment variables.
    #[must_use]
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let github_url = || {
            let [server, repository] = GITHUB_VARIABLES.map(variable);
            Some(format!("{}/{}", server?, repository?))
        };
        Self {
            commit: COMMIT_VARIABLES.into_iter().find_map(variable),
            branch: BRANCH_VARIABLES.into_iter().find_map(variable),
            url: URL_VARIABLES
                .into_iter()
                .find_map(variable)
                .or_else(github_url)
                .map(|url| url_without_credentials(&url)),
            dirty: None,
        }
    }

    /// Returns `self`, with missing values taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let Self {
            commit,
            branch,
            url,
            dirty,
        } = self;
        Self {
            commit: commit.or(other.commit),
            branch: branch.or(other.branch),
            url: url.or(other.url),
            dirty: dirty.or(other.dirty),
        }
    }
}

/// Returns the value of an environment variable, unless the value is empty.
#[must_use]
pub fn read_variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(environment: &[(&str, &str)]) -> GitInfo {
        GitInfo::from_variables(&|name| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_of_a_build_service_says_the_commit() {
        let git = told_by(&[
            ("GITHUB_SHA", "abc"),
            ("GITHUB_REF_NAME", "topic"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "me/net"),
        ]);
        let expected = GitInfo {
            commit: Some("abc".to_owned()),
            branch: Some("topic".to_owned()),
            url: Some("https://github.com/me/net".to_owned()),
            dirty: None,
        };
        assert_eq!(git, expected);
        let git = told_by(&[
            ("GIT_COMMIT", "mine"),
            ("CI_COMMIT_SHA", "def"),
            (
                "CI_REPOSITORY_URL",
                "https://job:token@gitlab.com/me/net.git",
            ),
        ]);
        assert_eq!(git.commit.as_deref(), Some("mine"), "the plain one wins");
        assert_eq!(git.url.as_deref(), Some("https://gitlab.com/me/net.git"));
        assert_eq!(told_by(&[]), GitInfo::default());
    }

    #[test]
    fn what_the_environment_says_wins_over_what_is_found() {
        let found = GitInfo {
            commit: Some("found".to_owned()),
            branch: Some("main".to_owned()),
            url: None,
            dirty: Some(true),
        };
        let git = told_by(&[("GIT_COMMIT", "told")]).or(found);
        assert_eq!(git.commit.as_deref(), Some("told"));
        assert_eq!(git.branch.as_deref(), Some("main"));
        assert_eq!(git.dirty, Some(true));
    }
}
