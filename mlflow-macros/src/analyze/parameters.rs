//! The function's own arguments: what they are called, and how the body comes by them.
//!
//! Invariants: every argument is owned by the body's closure or future, whether or not the body
//! names it, and dropped in the order a plain function drops them. What is moved into the body is
//! bound where that begins, and a plain name in the signature.

use mlflow_rules::is_secret_name;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{
    Attribute, FieldPat, FnArg, Ident, Member, Pat, PatIdent, PatType, Signature, Token, Type,
};

use crate::analyze::cfg_and_lints::{allow_unused, extract_allowances, extract_cfgs, take_lints};
use crate::analyze::wrapping::{is_number, is_unit};
use crate::expand::paths;

/// One typed argument.
pub(crate) struct Parameter {
    /// Its `#[cfg]`s, also those in a `cfg_attr`, which go onto every statement made for it.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) bindings: Vec<Binding>,
    /// Moves it from the signature into the body; `None` if the body sees it as it is.
    pub(crate) rebind: Option<Rebind>,
    /// What the body's closure or future has to own.
    pub(crate) owned: Vec<Ident>,
    /// Whether logging looks at it.
    pub(crate) is_captured: bool,
}

impl Parameter {
    /// The statements at the body's beginning that bind it.
    pub(crate) fn rebind_statements(&self, private: &TokenStream) -> Option<TokenStream> {
        let (rebind, cfgs) = (self.rebind.as_ref()?, &self.cfgs);
        let statements = rebind.statements(cfgs);
        if !(self.is_captured && rebind.is_name()) {
            return Some(statements);
        }
        let ident = &rebind.ident;
        Some(quote!(#statements #(#cfgs)* #private::mark_used(&#ident);))
    }

    /// Where the expansion uses an argument, because it is logged or because it `is_kept` by the
    /// body's closure or future, an expectation that it is unused would never be met.
    pub(crate) fn adjust_lints(&mut self, attributes: &mut Vec<Attribute>, is_kept: bool) {
        match &mut self.rebind {
            None if self.is_captured || is_kept => allow_unused(attributes),
            Some(rebind) if self.is_captured && rebind.is_name() => allow_unused(&mut rebind.lints),
            // The body binds it, and is all that uses it.
            _ => {}
        }
    }
}

/// Which arguments move from the signature into the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MovedParameters {
    None,
    /// The names before it are kept by a closure, which to the compiler is a use of them.
    FromFirstPattern,
    /// As an `async fn` does: a future that is never polled drops the first argument first, one that
    /// ends drops it last, and what is kept would be dropped in one order. It costs the future their
    /// size once more.
    All,
}

/// How many arguments may have a destructor.
pub(crate) fn count_with_destructor(signature: &Signature) -> usize {
    let types = signature.inputs.iter().map(|argument| match argument {
        FnArg::Receiver(receiver) => &*receiver.ty,
        FnArg::Typed(argument) => &*argument.ty,
    });
    types
        .filter(|ty| !matches!(ty, Type::Reference(_) | Type::Ptr(_)) && !is_number(ty))
        .count()
}

/// A name the argument's pattern binds.
pub(crate) struct Binding {
    pub(crate) ident: Ident,
    /// Without `r#`.
    pub(crate) name: String,
    /// Whether it is a reference by its declared type, so that the value behind it is looked at.
    pub(crate) is_reference: bool,
    /// Whether its name is a secret's, or that of a field it is taken out of.
    pub(crate) is_secret: bool,
}

/// An argument that is bound at the beginning of the body.
pub(crate) struct Rebind {
    pub(crate) ident: Ident,
    pub(crate) pattern: Pat,
    /// What the argument says of lints; it goes along with the pattern.
    lints: Vec<Attribute>,
}

impl Rebind {
    /// Returns the lints that a look at the argument has to allow, too.
    pub(crate) fn allowed_lints(&self) -> Vec<Attribute> {
        extract_allowances(&self.lints)
    }

    /// Whether the pattern is just a name.
    pub(crate) fn is_name(&self) -> bool {
        matches!(&self.pattern, Pat::Ident(pat) if pat.ident == self.ident)
    }

    // Input:  `(a, _)`
    // Output: `let __argument0 = __argument0; let (a, _) = __argument0;`, in two steps so that what
    //         the pattern leaves behind is dropped right after what it binds
    fn statements(&self, cfgs: &[Attribute]) -> TokenStream {
        let Self {
            ident,
            pattern,
            lints,
        } = self;
        if self.is_name() {
            return quote!(#(#cfgs)* #(#lints)* let #pattern = #ident;);
        }
        if as_plain_ident(pattern).is_some() {
            let core = paths::core_path();
            // Clippy finds that a plain `let _name = …` has no effect.
            return quote!(#(#cfgs)* #(#lints)* let #pattern = #core::convert::identity(#ident););
        }
        // An argument may be borrowed mutably by its own pattern, a variable has to say so.
        let mutability = find_ref_mut(pattern);
        quote!(#(#cfgs)* let #mutability #ident = #ident; #(#cfgs)* #(#lints)* let #pattern = #ident;)
    }
}

/// The typed arguments of `signature`, which is changed where a pattern moves into the body.
pub(crate) fn extract_parameters(
    signature: &mut Signature,
    which: MovedParameters,
) -> Vec<Parameter> {
    let mut moved = which == MovedParameters::All;
    let mut parameters = Vec::new();
    for (index, argument) in signature.inputs.iter_mut().enumerate() {
        let FnArg::Typed(argument) = argument else {
            continue;
        };
        let is_plain = as_plain_ident(&argument.pat).is_some_and(|name| !is_unused(name));
        // There is nothing to drop, and clippy wants a `()` where it is bound to `_`.
        let is_nothing = matches!(&*argument.pat, Pat::Wild(_)) && is_unit(&argument.ty);
        moved |= which == MovedParameters::FromFirstPattern && !is_plain && !is_nothing;
        parameters.push(extract_parameter(argument, index, moved && !is_nothing));
    }
    parameters
}

/// The name, if the pattern is no more than one.
pub(crate) fn as_plain_ident(pattern: &Pat) -> Option<&Ident> {
    match pattern {
        Pat::Ident(PatIdent {
            by_ref: None,
            subpat: None,
            ident,
            ..
        }) => Some(ident),
        _ => None,
    }
}

/// `_name` says that nobody uses it, and clippy holds us to that.
pub(crate) fn is_unused(name: &Ident) -> bool {
    name.to_string().starts_with('_')
}

fn extract_parameter(argument: &mut PatType, index: usize, moved: bool) -> Parameter {
    let cfgs = extract_cfgs(&argument.attrs);
    let mut bindings = Vec::new();
    collect_bindings(
        &argument.pat,
        PatternContext {
            is_reference: matches!(*argument.ty, Type::Reference(_)),
            is_secret: false,
        },
        &mut bindings,
    );
    if !moved {
        // Of a reference nothing is dropped.
        let owned = bindings
            .iter()
            .filter(|binding: &&Binding| !binding.is_reference);
        let owned = owned.map(|binding| binding.ident.clone()).collect();
        return Parameter {
            cfgs,
            bindings,
            rebind: None,
            owned,
            is_captured: false,
        };
    }
    let ident = match as_plain_ident(&argument.pat) {
        Some(name) if !is_unused(name) => name.clone(),
        _ => format_ident!("__argument{}", index, span = Span::mixed_site()),
    };
    let plain = Pat::Ident(PatIdent {
        attrs: Vec::new(),
        by_ref: None,
        // An argument may be borrowed mutably by its own pattern, a variable has to say so.
        mutability: find_ref_mut(&argument.pat),
        ident: ident.clone(),
        subpat: None,
    });
    let pattern = std::mem::replace(&mut *argument.pat, plain);
    let lints = take_lints(&mut argument.attrs);
    Parameter {
        cfgs,
        bindings,
        rebind: Some(Rebind {
            ident,
            pattern,
            lints,
        }),
        owned: Vec::new(),
        is_captured: false,
    }
}

/// The `mut` of a `ref mut` that borrows from the argument itself.
fn find_ref_mut(pattern: &Pat) -> Option<Token![mut]> {
    match pattern {
        Pat::Ident(PatIdent {
            by_ref: Some(_),
            mutability: Some(mutability),
            ..
        }) => Some(*mutability),
        Pat::Ident(PatIdent {
            subpat: Some((_, inner)),
            ..
        }) => find_ref_mut(inner),
        Pat::Tuple(pat) => pat.elems.iter().find_map(find_ref_mut),
        Pat::TupleStruct(pat) => pat.elems.iter().find_map(find_ref_mut),
        Pat::Slice(pat) => pat.elems.iter().find_map(find_ref_mut),
        Pat::Struct(pat) => pat.fields.iter().find_map(|field| find_ref_mut(&field.pat)),
        Pat::Paren(pat) => find_ref_mut(&pat.pat),
        Pat::Or(pat) => pat.cases.iter().find_map(find_ref_mut),
        _ => None,
    }
}

/// Where a pattern stands.
#[derive(Clone, Copy)]
struct PatternContext {
    is_reference: bool,
    is_secret: bool,
}

// Input:  `Point { x, inner: (ref a, _), .. }`
// Output: `x`, `a`
fn collect_bindings(pattern: &Pat, within: PatternContext, bindings: &mut Vec<Binding>) {
    let value = PatternContext {
        is_reference: false,
        ..within
    };
    match pattern {
        Pat::Ident(pat) => {
            let name = pat.ident.unraw().to_string();
            bindings.push(Binding {
                ident: pat.ident.clone(),
                is_reference: within.is_reference,
                is_secret: within.is_secret || is_secret_name(&name),
                name,
            });
            if let Some((_, inner)) = &pat.subpat {
                collect_bindings(inner, value, bindings);
            }
        }
        Pat::Tuple(pat) => pat
            .elems
            .iter()
            .for_each(|inner| collect_bindings(inner, value, bindings)),
        Pat::TupleStruct(pat) => pat
            .elems
            .iter()
            .for_each(|inner| collect_bindings(inner, value, bindings)),
        Pat::Slice(pat) => pat
            .elems
            .iter()
            .for_each(|inner| collect_bindings(inner, value, bindings)),
        Pat::Struct(pat) => {
            for field in &pat.fields {
                let of_field = matches!(&field.member, Member::Named(name) if is_secret_name(&name.unraw().to_string()));
                let within = PatternContext {
                    is_secret: within.is_secret || of_field,
                    ..value
                };
                collect_bindings(&field.pat, within, bindings);
            }
        }
        Pat::Reference(pat) => collect_bindings(&pat.pat, value, bindings),
        Pat::Paren(pat) => collect_bindings(&pat.pat, within, bindings),
        Pat::Type(pat) => collect_bindings(&pat.pat, within, bindings),
        // Every case binds the same names.
        Pat::Or(pat) => pat
            .cases
            .first()
            .into_iter()
            .for_each(|first| collect_bindings(first, value, bindings)),
        _ => {}
    }
}

/// `pattern` for a look at the value through a reference: binds what `wanted` gives a name, by reference.
// Input:  `(mut a, ref b, &c, d)`, all but `d` wanted
// Output: `(a, b, c, _)`
pub(crate) fn to_reference_pattern(
    pattern: &Pat,
    wanted: &dyn Fn(&Ident) -> Option<Ident>,
) -> TokenStream {
    let all = |patterns: &syn::punctuated::Punctuated<Pat, Token![,]>| -> Vec<TokenStream> {
        patterns
            .iter()
            .map(|inner| to_reference_pattern(inner, wanted))
            .collect()
    };
    match pattern {
        Pat::Ident(pat) => {
            let inner = pat
                .subpat
                .as_ref()
                .map(|(_, inner)| to_reference_pattern(inner, wanted));
            match (wanted(&pat.ident), inner) {
                (Some(ident), Some(inner)) => quote!(#ident @ #inner),
                (Some(ident), None) => quote!(#ident),
                (None, Some(inner)) => inner,
                (None, None) => quote!(_),
            }
        }
        Pat::Tuple(pat) => {
            let inner = all(&pat.elems);
            // Where the user's is: of a pattern that does not fit, both are one error then.
            quote_spanned!(pat.paren_token.span.join()=> (#(#inner,)*))
        }
        Pat::TupleStruct(pat) => {
            let (path, inner) = (&pat.path, all(&pat.elems));
            quote!(#path(#(#inner),*))
        }
        Pat::Slice(pat) => {
            let inner = all(&pat.elems);
            quote!([#(#inner),*])
        }
        Pat::Struct(pat) => {
            let (path, rest) = (&pat.path, &pat.rest);
            let fields = pat.fields.iter().map(
                |FieldPat {
                     attrs,
                     member,
                     colon_token,
                     pat,
                 }| {
                    let inner = to_reference_pattern(pat, wanted);
                    // `x: x` is a warning.
                    let is_short = colon_token.is_none()
                        && matches!(&**pat, Pat::Ident(pat) if wanted(&pat.ident).is_some());
                    if is_short {
                        quote!(#(#attrs)* #inner)
                    } else {
                        quote!(#(#attrs)* #member: #inner)
                    }
                },
            );
            quote!(#path { #(#fields,)* #rest })
        }
        Pat::Reference(pat) => to_reference_pattern(&pat.pat, wanted),
        Pat::Paren(pat) => {
            let inner = to_reference_pattern(&pat.pat, wanted);
            match &*pat.pat {
                Pat::Or(_) => quote!((#inner)),
                _ => inner,
            }
        }
        Pat::Or(pat) => {
            let cases = pat
                .cases
                .iter()
                .map(|case| to_reference_pattern(case, wanted));
            quote!(#(#cases)|*)
        }
        // They tell the cases of an or-pattern apart.
        Pat::Lit(_) | Pat::Range(_) | Pat::Path(_) | Pat::Const(_) => quote!(#pattern),
        Pat::Rest(_) => quote!(..),
        _ => quote!(_),
    }
}
