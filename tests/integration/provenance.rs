//! Tags about the built code: in a user's own package, in every state of a repository, and run where there is
//! no repository.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::outsider::{Outsider, Told};

/// Runs git in `directory`; returns its output.
fn git(directory: &Path, arguments: &str) -> String {
    let settings = "-c user.name=A -c user.email=a@example.org -c init.defaultBranch=main -c protocol.file.allow=always";
    let mut command = Command::new("git");
    command
        .args(settings.split(' ').chain(arguments.split(' ')))
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Creates a repository with one commit, which contains the package and nothing else.
fn committed() -> Outsider {
    let outsider = Outsider::at("package");
    let package = outsider.package();
    git(package, "init");
    git(package, "add .");
    git(package, "commit -m first");
    outsider
}

fn head(directory: &Path) -> String {
    git(directory, "rev-parse HEAD")
}

/// Builds the package as it is, and runs it. Returns the tags and the diff of the run.
fn told(outsider: &Outsider) -> Told {
    Outsider::run(&outsider.build(&[]), &[])
}

fn assert_commit(told: &Told, commit: &str, branch: Option<&str>, dirty: Option<&str>) {
    assert_eq!(told.git("commit"), Some(commit));
    assert_eq!(told.git("branch"), branch);
    assert_eq!(told.git("dirty"), dirty);
    assert_eq!(told.tag("git.dirty"), dirty, "as MLflow's page shows it");
}

fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Regression: a run started by hand had no commit, though MLflow's Python client records one.
#[test]
fn a_run_that_is_started_by_hand_has_the_commit_of_the_build() {
    let outsider = Outsider::at("package");
    let package = outsider.package();
    let main = "mod by_hand {\n    pub async fn fit() {\n        \
                let _first = mlflow::start_run!().start();\n        }\n}\n\n\
                fn main() {\n    let mut context = std::task::Context::from_waker(std::task::Waker::noop());\n    \
                assert!(std::pin::pin!(by_hand::fit()).poll(&mut context).is_ready());\n}\n";
    fs::write(package.join("src/main.rs"), main).unwrap();
    git(package, "init");
    git(package, "add .");
    git(package, "commit -m first");
    let first = told(&outsider);
    assert_commit(&first, &head(package), Some("main"), Some("false"));
    assert_eq!(first.tag("code.function"), Some("outsider::by_hand::fit"));
    assert_eq!(first.tag("code.filepath"), Some("src/main.rs"));
    assert_eq!(first.tag("code.lineno"), Some("3"));
    assert_eq!(first.tag("service.name"), Some("outsider"));
    assert!(first.tag("mlflow.runName").unwrap().starts_with("run-"));
    git(package, "commit --allow-empty -m second");
    let second = told(&outsider);
    assert_commit(&second, &head(package), Some("main"), Some("false"));
}

#[test]
fn a_run_without_a_repository_has_the_commit_of_the_build() {
    let outsider = committed();
    git(
        outsider.package(),
        "remote add origin https://me:hunter2@host.example/me/net.git",
    );
    let told = told(&outsider);
    assert_commit(
        &told,
        &head(outsider.package()),
        Some("main"),
        Some("false"),
    );
    assert_eq!(told.git("repoURL"), Some("https://host.example/me/net.git"));
    assert_eq!(told.diff, None, "nothing differs");
    assert_eq!(told.tag("service.name"), Some("outsider"));
    assert_eq!(told.tag("rust.features"), Some("default,fast"));
    assert_eq!(told.tag("rust.profile"), Some("dev"));
    let rustc = said_by("rustc", "-vV");
    let version = rustc.lines().next().unwrap().strip_prefix("rustc ");
    assert_eq!(told.tag("rust.version"), version);
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    assert_eq!(told.tag("rust.target"), host);
    let lock = outsider.package().join("Cargo.lock");
    let sum = said_by("sha256sum", lock.to_str().unwrap());
    assert_eq!(told.tag("cargo.lock.sha256"), sum.split(' ').next());
}

#[test]
fn a_moved_head_is_built_anew_without_a_change_of_the_source() {
    let outsider = committed();
    let package = outsider.package();
    let (program, compiled) = outsider.build_and_tell(&[]);
    assert!(compiled, "it is in a repository now");
    assert_commit(
        &Outsider::run(&program, &[]),
        &head(package),
        Some("main"),
        Some("false"),
    );
    assert!(!outsider.build_and_tell(&[]).1, "nothing has moved");

    git(package, "commit --allow-empty -m second");
    let second = head(package);
    assert_commit(&told(&outsider), &second, Some("main"), Some("false"));
    git(package, "checkout -b topic/x");
    assert_commit(&told(&outsider), &second, Some("topic/x"), Some("false"));
    git(package, "checkout --detach HEAD~1");
    assert_commit(&told(&outsider), &head(package), None, Some("false"));
    // The branches have no files of their own any more.
    git(package, "checkout main");
    git(package, "pack-refs --all");
    assert_commit(&told(&outsider), &second, Some("main"), Some("false"));
    git(package, "commit --allow-empty -m third");
    assert_commit(
        &told(&outsider),
        &head(package),
        Some("main"),
        Some("false"),
    );
}

#[test]
fn what_differs_from_the_commit_is_told_without_its_secrets() {
    let outsider = committed();
    let package = outsider.package();
    let token = format!("ghp_{}", "0aA".repeat(12));
    let main = fs::read_to_string(package.join("src/main.rs")).unwrap();
    let changed =
        format!("{main}\n#[allow(dead_code)]\nconst API_KEY: &str = \"hunter2\";\n// {token}\n");
    fs::write(package.join("src/main.rs"), changed).unwrap();
    let status = git(package, "status --porcelain");
    let index = fs::read(package.join(".git/index")).unwrap();
    // A file's time is changed: git would note in the index that it has looked at such a file.
    fs::File::options()
        .append(true)
        .open(package.join("Cargo.toml"))
        .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH))
        .unwrap();
    let program = outsider.build(&[]);
    let told = Outsider::run(&program, &[]);
    assert_commit(&told, &head(package), Some("main"), Some("true"));
    let diff = told.diff.expect("an artifact");
    assert!(
        diff.starts_with("diff --git a/src/main.rs b/src/main.rs\n"),
        "{diff}"
    );
    assert!(
        diff.contains("+const API_KEY: &str = \"[redacted]\";\n+// [redacted]\n"),
        "{diff}"
    );
    let bytes = fs::read(program).unwrap();
    let has = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        has("+const API_KEY") && !has(&token),
        "nor does the program hold them"
    );
    assert_eq!(fs::read(package.join(".git/index")).unwrap(), index);
    assert_eq!(git(package, "status --porcelain"), status);
    assert_ne!(
        fs::read(package.join(".git/index")).unwrap(),
        index,
        "that was git's own"
    );
}

#[test]
fn a_source_that_is_in_no_commit_makes_the_build_dirty() {
    let outsider = committed();
    let package = outsider.package();
    fs::write(package.join("notes.txt"), "no code").unwrap();
    assert_commit(
        &told(&outsider),
        &head(package),
        Some("main"),
        Some("false"),
    );
    fs::write(
        package.join("src/main.rs"),
        "mod new;\n#[mlflow::tracked]\nfn train() {}\nfn main() { train() }\n",
    )
    .unwrap();
    fs::write(package.join("src/new.rs"), "").unwrap();
    git(package, "add src/main.rs");
    git(package, "commit -m second");
    assert_commit(&told(&outsider), &head(package), Some("main"), Some("true"));
}

#[test]
fn a_worktree() {
    let outsider = committed();
    git(outsider.package(), "worktree add -b side ../side");
    let side = outsider.folder().join("side");
    git(&side, "commit --allow-empty -m aside");
    let commit = head(&side);
    assert_ne!(commit, head(outsider.package()));
    let told = told(&Outsider::found_at(outsider.into_folder(), "side"));
    assert_commit(&told, &commit, Some("side"), Some("false"));
}

#[test]
fn a_submodule() {
    let outsider = committed();
    let commit = head(outsider.package());
    let outer = outsider.folder().join("outer");
    fs::create_dir(&outer).unwrap();
    git(&outer, "init");
    git(&outer, "submodule add ../package inner");
    git(&outer, "commit -m outer");
    assert_ne!(head(&outer), commit);
    let origin = outsider.package().to_str().unwrap().to_owned();
    let told = told(&Outsider::found_at(outsider.into_folder(), "outer/inner"));
    assert_commit(&told, &commit, Some("main"), Some("false"));
    assert_eq!(told.git("repoURL"), Some(origin.as_str()));
}

#[test]
fn a_shallow_clone() {
    let outsider = committed();
    git(outsider.package(), "commit --allow-empty -m second");
    let commit = head(outsider.package());
    let from = format!("file://{}", outsider.package().display());
    git(
        outsider.folder(),
        &format!("clone --depth 1 {from} shallow"),
    );
    let told = told(&Outsider::found_at(outsider.into_folder(), "shallow"));
    assert_commit(&told, &commit, Some("main"), Some("false"));
}

#[test]
fn references_that_are_not_in_files() {
    let outsider = committed();
    let package = outsider.package();
    fs::remove_dir_all(package.join(".git")).unwrap();
    git(package, "init --ref-format=reftable");
    git(package, "add .");
    git(package, "commit -m first");
    assert_commit(
        &told(&outsider),
        &head(package),
        Some("main"),
        Some("false"),
    );
    git(package, "commit --allow-empty -m second");
    assert_commit(
        &told(&outsider),
        &head(package),
        Some("main"),
        Some("false"),
    );
}

#[test]
fn no_git_on_the_machine() {
    let outsider = committed();
    let tools = outsider.folder().join("tools");
    fs::create_dir(&tools).unwrap();
    // The compiler calls these programs to link.
    for tool in ["cc", "ld", "as"] {
        symlink(Path::new("/usr/bin").join(tool), tools.join(tool)).unwrap();
    }
    let rustc = said_by("rustc", "--print=sysroot");
    let rustc = Path::new(rustc.trim()).join("bin/rustc");
    let environment = [("PATH", tools.as_os_str()), ("RUSTC", rustc.as_os_str())];
    let program = outsider.build(&environment);
    let commit = head(outsider.package());
    assert_commit(&Outsider::run(&program, &[]), &commit, Some("main"), None);
}

#[test]
fn no_repository() {
    let outsider = Outsider::at("package");
    let told = told(&outsider);
    for key in ["commit", "branch", "repoURL", "dirty"] {
        assert_eq!(told.git(key), None, "{key}");
    }
    assert_eq!(told.diff, None);
    assert!(told.tag("cargo.lock.sha256").is_some());

    let build_with = |commit: &str| outsider.build(&[("GIT_COMMIT", OsStr::new(commit))]);
    let program = build_with("one");
    assert_eq!(Outsider::run(&program, &[]).git("commit"), Some("one"));
    let elsewhere = Outsider::run(&program, &[("GIT_COMMIT", "of the machine")]);
    assert_eq!(
        elsewhere.git("commit"),
        Some("one"),
        "what was built counts"
    );
    let program = build_with("two");
    assert_eq!(
        Outsider::run(&program, &[]).git("commit"),
        Some("two"),
        "built anew"
    );

    let program = outsider.build(&[]);
    let told = Outsider::run(&program, &[("GIT_COMMIT", "three")]);
    assert_eq!(told.git("commit"), Some("three"), "better than nothing");
}

#[test]
fn the_environment_of_the_build_wins() {
    let outsider = committed();
    let environment = [
        ("GITHUB_SHA", "0123"),
        ("GITHUB_REF_NAME", "release"),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_REPOSITORY", "me/net"),
    ];
    let program = outsider.build(&environment.map(|(name, value)| (name, OsStr::new(value))));
    let told = Outsider::run(&program, &[]);
    assert_commit(&told, "0123", Some("release"), Some("false"));
    assert_eq!(told.git("repoURL"), Some("https://github.com/me/net"));
}

/// The package lies in an ignored folder of an unrelated repository, e.g. in a home directory whose dotfiles
/// are in git, or in a temporary folder of another project.
#[test]
fn a_package_that_git_ignores_is_not_of_the_commit() {
    let outsider = Outsider::at("scratch/package");
    let outer = outsider.folder();
    fs::write(outer.join(".gitignore"), "scratch\n").unwrap();
    git(outer, "init");
    git(outer, "add .");
    git(outer, "commit -m first");
    assert_eq!(told(&outsider).git("commit"), None);
}

/// Regression: the build read the repository of a git hook, because the hook passes its own repository and
/// index to every program that it starts.
#[test]
fn a_build_in_a_hook_asked_for_the_hooks_repository() {
    let outsider = committed();
    let hook = committed();
    fs::write(hook.package().join("src/main.rs"), "").unwrap();
    let directory: OsString = hook.package().join(".git").into();
    let index: OsString = hook.package().join(".git/index").into();
    let environment = [
        ("GIT_DIR", directory.as_os_str()),
        ("GIT_INDEX_FILE", index.as_os_str()),
    ];
    let told = Outsider::run(&outsider.build(&environment), &[]);
    assert_commit(
        &told,
        &head(outsider.package()),
        Some("main"),
        Some("false"),
    );
}

#[test]
fn who_started_the_process_is_told() {
    let outsider = Outsider::at("package");
    let program = outsider.build(&[]);
    let environment = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_RUN_ID", "42"),
        ("GITHUB_SERVER_URL", "https://me:hunter2@github.com"),
        ("GITHUB_REPOSITORY", "me/net"),
        ("SLURM_JOB_ID", "77"),
        (
            "MLFLOW_RUN_CONTEXT",
            r#"{"team": "vision", "service.name": "told", "host.name": "desk"}"#,
        ),
    ];
    let told = Outsider::run(&program, &environment);
    assert_eq!(told.tag("cicd.provider.name"), Some("github"));
    assert_eq!(
        told.tag("cicd.pipeline.run.url.full"),
        Some("https://[redacted]@github.com/me/net/actions/runs/42")
    );
    assert_eq!(told.tag("slurm.job.id"), Some("77"));
    assert_eq!(told.tag("team"), Some("vision"));
    assert_eq!(
        told.tag("service.name"),
        Some("told"),
        "wins over what the attribute knows"
    );
    assert_eq!(
        told.tag("host.name"),
        Some("desk"),
        "and over what is found"
    );
}
