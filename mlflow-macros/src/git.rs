//! The commit the code is built from.
//!
//! Invariants: looked up once a process and package, however many functions are annotated; the
//! environment wins; what cannot be found is absent and nothing fails; credentials never come
//! along. One function of the package names git's files to the compiler, so that a moved HEAD
//! rebuilds the package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use proc_macro2::TokenStream;
use quote::quote;

const COMMIT_VARIABLES: [&str; 3] = ["GIT_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA"];
const BRANCH_VARIABLES: [&str; 4] = [
    "GIT_BRANCH",
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
];
const URL_VARIABLES: [&str; 3] = ["GIT_URL", "CI_PROJECT_URL", "CI_REPOSITORY_URL"];

/// What is known of the commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Git {
    pub(crate) commit: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) dirty: Option<bool>,
    /// Files that change when the commit does; empty for all but the first function.
    pub(crate) watched: Vec<PathBuf>,
}

/// The commit of the package that is being compiled.
pub(crate) fn of_this_build() -> Git {
    static KNOWN: Mutex<BTreeMap<PathBuf, Git>> = Mutex::new(BTreeMap::new());
    let Some(directory) = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from) else {
        return Git::default();
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(git) = known.get(&directory) {
        return git.clone();
    }
    let git = look_up(&directory);
    known.insert(
        directory,
        Git {
            watched: Vec::new(),
            ..git.clone()
        },
    );
    git
}

fn look_up(directory: &Path) -> Git {
    let found = Repository::around(directory)
        .map(|repository| repository.git())
        .unwrap_or_default();
    let github_url = || {
        Some(format!(
            "{}/{}",
            variable("GITHUB_SERVER_URL")?,
            variable("GITHUB_REPOSITORY")?
        ))
    };
    Git {
        commit: COMMIT_VARIABLES
            .into_iter()
            .find_map(variable)
            .or(found.commit),
        branch: BRANCH_VARIABLES
            .into_iter()
            .find_map(variable)
            .or(found.branch),
        url: URL_VARIABLES
            .into_iter()
            .find_map(variable)
            .or_else(github_url)
            .or(found.url)
            .map(|url| without_credentials(&url)),
        ..found
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

struct Repository {
    /// Where the working tree begins.
    root: PathBuf,
    /// Holds HEAD; of a worktree its own.
    directory: PathBuf,
    /// Holds refs and configuration, shared by all worktrees.
    common: PathBuf,
}

impl Repository {
    /// The repository that `inside` belongs to, unless `inside` is a package's unpacked copy.
    fn around(inside: &Path) -> Option<Self> {
        if inside.join(".cargo_vcs_info.json").exists() {
            return None;
        }
        let root = inside
            .ancestors()
            .find(|ancestor| ancestor.join(".git").exists())?;
        let dot_git = root.join(".git");
        // Input:  a file `.git` that says `gitdir: ../main/.git/worktrees/here`
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
        Some(Self {
            root: root.to_owned(),
            directory,
            common,
        })
    }

    fn git(&self) -> Git {
        let head = fs::read_to_string(self.directory.join("HEAD")).unwrap_or_default();
        let reference = head.trim().strip_prefix("ref:").map(str::trim);
        Git {
            commit: reference.map_or_else(|| hash(&head), |reference| self.commit_of(reference)),
            branch: reference
                .and_then(|reference| reference.strip_prefix("refs/heads/"))
                .map(str::to_owned),
            url: fs::read_to_string(self.common.join("config"))
                .ok()
                .and_then(|config| origin(&config)),
            dirty: self.is_dirty(),
            watched: self.watched(reference),
        }
    }

    /// The commit a branch points to, whether git keeps it loose or packed.
    fn commit_of(&self, reference: &str) -> Option<String> {
        if let Ok(loose) = fs::read_to_string(self.common.join(reference)) {
            return hash(&loose);
        }
        let packed = fs::read_to_string(self.common.join("packed-refs")).ok()?;
        packed
            .lines()
            .find_map(|line| hash(line.strip_suffix(reference)?.strip_suffix(' ')?))
    }

    /// HEAD changes with the branch, the branch's file with the commit. A packed branch has no
    /// file, but every commit is noted in the log of HEAD.
    fn watched(&self, reference: Option<&str>) -> Vec<PathBuf> {
        let loose = reference.map(|reference| self.common.join(reference));
        let moves = loose
            .filter(|loose| loose.is_file())
            .unwrap_or_else(|| self.directory.join("logs/HEAD"));
        let files = [self.directory.join("HEAD"), moves];
        files
            .into_iter()
            .filter_map(|file| file.canonicalize().ok())
            .collect()
    }

    /// Asks git itself, the only one who knows; untracked files do not count.
    fn is_dirty(&self) -> Option<bool> {
        let status = Command::new("git")
            .args([
                "--no-optional-locks",
                "status",
                "--porcelain",
                "--untracked-files=no",
            ])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        status.status.success().then_some(!status.stdout.is_empty())
    }
}

fn hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

// Input:  `[remote "origin"]\n\turl = https://host/repo.git\n[branch "main"]`
// Output: `https://host/repo.git`
fn origin(config: &str) -> Option<String> {
    let mut in_origin = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            in_origin = line == "[remote \"origin\"]";
        } else if in_origin
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

// Input:  `https://user:token@host/repo.git?key=1`, `git@host:repo.git`
// Output: `https://host/repo.git`, `git@host:repo.git`
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(authority, path)| (authority, Some(path)));
    // The name before the `@` of an SSH address is no secret, but says nothing either.
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    path.map_or_else(
        || format!("{scheme}://{host}"),
        |path| format!("{scheme}://{host}/{path}"),
    )
}

impl Git {
    // Output: `Git { commit: Some("…"), branch: None, url: None, dirty: Some(false) }`
    pub(crate) fn tokens(&self, private: &TokenStream) -> Option<TokenStream> {
        if self.commit.is_none() && self.branch.is_none() && self.url.is_none() {
            return None;
        }
        let [commit, branch, url] =
            [&self.commit, &self.branch, &self.url].map(|text| option(text.as_ref()));
        let dirty = option(self.dirty.as_ref());
        Some(quote!(#private::Git { commit: #commit, branch: #branch, url: #url, dirty: #dirty }))
    }

    /// Names to the compiler what the result depends on. An unused constant leaves no bytes.
    // Output: `const _: &[u8] = include_bytes!("…/.git/HEAD");`
    pub(crate) fn watch(&self) -> TokenStream {
        if self.watched.is_empty() {
            return TokenStream::new();
        }
        let files = self.watched.iter().filter_map(|file| file.to_str());
        let variables = [COMMIT_VARIABLES[0], COMMIT_VARIABLES[1]];
        quote! {
            #(const _: &[u8] = ::core::include_bytes!(#files);)*
            #(const _: ::core::option::Option<&str> = ::core::option_env!(#variables);)*
        }
    }
}

fn option<T: quote::ToTokens>(value: Option<&T>) -> TokenStream {
    value.map_or_else(
        || quote!(::core::option::Option::None),
        |value| quote!(::core::option::Option::Some(#value)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_come_along() {
        assert_eq!(
            without_credentials("https://user:token@host/a/b.git"),
            "https://host/a/b.git"
        );
        assert_eq!(
            without_credentials("https://token@host:8443/a?private_token=x#y"),
            "https://host:8443/a"
        );
        assert_eq!(
            without_credentials("ssh://git@host/a.git"),
            "ssh://host/a.git"
        );
        assert_eq!(without_credentials("git@host:a/b.git"), "git@host:a/b.git");
    }

    #[test]
    fn the_origin_is_found_among_other_remotes() {
        let config = "[remote \"fork\"]\n\turl = x\n[remote \"origin\"]\n\tfetch = +a:b\n\turl = https://host/r\n";
        assert_eq!(origin(config).as_deref(), Some("https://host/r"));
        assert_eq!(origin("[core]\n\turl = x\n"), None);
    }

    #[test]
    fn a_repository_is_read_without_git() {
        let commit = "0123456789012345678901234567890123456789";
        let root = env::temp_dir().join(format!("mlflow-macros-git-{}", std::process::id()));
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
        let git = Repository::around(&root.join("package"))
            .expect("a repository")
            .git();
        assert_eq!(
            (git.commit.as_deref(), git.branch.as_deref()),
            (Some(commit), Some("topic/x"))
        );
        assert!(git.watched.iter().any(|file| file.ends_with("logs/HEAD")));

        let other = commit.replace('0', "f");
        write(".git/refs/heads/topic/x", &other);
        write(".git/worktrees/here/HEAD", "ref: refs/heads/topic/x\n");
        write(".git/worktrees/here/commondir", "../..\n");
        write(
            "here/.git",
            &format!("gitdir: {}\n", root.join(".git/worktrees/here").display()),
        );
        let git = Repository::around(&root.join("here"))
            .expect("a worktree")
            .git();
        assert_eq!(git.commit.as_deref(), Some(other.as_str()));
        assert!(
            git.watched
                .iter()
                .any(|file| file.ends_with("refs/heads/topic/x"))
        );

        write("here/.cargo_vcs_info.json", "{}");
        assert!(Repository::around(&root.join("here")).is_none());
        fs::remove_dir_all(&root).expect("removed");
    }
}
