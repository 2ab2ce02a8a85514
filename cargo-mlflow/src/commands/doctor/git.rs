//! The commit that a build in the working directory would record.

use std::env;

use mlflow_rules::git::{GitInfo, Repository, read_variable};
use serde::Serialize;

use super::report::{Finding, Section};

/// Number of characters of a commit that are shown.
const COMMIT_CHARS: usize = 12;

/// Commit of a build.
#[derive(Debug, Serialize)]
pub(super) struct Commit {
    commit: Option<String>,
    branch: Option<String>,
    url: Option<String>,
    dirty: Option<bool>,
}

/// Finds the commit as the attribute `#[tracked]` does.
pub(super) fn examine() -> Section<Commit> {
    let folder = env::current_dir().ok();
    let found = folder
        .and_then(|folder| Some(Repository::discover(&folder)?.read_info(&folder)))
        .unwrap_or_default();
    let info = GitInfo::from_variables(&read_variable).or(found);
    let findings = vec![judge(&info)];
    let GitInfo {
        commit,
        branch,
        url,
        dirty,
    } = info;
    Section {
        facts: Commit {
            commit,
            branch,
            url,
            dirty,
        },
        findings,
    }
}

fn judge(info: &GitInfo) -> Finding {
    let Some(commit) = &info.commit else {
        return Finding::warning(
            "a build here records no commit: there is no repository of git, or it ignores this folder",
            "commit the code, or set GIT_COMMIT when it is built",
        );
    };
    let short: String = commit.chars().take(COMMIT_CHARS).collect();
    let branch = { info.branch.as_deref() }
        .map(|branch| format!(" of {branch}"))
        .unwrap_or_default();
    let text = format!("a build here records the commit {short}{branch}");
    match info.dirty {
        Some(true) => Finding::warning(
            format!("{text}, but files differ from it"),
            "commit them, or log the difference with Config::git_diff(git_diff!())",
        ),
        Some(false) => Finding::ok(text),
        None => Finding::ok(format!("{text}; git cannot say if files differ from it")),
    }
}
