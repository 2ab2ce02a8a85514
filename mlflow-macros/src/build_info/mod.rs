//! Build information: the commit, the lock file and the features that the code is built from.
//!
//! Invariants:
//!
//! - The information is looked up once per compiler process and package, however many functions are
//!   annotated.
//! - Environment variables take precedence over the repository.
//! - Information that cannot be found is absent, and nothing fails.
//! - Credentials are never included.
//! - One function of each package names the files and variables to the compiler, so that the
//!   package is rebuilt when HEAD moves.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mlflow_rules::git::{self, GitInfo, Repository};
use proc_macro2::TokenStream;
use quote::quote;

mod cargo;
mod git_diff;

pub(crate) use git_diff::git_diff;

use crate::paths;

/// Information about the build of a package.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BuildInfo {
    pub(crate) git: GitInfo,
    /// SHA-256 of `Cargo.lock`, in hexadecimal.
    pub(crate) lock: Option<String>,
    /// Enabled features of the package, separated by commas.
    pub(crate) features: Option<String>,
    /// Files that change when the other fields do; `None` for all but the first function of the
    /// package.
    pub(crate) watched_files: Option<Vec<PathBuf>>,
}

/// Returns the build information of the package that is being compiled. Only the first call for a
/// package returns `watched_files`.
pub(crate) fn current_build_info() -> BuildInfo {
    static KNOWN: Mutex<BTreeMap<PathBuf, BuildInfo>> = Mutex::new(BTreeMap::new());
    let Some(directory) = package_directory() else {
        return BuildInfo::default();
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(build_info) = known.get(&directory) {
        return build_info.clone();
    }
    let build_info = find_build_info(&directory);
    known.insert(
        directory,
        BuildInfo {
            watched_files: None,
            ..build_info.clone()
        },
    );
    build_info
}

/// Returns the directory of the package that is being compiled.
fn package_directory() -> Option<PathBuf> {
    env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)
}

fn find_build_info(package: &Path) -> BuildInfo {
    let repository = Repository::discover(package);
    let found = repository
        .as_ref()
        .map(|repository| repository.read_info(package))
        .unwrap_or_default();
    let lock = (!cargo::is_dependency(package, env::args()))
        .then(|| cargo::find_lock_file(package))
        .flatten();
    let mut watched = repository.map_or_else(Vec::new, |repository| repository.files_to_watch());
    watched.extend(lock.iter().filter_map(|file| file.canonicalize().ok()));
    BuildInfo {
        git: GitInfo::from_variables(&git::read_variable).or(found),
        lock: lock.and_then(|file| cargo::hash_file(&file)),
        features: cargo::parse_features(env::args()),
        watched_files: Some(watched),
    }
}

impl BuildInfo {
    // Output: `BuildInfo { commit: Some("…"), branch: None, url: None, dirty: Some(false), … }`
    pub(crate) fn to_tokens_if_known(&self, private: &TokenStream) -> Option<TokenStream> {
        let Self {
            git:
                GitInfo {
                    commit,
                    branch,
                    url,
                    dirty,
                },
            lock,
            features,
            watched_files: _,
        } = self;
        let texts = [commit, branch, url, lock, features];
        if texts.iter().all(|text| text.is_none()) {
            return None;
        }
        let [commit, branch, url, lock, features] = texts.map(|text| quote_option(text.as_ref()));
        let dirty = quote_option(dirty.as_ref());
        Some(quote! {
            #private::BuildInfo {
                commit: #commit, branch: #branch, url: #url, dirty: #dirty, lock: #lock, features: #features,
            }
        })
    }

    /// Returns the information as an expression, even if nothing is known.
    // Output: `{ const _: &[u8] = include_bytes!("…/.git/HEAD"); mlflow::__private::BuildInfo { … } }`
    pub(crate) fn to_expression(&self, krate: &TokenStream) -> TokenStream {
        let private = quote!(#krate::__private);
        let build_info = self.to_tokens_if_known(&private);
        let build_info = build_info.unwrap_or_else(|| quote!(#private::BuildInfo::ABSENT));
        let watch = self.rebuild_triggers();
        quote!({ #watch #build_info })
    }

    /// Returns constants that name to the compiler the files and variables on which the result
    /// depends. An unused constant adds no bytes to the program. But the compiler records the value
    /// of each variable, so no variable is named that may hold a credential.
    // Output: `const _: &[u8] = include_bytes!("…/.git/HEAD");`
    pub(crate) fn rebuild_triggers(&self) -> TokenStream {
        let Some(watched) = &self.watched_files else {
            return TokenStream::new();
        };
        let files = watched.iter().filter_map(|file| file.to_str());
        let variables = git::COMMIT_VARIABLES.iter().chain(&git::BRANCH_VARIABLES);
        let core = paths::core_path();
        quote! {
            #(const _: &[#core::primitive::u8] = #core::include_bytes!(#files);)*
            #(const _: #core::option::Option<&#core::primitive::str> = #core::option_env!(#variables);)*
        }
    }
}

fn quote_option<T: quote::ToTokens>(value: Option<&T>) -> TokenStream {
    let core = paths::core_path();
    value.map_or_else(
        || quote!(#core::option::Option::None),
        |value| quote!(#core::option::Option::Some(#value)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards credentials: GitLab's `CI_REPOSITORY_URL` contains the job's token, and the
    /// compiler's records of a build are kept in caches.
    #[test]
    fn no_variable_is_noted_that_may_hold_a_credential() {
        let build_info = BuildInfo {
            watched_files: Some(Vec::new()),
            ..BuildInfo::default()
        };
        let watch = build_info.rebuild_triggers().to_string();
        assert!(watch.contains("GIT_COMMIT") && watch.contains("GIT_BRANCH"));
        for variable in git::URL_VARIABLES.iter().chain(&git::GITHUB_VARIABLES) {
            assert!(!watch.contains(variable), "{variable}");
        }
    }
}
