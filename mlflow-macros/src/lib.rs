//! Procedural macros of `mlflow-runtime`, which re-exports and documents them.
//!
//! Invariants:
//!
//! - **Three passes**, one folder each: `parse` reads the attribute and the function, `analyze`
//!   validates both and decides what to log, `expand` writes the new function. The errors of all
//!   passes are collected and reported together. If there is an error, the function is still
//!   emitted unchanged.
//! - **The body is never parsed**, except for its inner attributes. The body stays one group of
//!   tokens, with its own braces and their span.
//! - **Little is emitted**: a static, the captures, and one call into `__private`. That module is
//!   all that the macros know of the runtime.
//!
//! `build_info` finds out which commit, lock file and features the code is built from.

mod analyze;
mod build_info;
mod errors;
mod expand;
mod parse;
mod paths;

#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod ui_tests;

use proc_macro::TokenStream;

/// Turns every call of a function into a run.
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

/// Expands to the difference between the code that is built and its commit.
#[proc_macro]
pub fn git_diff(arguments: TokenStream) -> TokenStream {
    build_info::git_diff(&arguments.into()).into()
}

/// Expands to the runtime's `BuildInfo` of the package that is being compiled. The argument is the
/// path of the runtime.
#[doc(hidden)]
#[proc_macro]
pub fn build_info(krate: TokenStream) -> TokenStream {
    build_info::current_build_info()
        .to_expression(&krate.into())
        .into()
}
