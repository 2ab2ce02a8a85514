//! Build information from cargo: the lock file and the enabled features.

use std::fs;
use std::path::{Path, PathBuf};

use mlflow_rules::to_hex;

/// Returns the `Cargo.lock` of the package's workspace: the one beside the workspace's manifest, or
/// else the nearest one in the package's directory or above it. A member may have an old lock file
/// of its own, which cargo does not read.
pub(super) fn find_lock_file(package: &Path) -> Option<PathBuf> {
    let is_workspace = |directory: &&Path| {
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        let mut lines = manifest.lines().map(str::trim_start);
        lines.any(|line| line.starts_with("[workspace"))
    };
    let locked = || {
        package
            .ancestors()
            .filter(|ancestor| ancestor.join("Cargo.lock").is_file())
    };
    let directory = locked().find(is_workspace).or_else(|| locked().next());
    Some(directory?.join("Cargo.lock"))
}

/// Returns true if the package comes from a registry or a repository. A lock file inside of such a
/// package is not the one of this build. Such packages are recognised by the file
/// `.cargo_vcs_info.json`, or by the option with which cargo silences their lints.
pub(super) fn is_dependency(package: &Path, mut arguments: impl Iterator<Item = String>) -> bool {
    package.join(".cargo_vcs_info.json").exists()
        || arguments.any(|argument| argument.starts_with("--cap-lints"))
}

/// Returns the SHA-256 of a file as `sha256sum` prints it, or `None` if the file cannot be read.
pub(super) fn hash_file(file: &Path) -> Option<String> {
    let content = fs::read(file).ok()?;
    Some(to_hex(&hmac_sha256::Hash::hash(&content)))
}

/// Returns the enabled features of the package that is being compiled, sorted. A macro runs in the
/// compiler's process, whose arguments name the features. The process of an editor has no such
/// arguments.
// Input:  `rustc … --cfg feature="cuda" --cfg feature="default" …`
// Output: `cuda,default`
pub(super) fn parse_features(arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut features = Vec::new();
    // Cargo passes a long command line in a file, as the argument `@file`.
    let arguments = arguments.flat_map(|argument| match argument.strip_prefix('@') {
        Some(file) => fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect(),
        None => vec![argument],
    });
    let mut is_cfg = false;
    for argument in arguments {
        let cfg = argument
            .strip_prefix("--cfg=")
            .or(is_cfg.then_some(&argument));
        if let Some(feature) = cfg
            .and_then(|cfg| cfg.strip_prefix("feature=\""))
            .and_then(|cfg| cfg.strip_suffix('"'))
        {
            features.push(feature.to_owned());
        }
        is_cfg = argument == "--cfg";
    }
    features.sort();
    (!features.is_empty()).then(|| features.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features_of(arguments: &[&str]) -> Option<String> {
        parse_features(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn features_stand_in_the_compilers_arguments() {
        let arguments = [
            "rustc",
            "--crate-name",
            "net",
            "--cfg",
            "feature=\"default\"",
            "--cfg",
            "tokio_unstable",
            "--cfg=feature=\"cuda\"",
            "--check-cfg",
            "cfg(feature, values(\"cuda\", \"mkl\", \"default\"))",
        ];
        assert_eq!(features_of(&arguments).as_deref(), Some("cuda,default"));
        assert_eq!(features_of(&["rust-analyzer-proc-macro-srv"]), None);
    }

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = folder.path().join("Cargo.lock");
        fs::write(&lock, "abc").expect("a file");
        let package = folder.path().join("crates/net");
        assert_eq!(find_lock_file(&package).as_ref(), Some(&lock));
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_file(&lock).as_deref(), Some(expected));
        assert_eq!(hash_file(&package), None);
    }

    #[test]
    fn the_old_lock_file_of_a_member_is_not_taken_for_the_workspaces() {
        let folder = tempfile::tempdir().expect("a folder");
        let member = folder.path().join("crates/net");
        fs::create_dir_all(&member).expect("a directory");
        fs::write(member.join("Cargo.toml"), "[package]\nname = \"net\"\n").expect("a file");
        fs::write(member.join("Cargo.lock"), "old").expect("a file");
        let nearest = member.join("Cargo.lock");
        assert_eq!(find_lock_file(&member), Some(nearest), "it is all there is");
        let root = folder.path();
        fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = []\n").expect("a file");
        fs::write(root.join("Cargo.lock"), "new").expect("a file");
        assert_eq!(find_lock_file(&member), Some(root.join("Cargo.lock")));
    }

    #[test]
    fn a_dependency_has_no_lock_file_of_this_build() {
        let folder = tempfile::tempdir().expect("a folder");
        let is_foreign = |arguments: &[&str]| {
            is_dependency(
                folder.path(),
                arguments.iter().map(|argument| (*argument).to_owned()),
            )
        };
        assert!(!is_foreign(&["rustc", "--crate-name", "net"]));
        assert!(is_foreign(&["rustc", "--cap-lints", "allow"]));
        fs::write(folder.path().join(".cargo_vcs_info.json"), "{}").expect("a file");
        assert!(is_foreign(&["rustc"]));
    }

    #[test]
    fn arguments_may_stand_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("arguments");
        fs::write(&file, "--cfg\nfeature=\"cuda\"\n").expect("a file");
        let argument = format!("@{}", file.display());
        assert_eq!(features_of(&["rustc", &argument]).as_deref(), Some("cuda"));
    }
}
