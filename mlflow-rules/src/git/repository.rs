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
        if self.names_commands() {
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

    /// Returns true if the repository's own configuration names a command that git would run to compare files, or if git
    /// cannot tell.
    fn names_commands(&self) -> bool {
        let files = [
            self.common_directory.join("config"),
            self.directory.join("config.worktree"),
        ];
        // Most repositories have none of these words, and git is not asked.
        let mentions = |words: &[&str]| files.iter().any(|file| mentions(file, words));
        if mentions(&["promisor", "partialclone"]) && !Self::knows_no_lazy_fetch() {
            return true;
        }
        if !mentions(&["filter", "include", "lfs"]) {
            return false;
        }
        let question = ["config", "--list", "--includes", "--show-scope", "--null"];
        Self::run_git(&self.root, &question).is_none_or(|listed| names_own_command(&listed))
    }

    /// Returns true if git can be kept from fetching objects that are missing here, as it can since 2.44.
    fn knows_no_lazy_fetch() -> bool {
        let version = Self::run_git(Path::new("."), &["--version"]).unwrap_or_default();
        let numbers = version.split(' ').nth(2).unwrap_or_default().split('.');
        let mut numbers = numbers.map_while(|number| number.parse::<u32>().ok());
        let found = (numbers.next(), numbers.next());
        found >= (Some(2), Some(44))
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
        if self.names_commands() {
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

/// Returns true if the file holds one of the words, in upper or lower case.
fn mentions(file: &Path, words: &[&str]) -> bool {
    let text = fs::read(file).unwrap_or_default().to_ascii_lowercase();
    let holds = |word: &&str| {
        text.windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    words.iter().any(holds)
}

/// Returns true if a list of settings with their scopes has a command of the repository's own: a filter, or an extension of
/// Git LFS, whose filter may be the user's.
// Input:  `local\0filter.x.clean\nsh evil\0`, from `git config --list --show-scope --null`
fn names_own_command(listed: &str) -> bool {
    const LFS: [&str; 4] = [
        "",
        "git-lfs clean -- %f",
        "git-lfs filter-process",
        "git-lfs filter-process --skip",
    ];
    let mut fields = listed.split('\0');
    while let (Some(scope), Some(setting)) = (fields.next(), fields.next()) {
        let (key, command) = setting.split_once('\n').unwrap_or((setting, ""));
        let is_own = matches!(scope, "local" | "worktree");
        let is_filter = key.starts_with("filter.")
            && [".clean", ".process"].iter().any(|end| key.ends_with(end));
        let is_extension = key.starts_with("lfs.extension.");
        if is_own && (is_extension || is_filter && !LFS.contains(&command)) {
            return true;
        }
    }
    false
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
