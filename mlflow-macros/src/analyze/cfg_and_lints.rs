//! Attributes of an argument, separated into conditions (`cfg`) and lints.
//!
//! Invariants: a part stands under the same `cfg_attr`s as the whole attribute. An attribute that
//! cannot be parsed is kept whole, so that the compiler reports the error.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Attribute, Meta, MetaList, Token};

/// Returns the `cfg` attributes, on which the existence of the argument depends.
// Input:  `#[cfg(unix)] #[cfg_attr(test, cfg(windows), allow(unused))]`
// Output: `#[cfg(unix)] #[cfg_attr(test, cfg(windows))]`
pub(crate) fn extract_cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    flat_map_attributes(attributes, &|meta| {
        keep_if(meta, meta.path().is_ident("cfg"))
    })
}

/// Returns the lint attributes, for the place where the argument is bound. The compiler still finds
/// the argument's name in the signature. So the lint attributes stay there, too, with every
/// `expect` turned into an `allow`.
pub(crate) fn take_lints(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    let lints = flat_map_attributes(attributes, &|meta| keep_if(meta, is_lint(meta)));
    *attributes = flat_map_attributes(attributes, &|meta| match as_expect_list(meta) {
        Some(list) => vec![to_allow_meta(list)],
        None => vec![meta.clone()],
    });
    lints
}

/// Returns `allow` attributes for all lints that the attributes allow or expect.
// Input:  `#[expect(deprecated)] #[deny(unused)]`
// Output: `#[allow(deprecated)]`
pub(crate) fn extract_allowances(attributes: &[Attribute]) -> Vec<Attribute> {
    flat_map_attributes(attributes, &|meta| match as_expect_list(meta) {
        Some(list) => vec![to_allow_meta(list)],
        None => keep_if(meta, meta.path().is_ident("allow")),
    })
}

/// Turns an expectation that the argument is unused into an allowance, as logging uses the
/// argument.
// Input:  `#[expect(unused_variables, unused_mut, reason = "later")]`
// Output: `#[allow(unused_variables, reason = "later")] #[expect(unused_mut, reason = "later")]`
pub(crate) fn allow_unused(attributes: &mut Vec<Attribute>) {
    *attributes = flat_map_attributes(attributes, &allow_unused_in_meta);
}

fn flat_map_attributes(
    attributes: &[Attribute],
    part: &dyn Fn(&Meta) -> Vec<Meta>,
) -> Vec<Attribute> {
    let mut parts = Vec::new();
    for attribute in attributes {
        let metas = flat_map_meta(&attribute.meta, part);
        parts.extend(metas.into_iter().map(|meta| Attribute {
            meta,
            ..attribute.clone()
        }));
    }
    parts
}

/// Applies `part` to the attribute, or to each attribute inside of a `cfg_attr`.
fn flat_map_meta(meta: &Meta, part: &dyn Fn(&Meta) -> Vec<Meta>) -> Vec<Meta> {
    let Meta::List(list) = meta else {
        return part(meta);
    };
    if !list.path.is_ident("cfg_attr") {
        return part(meta);
    }
    let Ok((predicate, metas)) = parse_cfg_attr.parse2(list.tokens.clone()) else {
        return vec![meta.clone()];
    };
    let metas: Vec<Meta> = metas
        .iter()
        .flat_map(|meta| flat_map_meta(meta, part))
        .collect();
    if metas.is_empty() {
        return Vec::new();
    }
    vec![Meta::List(with_tokens(
        list,
        quote!(#predicate, #(#metas),*),
    ))]
}

// Input:  `all(test, unix), cfg(a), allow(b)`
fn parse_cfg_attr(
    input: ParseStream<'_>,
) -> syn::Result<(TokenStream, Punctuated<Meta, Token![,]>)> {
    let mut predicate = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        predicate.extend([input.parse::<TokenTree>()?]);
    }
    input.parse::<Token![,]>()?;
    Ok((predicate, Punctuated::parse_terminated(input)?))
}

fn keep_if(meta: &Meta, wanted: bool) -> Vec<Meta> {
    if wanted {
        vec![meta.clone()]
    } else {
        Vec::new()
    }
}

fn with_tokens(list: &MetaList, tokens: TokenStream) -> MetaList {
    MetaList {
        tokens,
        ..list.clone()
    }
}

fn is_lint(meta: &Meta) -> bool {
    ["allow", "deny", "expect", "forbid", "warn"]
        .iter()
        .any(|level| meta.path().is_ident(level))
}

/// Returns the list of an `expect(…)` attribute; `None` for every other attribute.
fn as_expect_list(meta: &Meta) -> Option<&MetaList> {
    match meta {
        Meta::List(list) if list.path.is_ident("expect") => Some(list),
        _ => None,
    }
}

/// Returns an `expect(…)` attribute as `allow(…)`.
fn to_allow_meta(expect: &MetaList) -> Meta {
    Meta::List(MetaList {
        path: Ident::new("allow", expect.path.span()).into(),
        ..expect.clone()
    })
}

fn allow_unused_in_meta(meta: &Meta) -> Vec<Meta> {
    let unchanged = || vec![meta.clone()];
    let Some(list) = as_expect_list(meta) else {
        return unchanged();
    };
    let Ok(said) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return unchanged();
    };
    let (reasons, lints): (Vec<_>, Vec<_>) = said
        .into_iter()
        .partition(|meta| matches!(meta, Meta::NameValue(_)));
    let (unused, others): (Vec<_>, Vec<_>) = lints.into_iter().partition(is_unused_lint);
    if unused.is_empty() {
        return unchanged();
    }
    let mut parts = vec![to_allow_meta(&with_tokens(
        list,
        quote!(#(#unused,)* #(#reasons),*),
    ))];
    if !others.is_empty() {
        let others = with_tokens(list, quote!(#(#others,)* #(#reasons),*));
        parts.push(Meta::List(others));
    }
    parts
}

/// Returns true for the lints that report a variable as unused or never read.
fn is_unused_lint(lint: &Meta) -> bool {
    ["unused", "unused_assignments", "unused_variables"]
        .iter()
        .any(|name| lint.path().is_ident(name))
}
