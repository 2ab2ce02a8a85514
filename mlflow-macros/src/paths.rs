//! Absolute paths that mean the same in a crate of every edition, whatever names the crate has at
//! its root.
//!
//! Invariant: the compiler takes a path's edition from the first `::`, which has this crate's
//! edition here.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};

/// Returns `::mlflow::__private`, or `path::__private` for the argument `crate = path`.
pub(crate) fn private_path(krate: Option<&syn::Path>) -> TokenStream {
    krate.map_or_else(
        || quote_spanned!(Span::mixed_site()=> ::mlflow::__private),
        |path| quote!(#path::__private),
    )
}

/// Returns `::core`.
pub(crate) fn core_path() -> TokenStream {
    quote_spanned!(Span::mixed_site()=> ::core)
}

/// Returns `::std`.
pub(crate) fn std_path() -> TokenStream {
    quote_spanned!(Span::mixed_site()=> ::std)
}
