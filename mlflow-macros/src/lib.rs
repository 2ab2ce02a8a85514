//! The attributes of `mlflow-runtime`, documented there.
//!
//! Invariants:
//!
//! - **Three passes**, a folder each: `parse`, `analyze`, `expand`. Errors of all passes are collected; with an
//!   error the function is still emitted, as it stood. `build_info` finds out what the code is built from.
//! - **The body is never read.** It stays one group of tokens, with its own braces and their span.
//! - **Little is emitted**: a static, the captures, one call into `__private`, which is all that
//!   the macros know of the runtime.

mod analyze;
mod build_info;
mod errors;
mod expand;
mod parse;

#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod ui_tests;

use proc_macro::TokenStream;

/// Makes every call of a function a run.
#[proc_macro_attribute]
pub fn tracked(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::tracked::expand_tracked(
        arguments.into(),
        item.into(),
        build_info::current_build_info,
    )
    .into()
}

/// Logs how long a function takes, as a metric of the current run.
#[proc_macro_attribute]
pub fn timed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::timed::expand_timed(arguments.into(), item.into()).into()
}

/// How the code that is built differs from its commit.
#[proc_macro]
pub fn git_diff(arguments: TokenStream) -> TokenStream {
    build_info::git_diff(&arguments.into()).into()
}

/// What the code that is built was built from, as the runtime's `BuildInfo`; given the path of the runtime.
#[doc(hidden)]
#[proc_macro]
pub fn build_info(krate: TokenStream) -> TokenStream {
    build_info::current_build_info()
        .to_expression(&krate.into())
        .into()
}
