//! [`Repository`]: the commit of a working tree, and the changes since the commit.
//!
//! Invariants: all that can be read from git's files is read without running git. Git is run only
//! for the rest. Neither the working tree nor the index is modified.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::GitInfo;
use crate::url::url_without_credentials;

/// Variables that git sets for a hook. If a hook starts a build, the variables refer to the hook's
/// repository, so git is run without them.
const REPOSITORY_VARIABLES: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
];

/// Content of HEAD if the references are not in files of their own (the reftable format).
const REFTABLE_HEAD: &str = "refs/heads/.invalid";

/// Repository of git, with its working tree.
#[derive(Debug)]
pub struct Repository {
    /// Root of the working tree.
    root: PathBuf,
    /// Directory with HEAD, which each worktree has for itself.
    directory: PathBuf,
    /// Directory with references and configuration, which all worktrees share.
    common_directory: PathBuf,
}

impl Repository {
    /// Returns the repository to which the package in `inside` belongs. An unpacked copy of a
    /// published package belongs to none, and neither does a package that git ignores.
    #[must_use]
    pub fn discover(inside: &Path) -> Option<Self> {
        if inside.join(".cargo_vcs_info.json").exists() {
            return None;
        }
        let root = inside
            .ancestors()
            .find(|ancestor| ancestor.join(".git").exists())?;
        let dot_git = root.join(".git");
        // Input:  a file `.git` with the line `gitdir: ../main/.git/worktrees/here`
        // Output: that directory
        let directory = if dot_git.is_dir() {
            dot_git
        } else {
            root.join(
                fs::read_to_string(&dot_git)
                    .ok()?
                    .strip_prefix("gitdir:")?
                    .trim(),
            )
        };
        let common = match fs::read_to_string(directory.join("commondir")) {
            Ok(common) => directory.join(common.trim()),
            Err(_) => directory.clone(),
        };
        let repository = Self {
            root: root.to_owned(),
            directory,
            common_directory: common,
        };
        let is_ignored = Self::run_git(inside, &["check-ignore", "--quiet", "."]);
        is_ignored.is_none().then_some(repository)
    }

    /// Returns the information about the commit. `package` is the directory whose sources count as
    /// changed if git does not track them.
    #[must_use]
    pub fn read_info(&self, package: &Path) -> GitInfo {
        let head = self.read_head();
        let reference = parse_head_reference(&head);
        let commit = reference
            .map_or_else(
                || parse_commit_hash(&head),
                |reference| self.resolve_reference(reference),
            )
            .or_else(|| {
                parse_commit_hash(&Self::run_git(package, &["rev-parse", "--verify", "HEAD"])?)
            });
        let branch = match reference {
            Some(REFTABLE_HEAD) => {
                Self::run_git(package, &["symbolic-ref", "--quiet", "--short", "HEAD"])
                    .map(|branch| branch.trim().to_owned())
            }
            reference => reference
                .and_then(|reference| reference.strip_prefix("refs/heads/"))
                .map(str::to_owned),
        };
        GitInfo {
            commit,
            branch,
            url: fs::read_to_string(self.common_directory.join("config"))
                .ok()
                .and_then(|config| find_remote_url(&config))
                .map(|url| url_without_credentials(&url)),
            dirty: self.is_dirty(package),
        }
    }

    fn read_head(&self) -> String {
        fs::read_to_string(self.directory.join("HEAD")).unwrap_or_default()
    }

    /// Returns the commit to which a branch points, from a loose or a packed reference.
    fn resolve_reference(&self, reference: &str) -> Option<String> {
        if let Ok(loose) = fs::read_to_string(self.common_directory.join(reference)) {
            return parse_commit_hash(&loose);
        }
        let packed = fs::read_to_string(self.common_directory.join("packed-refs")).ok()?;
        packed
            .lines()
            .find_map(|line| parse_commit_hash(line.strip_suffix(reference)?.strip_suffix(' ')?))
    }

    /// Returns the files that change when the commit does. HEAD changes with the branch, and the
    /// branch's file with the commit. A packed branch has no file, but every commit is recorded in
    /// the log of HEAD. Where there is no log, each commit still writes its message to a file.
    #[must_use]
    pub fn files_to_watch(&self) -> Vec<PathBuf> {
        let head = self.read_head();
        let loose =
            parse_head_reference(&head).map(|reference| self.common_directory.join(reference));
        let moves = loose
            .filter(|loose| loose.is_file())
            .unwrap_or_else(|| self.directory.join("logs/HEAD"));
        let moves = if moves.is_file() {
            moves
        } else {
            self.directory.join("COMMIT_EDITMSG")
        };
        let files = [
            self.directory.join("HEAD"),
            moves,
            self.directory.join("reftable/tables.list"),
        ];
        files
            .into_iter()
            .filter_map(|file| file.canonicalize().ok())
            .collect()
    }

    /// Returns true if the working tree differs from the commit, or `None` if git fails. Only git
    /// itself can find out. Of the untracked files only the package's sources count, as they are
    /// built and no commit contains them.
    fn is_dirty(&self, package: &Path) -> Option<bool> {
        let changed = Self::run_git(
            &self.root,
            &["status", "--porcelain", "--untracked-files=no"],
        )?;
        let unknown = ["ls-files", "--others", "--exclude-standard", "--", "*.rs"];
        let unknown = Self::run_git(package, &unknown)?;
        Some(!changed.is_empty() || !unknown.is_empty())
    }

    /// Returns the output of git with the arguments `question` in `directory`, or `None` if there
    /// is no git or git fails.
    fn run_git(directory: &Path, question: &[&str]) -> Option<String> {
        let output = Self::git_command(directory).args(question).output().ok()?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(answer)
    }

    /// Returns a command that runs git in `directory` and pipes its output to this process.
    fn git_command(directory: &Path) -> Command {
        let mut git = Command::new("git");
        for variable in REPOSITORY_VARIABLES {
            git.env_remove(variable);
        }
        // Turns off what would start a daemon or write to the index.
        git.args(["--no-optional-locks", "-c", "core.fsmonitor=false"])
            .args(["-c", "diff.autoRefreshIndex=false"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        git
    }

    /// Returns the difference between the working tree and the commit in git's own format, and true
    /// if the difference is complete. Reading stops after `most + 1` bytes.
    #[must_use]
    pub fn diff(&self, most: u64) -> Option<(String, bool)> {
        let mut git = Self::git_command(&self.root);
        git.args(["diff", "--no-color", "--no-ext-diff", "--no-textconv"])
            .args([
                "--src-prefix=a/",
                "--dst-prefix=b/",
                "--submodule=short",
                "HEAD",
                "--",
            ]);
        let mut git = git.spawn().ok()?;
        let mut bytes = Vec::new();
        let read = git.stdout.take()?.take(most + 1).read_to_end(&mut bytes);
        let is_all = bytes.len() as u64 <= most;
        // If there is more, git waits until its output is read, so git is killed.
        let ended = if is_all {
            git.wait()
        } else {
            git.kill().and_then(|()| git.wait())
        };
        let has_failed = read.is_err() || is_all && !ended.ok()?.success();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (!has_failed).then_some((text, is_all))
    }
}

// Input:  `ref: refs/heads/main`, or a commit's hash
// Output: `refs/heads/main`, nothing
fn parse_head_reference(head: &str) -> Option<&str> {
    head.trim().strip_prefix("ref:").map(str::trim)
}

fn parse_commit_hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

/// Returns the URL of the remote `origin`, or else of the first remote.
// Input:  `[remote "origin"]\n\turl = https://host/repo.git\n[branch "main"]`
// Output: `https://host/repo.git`
fn find_remote_url(config: &str) -> Option<String> {
    let mut section = "";
    let mut first = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with("[remote ")
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            let value = value.trim().to_owned();
            if section == "[remote \"origin\"]" {
                return Some(value);
            }
            first.get_or_insert(value);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_found_among_other_remotes() {
        let config = "[remote \"fork\"]\n\turl = x\n[remote \"origin\"]\n\tfetch = +a:b\n\turl = https://host/r\n";
        assert_eq!(find_remote_url(config).as_deref(), Some("https://host/r"));
        assert_eq!(find_remote_url("[core]\n\turl = x\n"), None);
        let config = "[remote \"a\"]\n\turl = x\n[remote \"b\"]\n\turl = y\n";
        assert_eq!(find_remote_url(config).as_deref(), Some("x"), "the first");
    }

    #[test]
    fn a_repository_is_read_without_git() {
        let commit = "0123456789012345678901234567890123456789";
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        write(".git/HEAD", "ref: refs/heads/topic/x\n");
        write(
            ".git/packed-refs",
            &format!("# pack-refs\n{commit} refs/heads/topic/x\n"),
        );
        write(".git/logs/HEAD", "");
        write("package/src/lib.rs", "");
        let package = root.join("package");
        let repository = Repository::discover(&package).expect("a repository");
        let git = repository.read_info(&package);
        assert_eq!(
            (git.commit.as_deref(), git.branch.as_deref()),
            (Some(commit), Some("topic/x"))
        );
        let watches = |end: &str| {
            let watched = repository.files_to_watch();
            watched.iter().any(|file| file.ends_with(end))
        };
        assert!(watches("logs/HEAD"));

        let other = commit.replace('0', "f");
        write(".git/refs/heads/topic/x", &other);
        assert!(watches("refs/heads/topic/x"));
        write(".git/worktrees/here/HEAD", "ref: refs/heads/topic/x\n");
        write(".git/worktrees/here/commondir", "../..\n");
        write(
            "here/.git",
            &format!("gitdir: {}\n", root.join(".git/worktrees/here").display()),
        );
        let here = root.join("here");
        let git = Repository::discover(&here)
            .expect("a worktree")
            .read_info(&here);
        assert_eq!(git.commit.as_deref(), Some(other.as_str()));

        write("here/.cargo_vcs_info.json", "{}");
        assert!(Repository::discover(&here).is_none());
    }
}
