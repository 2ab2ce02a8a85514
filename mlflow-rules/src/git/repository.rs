//! [`Repository`]: the commit of a working tree, and the changes since the commit.
//!
//! Invariants:
//!
//! - All that can be read from git's files is read without running git. Git is run only for the rest.
//! - Neither the working tree nor the index is modified.
//! - No command runs that the repository's own configuration names: an unpacked archive may bring a
//!   `.git/config` along that nobody has looked at. What only such a command could find out stays unknown. Git LFS, whose
//!   commands are known, is the exception, and so is what the user's own configuration names.

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

/// Option that keeps git from running itself in submodules, whose configurations may name commands.
const COMMITS_OF_SUBMODULES: &str = "--ignore-submodules=dirty";

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
        if self.is_unsafe_to_compare() {
            return None;
        }
        let question = [
            "status",
            "--porcelain",
            "--untracked-files=no",
            COMMITS_OF_SUBMODULES,
        ];
        let changed = Self::run_git(&self.root, &question)?;
        let unknown = ["ls-files", "--others", "--exclude-standard", "--", "*.rs"];
        let unknown = Self::run_git(package, &unknown)?;
        Some(!changed.is_empty() || !unknown.is_empty())
    }

    /// Returns true if git would run a command that the repository's own configuration names, or would compare other files than
    /// those of this repository; also if git cannot tell.
    fn is_unsafe_to_compare(&self) -> bool {
        // Git is asked, and not the files that were found here: git may find another repository, and settings in others.
        let question = ["config", "--list", "--includes", "--show-scope", "--null"];
        let Some(listed) = Self::run_git(&self.root, &question) else {
            return true;
        };
        let top = Self::run_git(&self.root, &["rev-parse", "--show-toplevel"]);
        let top = top.map(|top| PathBuf::from(top.trim_end_matches('\n')));
        let is_here = top.is_some_and(|top| self.root.canonicalize().is_ok_and(|root| root == top));
        !is_here
            || names_own_command(&listed)
            || is_partial_clone(&listed) && !Self::knows_no_lazy_fetch()
    }

    /// Returns true if git can be kept from fetching objects that are missing here, as it can since 2.45.
    fn knows_no_lazy_fetch() -> bool {
        let version = Self::run_git(Path::new("."), &["--version"]).unwrap_or_default();
        let numbers = version.split(' ').nth(2).unwrap_or_default().split('.');
        let mut numbers = numbers.map_while(|number| number.parse::<u32>().ok());
        let found = (numbers.next(), numbers.next());
        found >= (Some(2), Some(45))
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
        // Turns off what would start a daemon, write to the index, or fetch from a server.
        git.env("GIT_NO_LAZY_FETCH", "1")
            .args(["--no-optional-locks", "-c", "core.fsmonitor=false"])
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
        if self.is_unsafe_to_compare() {
            return None;
        }
        let mut git = Self::git_command(&self.root);
        git.args(["diff", "--no-color", "--no-ext-diff", "--no-textconv"])
            .args(["--src-prefix=a/", "--dst-prefix=b/", "--submodule=short"])
            .args([COMMITS_OF_SUBMODULES, "HEAD", "--"]);
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

/// Returns the scopes, keys and values of a list of settings.
// Input:  `local\0filter.x.clean\nsh evil\0`, from `git config --list --show-scope --null`
// Output: `local`, `filter.x.clean`, `sh evil`
fn settings(listed: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut fields = listed.split('\0');
    std::iter::from_fn(move || {
        let (scope, setting) = (fields.next()?, fields.next()?);
        let (key, value) = setting.split_once('\n').unwrap_or((setting, ""));
        Some((scope, key, value))
    })
}

/// Returns true if objects may be missing here, which git would fetch.
fn is_partial_clone(listed: &str) -> bool {
    settings(listed).any(|(_, key, _)| {
        key == "extensions.partialclone" || key.starts_with("remote.") && key.ends_with(".promisor")
    })
}

/// Returns true if a list of settings with their scopes has a command of the repository's own: a filter, or an extension of
/// Git LFS, whose filter may be the user's.
fn names_own_command(listed: &str) -> bool {
    const LFS: [&str; 5] = [
        "",
        "git-lfs clean %f",
        "git-lfs clean -- %f",
        "git-lfs filter-process",
        "git-lfs filter-process --skip",
    ];
    settings(listed).any(|(scope, key, command)| {
        let is_own = matches!(scope, "local" | "worktree");
        let is_filter = key.starts_with("filter.")
            && [".clean", ".process"].iter().any(|end| key.ends_with(end));
        let is_extension = key.starts_with("lfs.extension.");
        is_own && (is_extension || is_filter && !LFS.contains(&command))
    })
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
    fn commands_of_the_repositorys_own_are_found() {
        for (listed, is_own) in [
            ("", false),
            ("local\0core.bare\nfalse\0", false),
            ("global\0filter.x.clean\nsh\0", false),
            ("command\0filter.x.clean\nsh\0", false),
            ("local\0filter.x.clean\nsh\0", true),
            ("worktree\0filter.a.b.process\nsh\0", true),
            (
                "local\0filter.lfs.clean\ngit-lfs clean -- %f\0local\0filter.lfs.required\ntrue\0",
                false,
            ),
            ("local\0filter.lfs.clean\ngit-lfs clean -- %f; sh\0", true),
            ("global\0a.b\nx\0local\0filter.x.smudge\nsh\0", false),
            ("local\0lfs.extension.x.clean\nsh\0", true),
            ("local\0lfs.url\nhttps://host\0", false),
        ] {
            assert_eq!(names_own_command(listed), is_own, "{listed:?}");
        }
    }

    /// Regression: building a crate in an unpacked archive ran what its `.git/config` named, four times.
    #[test]
    fn no_command_of_the_repositorys_configuration_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let git = |inside: &Path, arguments: &[&str]| {
            let mut command = Repository::git_command(inside);
            let identity = [
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "-c",
                "protocol.file.allow=always",
            ];
            let status = command.args(identity).args(arguments).status();
            assert!(status.expect("git").success(), "{arguments:?}");
        };
        let marker = root.join("marker");
        let evil = root.join("evil.sh");
        fs::write(&evil, format!("echo x >> {}; cat", marker.display())).expect("a script");
        let run = format!("sh {}", evil.display());
        let commit = |inside: &Path| {
            fs::create_dir_all(inside).expect("a folder");
            git(inside, &["init", "--quiet"]);
            fs::write(inside.join("lib.rs"), "one").expect("a file");
            fs::write(inside.join(".gitattributes"), "*.rs filter=x diff=x").expect("a file");
            git(inside, &["add", "."]);
            git(inside, &["commit", "--quiet", "--message", "one"]);
        };
        let [main, part] = ["main", "part"].map(|name| root.join(name));
        commit(&main);
        commit(&part);
        let url = part.display().to_string();
        git(&main, &["submodule", "--quiet", "add", &url, "part"]);
        git(&main, &["commit", "--quiet", "--message", "two"]);
        let read = || {
            let repository = Repository::discover(&main).expect("a repository");
            let diff = repository.diff(1 << 20).map(|(diff, _)| diff);
            (repository.read_info(&main).dirty, diff)
        };
        assert_eq!(read(), (Some(false), Some(String::new())));

        // Of a submodule the commit is compared, and its files are not: whatever its configuration names, nothing runs.
        let inner = main.join("part");
        for key in ["filter.x.clean", "core.fsmonitor"] {
            git(&inner, &["config", key, &run]);
        }
        fs::write(inner.join("lib.rs"), "two").expect("a file");
        assert_eq!(read(), (Some(false), Some(String::new())));
        assert!(!marker.exists());

        fs::write(main.join("lib.rs"), "two").expect("a file");
        let (dirty, diff) = read();
        assert_eq!(dirty, Some(true));
        assert!(diff.expect("a diff").contains("+two"));

        for key in [
            "core.fsmonitor",
            "diff.external",
            "diff.x.command",
            "diff.x.textconv",
            "core.pager",
        ] {
            git(&main, &["config", key, &run]);
        }
        assert_eq!(read().0, Some(true));
        assert!(!marker.exists());
        let included = root.join("included");
        fs::write(&included, format!("[filter \"x\"]\n\tclean = {run}\n")).expect("a file");
        for setting in [
            ["filter.x.clean", run.as_str()],
            ["filter.x.process", run.as_str()],
            ["include.path", included.to_str().expect("UTF-8")],
            ["lfs.extension.x.clean", run.as_str()],
        ] {
            git(&main, &["config", setting[0], setting[1]]);
            assert_eq!(read(), (None, None), "{setting:?}");
            assert!(!marker.exists(), "{setting:?}");
            git(&main, &["config", "--unset", setting[0]]);
        }
        assert_eq!(read().0, Some(true));

        // The script does run where git is asked without care.
        git(&main, &["config", "--unset-all", "core.fsmonitor"]);
        git(&main, &["config", "filter.x.clean", &run]);
        fs::write(main.join("lib.rs"), "three").expect("a file");
        git(&main, &["status", "--porcelain"]);
        assert!(marker.exists());
        fs::remove_file(&marker).expect("it is ours");
        git(&main, &["config", "--unset", "filter.x.clean"]);

        // Files elsewhere are none of the repository's.
        git(
            &main,
            &["config", "core.worktree", part.to_str().expect("UTF-8")],
        );
        assert_eq!(read(), (None, None));
    }

    /// Regression: the configuration that was looked at was not the one that git used.
    #[test]
    fn the_repository_that_git_finds_is_the_one_that_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
            let status = Repository::git_command(&root)
                .args(identity)
                .args(arguments)
                .status();
            assert!(status.expect("git").success(), "{arguments:?}");
        };
        let inner = root.join("crate");
        fs::create_dir_all(inner.join("src")).expect("a folder");
        fs::write(inner.join("src/lib.rs"), "one").expect("a file");
        fs::write(root.join(".gitattributes"), "*.rs filter=x").expect("a file");
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "one"]);
        let marker = root.join("marker");
        git(&[
            "config",
            "filter.x.clean",
            &format!("touch {}; cat", marker.display()),
        ]);
        fs::write(inner.join("src/lib.rs"), "two").expect("a file");
        // Git passes over this folder, as it is no repository.
        fs::create_dir(inner.join(".git")).expect("a folder");
        let repository = Repository::discover(&inner).expect("a folder `.git`");
        assert_eq!(repository.read_info(&inner).dirty, None);
        assert_eq!(repository.diff(1 << 20), None);
        assert!(!marker.exists());
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
