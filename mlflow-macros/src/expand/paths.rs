//! Paths that mean the same in a crate of every edition, whatever names it has at its root.
//!
//! Invariant: a path's edition is that of its first `::`, which is this crate's.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};

/// `::mlflow::__private`, or that of `crate = path`.
pub(crate) fn private_path(krate: Option<&syn::Path>) -> TokenStream {
    krate.map_or_else(
        || quote_spanned!(Span::mixed_site()=> ::mlflow::__private),
        |path| quote!(#path::__private),
    )
}

/// `::core`
pub(crate) fn core_path() -> TokenStream {
    quote_spanned!(Span::mixed_site()=> ::core)
}

/// `::std`
pub(crate) fn std_path() -> TokenStream {
    quote_spanned!(Span::mixed_site()=> ::std)
}
