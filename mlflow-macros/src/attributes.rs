//! The attributes of an argument, taken apart.
//!
//! Invariants: a part stands under the same `cfg_attr`s as the whole; what cannot be parsed stays
//! whole, for the compiler to say so.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, MetaList, Token};

/// What makes the argument exist.
// Input:  `#[cfg(unix)] #[cfg_attr(test, cfg(windows), allow(unused))]`
// Output: `#[cfg(unix)] #[cfg_attr(test, cfg(windows))]`
pub(crate) fn conditions(attributes: &[Attribute]) -> Vec<Attribute> {
    parts(attributes, &|meta| only(meta, meta.path().is_ident("cfg")))
}

/// Takes out what the attributes say of lints.
pub(crate) fn take_lints(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    let lints = parts(attributes, &|meta| only(meta, is_lint(meta)));
    *attributes = parts(attributes, &|meta| only(meta, !is_lint(meta)));
    lints
}

fn parts(attributes: &[Attribute], part: &dyn Fn(&Meta) -> Vec<Meta>) -> Vec<Attribute> {
    let mut parts = Vec::new();
    for attribute in attributes {
        let metas = inside(&attribute.meta, part);
        parts.extend(metas.into_iter().map(|meta| Attribute {
            meta,
            ..attribute.clone()
        }));
    }
    parts
}

/// `part` of what is said, which may be inside of a `cfg_attr`.
fn inside(meta: &Meta, part: &dyn Fn(&Meta) -> Vec<Meta>) -> Vec<Meta> {
    let Meta::List(list) = meta else {
        return part(meta);
    };
    if !list.path.is_ident("cfg_attr") {
        return part(meta);
    }
    let Ok((predicate, metas)) = conditional.parse2(list.tokens.clone()) else {
        return vec![meta.clone()];
    };
    let metas: Vec<Meta> = metas.iter().flat_map(|meta| inside(meta, part)).collect();
    if metas.is_empty() {
        return Vec::new();
    }
    vec![with(list, quote!(#predicate, #(#metas),*))]
}

// Input:  `all(test, unix), cfg(a), allow(b)`
fn conditional(input: ParseStream<'_>) -> syn::Result<(TokenStream, Punctuated<Meta, Token![,]>)> {
    let mut predicate = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        predicate.extend([input.parse::<TokenTree>()?]);
    }
    input.parse::<Token![,]>()?;
    Ok((predicate, Punctuated::parse_terminated(input)?))
}

fn only(meta: &Meta, wanted: bool) -> Vec<Meta> {
    if wanted {
        vec![meta.clone()]
    } else {
        Vec::new()
    }
}

fn with(list: &MetaList, tokens: TokenStream) -> Meta {
    Meta::List(MetaList {
        tokens,
        ..list.clone()
    })
}

fn is_lint(meta: &Meta) -> bool {
    ["allow", "deny", "expect", "forbid", "warn"]
        .iter()
        .any(|level| meta.path().is_ident(level))
}
