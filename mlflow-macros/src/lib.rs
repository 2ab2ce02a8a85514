//! The attributes of `mlflow-runtime`, documented there.
//!
//! Invariants:
//!
//! - **Three passes**: parse (`item`, `arguments`), validate (`plan`), expand (`expand`). Errors of
//!   all passes are collected; with an error the function is still emitted, as it stood.
//! - **The body is never read.** It stays one group of tokens, with its own braces and their span.
//! - **Little is emitted**: a static, the captures, one call into `__private`, which is all that
//!   the macros know of the runtime.

mod arguments;
mod attributes;
mod body;
mod built;
mod captures;
mod doc_comment;
mod errors;
mod expand;
mod item;
mod key;
mod parameters;
mod paths;
mod plan;
mod shape;
mod sight;
mod template;
mod timed;

#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod ui_tests;

use proc_macro::TokenStream;

/// Makes every call of a function a run.
#[proc_macro_attribute]
pub fn tracked(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::tracked(arguments.into(), item.into(), built::of_this_build).into()
}

/// Logs how long a function takes, as a metric of the current run.
#[proc_macro_attribute]
pub fn timed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    timed::timed(arguments.into(), item.into()).into()
}

/// How the code that is built differs from its commit.
#[proc_macro]
pub fn git_diff(arguments: TokenStream) -> TokenStream {
    built::git_diff(&arguments.into()).into()
}

/// What the code that is built was built from, as the runtime's `Built`; given the path of the runtime.
#[doc(hidden)]
#[proc_macro]
pub fn built(krate: TokenStream) -> TokenStream {
    built::of_this_build().expression(&krate.into()).into()
}
