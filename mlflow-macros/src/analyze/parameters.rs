//! Arguments of the annotated function: their names, and their way into the body.
//!
//! Invariants: the body's closure or future owns every argument, whether or not the body names the
//! argument, and drops the arguments in the order in which a plain function drops them. An argument
//! that moves into the body is a plain name in the signature, and its pattern is bound at the
//! beginning of the body.
//!
//! A *binding* is a name that an argument's pattern binds. A *rebind* is the move of an argument
//! into the body.

use mlflow_rules::is_secret_name;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{
    Attribute, FieldPat, FnArg, Ident, Member, Pat, PatIdent, PatType, Receiver, ReceiverKind,
    Signature, Token, Type, TypePath,
};

use crate::analyze::cfg_and_lints::{allow_unused, extract_allowances, extract_cfgs, take_lints};
use crate::analyze::wrapping::{is_number, is_unit};
use crate::paths;

/// Argument with a pattern and a type; every argument but `self`.
pub(crate) struct Parameter {
    /// `#[cfg]` attributes of the argument, including those in a `cfg_attr`. Every statement that
    /// is emitted for the argument has these attributes.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) bindings: Vec<Binding>,
    /// Move of the argument from the signature into the body; `None` if the body uses the argument
    /// of the signature directly.
    pub(crate) rebind: Option<Rebind>,
    /// Names that the body's closure or future has to own.
    pub(crate) owned: Vec<Ident>,
    /// True if logging reads the argument.
    pub(crate) is_captured: bool,
}

impl Parameter {
    /// Returns the statements at the beginning of the body that bind the argument; `None` if the
    /// argument does not move.
    pub(crate) fn rebind_statements(&self, private: &TokenStream) -> Option<TokenStream> {
        let (rebind, cfgs) = (self.rebind.as_ref()?, &self.cfgs);
        let statements = rebind.statements(cfgs);
        if !(self.is_captured && rebind.is_name()) {
            return Some(statements);
        }
        let ident = &rebind.ident;
        Some(quote!(#statements #(#cfgs)* #private::mark_used(&#ident);))
    }

    /// Turns expectations that the argument is unused into allowances, if such an expectation could
    /// never be met. That is so if the expansion uses the argument: because logging reads the
    /// argument, or because the body's closure or future keeps it (`is_kept`).
    pub(crate) fn adjust_lints(&mut self, attributes: &mut Vec<Attribute>, is_kept: bool) {
        match &mut self.rebind {
            None if self.is_captured || is_kept => allow_unused(attributes),
            Some(rebind) if self.is_captured && rebind.is_name() => allow_unused(&mut rebind.lints),
            // Only the body binds and uses the argument.
            _ => {}
        }
    }
}

/// Choice of the arguments that move from the signature into the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MovedParameters {
    None,
    /// First argument that is not a plain name (or is an unused `_name`), and every argument after
    /// it. A closure or future keeps the names before it, which the compiler counts as a use of
    /// these names.
    FromFirstPattern,
    /// Every argument, as in an `async fn`. A future that is never polled drops the first argument
    /// first, and a future that ends drops the first argument last. Arguments that are only kept
    /// would be dropped in the same order in both cases. The moves cost the future the size of the
    /// arguments a second time.
    All,
}

/// Returns the number of arguments that may have a destructor.
pub(crate) fn count_with_destructor(signature: &Signature) -> usize {
    let have_destructor = signature.inputs.iter().map(|argument| match argument {
        FnArg::Receiver(receiver) => !is_reference(receiver),
        FnArg::Typed(argument) => {
            !matches!(&*argument.ty, Type::Reference(_) | Type::Ptr(_)) && !is_number(&argument.ty)
        }
    });
    have_destructor.filter(|has_one| *has_one).count()
}

/// Returns true for `&self`, `&mut self` and `self: &…`.
pub(crate) fn is_reference(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(..) => true,
        ReceiverKind::Typed(_, ty) => matches!(**ty, Type::Reference(_)),
        _ => false,
    }
}

/// Name that the pattern of an argument binds.
pub(crate) struct Binding {
    pub(crate) ident: Ident,
    /// Identifier as text, without `r#`.
    pub(crate) name: String,
    /// True if the declared type is a reference, so that logging reads the value behind it.
    pub(crate) is_reference: bool,
    /// True if the name is that of a secret, or if the value is taken out of a field with such a
    /// name.
    pub(crate) is_secret: bool,
    /// True if the declared type is a number or a `str`, or a reference to one, which is no dataset.
    pub(crate) is_scalar: bool,
}

/// Argument that is bound at the beginning of the body.
pub(crate) struct Rebind {
    pub(crate) ident: Ident,
    pub(crate) pattern: Pat,
    /// Lint attributes of the argument, which move along with the pattern.
    lints: Vec<Attribute>,
}

impl Rebind {
    /// Returns the `allow` attributes for the captures that read the argument.
    pub(crate) fn allowed_lints(&self) -> Vec<Attribute> {
        extract_allowances(&self.lints)
    }

    /// Returns true if the pattern is only a name.
    pub(crate) fn is_name(&self) -> bool {
        matches!(&self.pattern, Pat::Ident(pat) if pat.ident == self.ident)
    }

    // Input:  `(a, _)`
    // Output: `let __argument0 = __argument0; let (a, _) = __argument0;`, in two steps, so that the
    //         parts of the value that the pattern does not bind are dropped right after the bound ones
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
            // Clippy reports that a plain `let _name = …` has no effect.
            return quote!(#(#cfgs)* #(#lints)* let #pattern = #core::convert::identity(#ident););
        }
        // An argument's own pattern may borrow the argument mutably, but a variable has to be `mut`
        // for that.
        let mutability = find_ref_mut(pattern);
        quote!(#(#cfgs)* let #mutability #ident = #ident; #(#cfgs)* #(#lints)* let #pattern = #ident;)
    }
}

/// Returns the typed arguments of `signature`, in which a plain name replaces each pattern that
/// moves into the body.
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
        // `_: ()` does not move: there is nothing to drop, and Clippy would report the `_` in
        // `let _ = …` (it wants `()` there).
        let is_nothing = matches!(&*argument.pat, Pat::Wild(_)) && is_unit(&argument.ty);
        moved |= which == MovedParameters::FromFirstPattern && !is_plain && !is_nothing;
        parameters.push(extract_parameter(argument, index, moved && !is_nothing));
    }
    parameters
}

/// Returns the name if the pattern is only a name.
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

/// Returns true for a name like `_name`, which marks a variable as unused; Clippy reports a use of
/// such a variable.
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
            is_scalar: is_scalar(&argument.ty),
        },
        &mut bindings,
    );
    if !moved {
        // Nothing is dropped with a reference.
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
        // An argument's own pattern may borrow the argument mutably, but a variable has to be `mut`
        // for that.
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

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => is_scalar(&reference.elem),
        Type::Path(TypePath {
            qself: None, path, ..
        }) if path.is_ident("str") => true,
        ty => is_number(ty),
    }
}

/// Returns the `mut` of a `ref mut` that borrows from the argument itself.
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

/// Properties of the place in which a pattern stands.
#[derive(Clone, Copy)]
struct PatternContext {
    is_reference: bool,
    is_secret: bool,
    is_scalar: bool,
}

// Input:  `Point { x, inner: (ref a, _), .. }`
// Output: `x`, `a`
fn collect_bindings(pattern: &Pat, within: PatternContext, bindings: &mut Vec<Binding>) {
    let value = PatternContext {
        is_reference: false,
        is_scalar: false,
        ..within
    };
    match pattern {
        Pat::Ident(pat) => {
            let name = pat.ident.unraw().to_string();
            bindings.push(Binding {
                ident: pat.ident.clone(),
                is_reference: within.is_reference,
                is_secret: within.is_secret || is_secret_name(&name),
                is_scalar: within.is_scalar,
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

/// Returns `pattern` in a form that matches a reference to the value. Each name for which `wanted`
/// returns an identifier is bound by reference, to that identifier; every other name becomes `_`.
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
            // The span is that of the user's pattern. A pattern that does not fit the type is then
            // one error instead of two.
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
                    // The compiler warns about `x: x`.
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
        // Literals, ranges, paths and constants tell the cases of an or-pattern apart.
        Pat::Lit(_) | Pat::Range(_) | Pat::Path(_) | Pat::Const(_) => quote!(#pattern),
        Pat::Rest(_) => quote!(..),
        _ => quote!(_),
    }
}
