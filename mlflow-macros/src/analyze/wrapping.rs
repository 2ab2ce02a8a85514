//! Choice of the way in which a function's body is wrapped.
//!
//! Invariant: a body whose meaning would change in a closure is not put into one.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, GenericArgument, PathArguments, PathSegment, ReturnType, Signature, Type, TypeInfer,
    TypeParamBound, TypePath,
};

/// Way to wrap a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wrapping {
    /// Closure that contains the body.
    Closure,
    /// Guard before a body that is not wrapped: for `-> !`, for `#[track_caller]`, and for
    /// `-> impl Fn` (also in a tuple), as a returned closure infers its signature from the return
    /// type.
    Guard,
    /// `async fn` that becomes a function which returns the future, so that the caller's run is
    /// known.
    Async,
    /// `async fn` that has to stay one, as another attribute below requires it.
    AsyncPreserved,
    /// Function with `-> impl Future`.
    ImplFuture,
    /// Function with `-> Pin<Box<dyn Future>>`.
    BoxedFuture,
    /// Either `BoxedFuture` or `Closure`, decided by the compiler from the return type: a type's
    /// name may be an alias of a boxed future, such as `BoxFuture`.
    ByReturnType,
}

/// Attributes that do not depend on the kind of function on which they stand.
const INERT_ATTRIBUTES: [&str; 23] = [
    "allow",
    "cfg",
    "cfg_attr",
    "clippy",
    "cold",
    "deny",
    "deprecated",
    "diagnostic",
    "doc",
    "expect",
    "export_name",
    "forbid",
    "ignore",
    "inline",
    "link_section",
    "must_use",
    "no_mangle",
    "optimize",
    "rustfmt",
    "should_panic",
    "target_feature",
    "unsafe",
    "warn",
];

/// Names of return types that are no boxed future.
const NON_FUTURE_TYPES: [&str; 24] = [
    "Arc",
    "Box",
    "HashMap",
    "Option",
    "Rc",
    "Result",
    "Self",
    "String",
    "Vec",
    "bool",
    "char",
    "f32",
    "f64",
    "i8",
    "i16",
    "i32",
    "i64",
    "isize",
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
    "Infallible",
];

pub(crate) fn choose_wrapping(signature: &Signature, attributes: &[Attribute]) -> Wrapping {
    let has_track_caller = attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("track_caller"));
    if signature.asyncness.is_some() {
        let all_inert = attributes.iter().all(|attribute| {
            attribute
                .path()
                .segments
                .first()
                .is_some_and(|first| INERT_ATTRIBUTES.iter().any(|name| first.ident == name))
        });
        return if all_inert {
            Wrapping::Async
        } else {
            Wrapping::AsyncPreserved
        };
    }
    let ReturnType::Type(_, returned) = &signature.output else {
        return if has_track_caller {
            Wrapping::Guard
        } else {
            Wrapping::Closure
        };
    };
    match &**returned {
        _ if has_track_caller => Wrapping::Guard,
        returned if is_never(returned) || is_impl_fn(returned) => Wrapping::Guard,
        returned if is_impl_future(returned) => Wrapping::ImplFuture,
        returned if is_boxed_future(returned) => Wrapping::BoxedFuture,
        returned if may_be_alias(returned) => Wrapping::ByReturnType,
        _ => Wrapping::Closure,
    }
}

/// Returns the type inside of parentheses, and of the groups without delimiters that `macro_rules!`
/// puts around a `$type`.
fn strip_groups(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => strip_groups(&group.elem),
        Type::Paren(paren) => strip_groups(&paren.elem),
        other => other,
    }
}

pub(crate) fn is_never(ty: &Type) -> bool {
    matches!(strip_groups(ty), Type::Never(_))
}

pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(strip_groups(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Returns true for an `impl Future` whose other bounds hold for the tracked future whenever they
/// hold for the body's future.
fn is_impl_future(ty: &Type) -> bool {
    let Type::ImplTrait(opaque) = strip_groups(ty) else {
        return false;
    };
    let mut future = false;
    opaque.bounds.iter().all(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|last| {
            future |= last.ident == "Future";
            [
                "Future",
                "Send",
                "Sync",
                "Unpin",
                "UnwindSafe",
                "RefUnwindSafe",
                "Sized",
            ]
            .iter()
            .any(|name| last.ident == name)
        }),
        _ => true,
    }) && future
}

/// Returns the `T` of `impl Future<Output = T>`.
pub(crate) fn output_of(ty: &Type) -> Option<&Type> {
    match strip_groups(ty) {
        Type::ImplTrait(opaque) => output_in(&opaque.bounds),
        _ => None,
    }
}

/// Returns the `T` of `Future<Output = T>` among these bounds.
fn output_in(bounds: &Punctuated<TypeParamBound, syn::Token![+]>) -> Option<&Type> {
    let segments = bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let mut arguments = segments.filter_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    });
    arguments.find_map(|arguments| {
        arguments.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(assigned) if assigned.ident == "Output" => {
                Some(&assigned.ty)
            }
            _ => None,
        })
    })
}

fn is_impl_fn(ty: &Type) -> bool {
    let opaque = match strip_groups(ty) {
        Type::ImplTrait(opaque) => opaque,
        Type::Reference(reference) => return is_impl_fn(&reference.elem),
        Type::Tuple(tuple) => return tuple.elems.iter().any(is_impl_fn),
        _ => return false,
    };
    let mut paths = opaque.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    paths.any(|last| matches!(last.arguments, PathArguments::Parenthesized(_)))
}

fn is_boxed_future(ty: &Type) -> bool {
    only_argument(ty, "Pin")
        .and_then(|ty| only_argument(ty, "Box"))
        .is_some_and(is_dyn_future)
}

/// Returns true for a boxed future without `Pin`, such as `Box<dyn Future + Unpin>`.
fn is_unpinned_future(ty: &Type) -> bool {
    only_argument(ty, "Box").is_some_and(is_dyn_future)
}

fn is_dyn_future(ty: &Type) -> bool {
    let Type::TraitObject(object) = strip_groups(ty) else {
        return false;
    };
    object.bounds.iter().any(|bound| {
        matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Future"))
    })
}

/// Returns true for a name that may be an alias of a boxed future. Names of the standard library
/// are taken to be the types of that library, which saves the compiler the decision in nearly every
/// function.
fn may_be_alias(ty: &Type) -> bool {
    let Type::Path(TypePath {
        qself: None, path, ..
    }) = strip_groups(ty)
    else {
        return false;
    };
    let is_known = path
        .segments
        .last()
        .is_some_and(|last| NON_FUTURE_TYPES.iter().any(|name| last.ident == name));
    (!is_known || is_unpinned_future(ty)) && !has_impl(quote!(#ty))
}

/// Returns true if the type contains an `impl Trait`, which can be written only in a signature.
fn has_impl(ty: TokenStream) -> bool {
    ty.into_iter().any(|tree| match tree {
        TokenTree::Ident(word) => word == "impl",
        TokenTree::Group(group) => has_impl(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

// Input:  `::std::pin::Pin<X>`, `Pin`
// Output: `X`
fn only_argument<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let segment = last_segment(ty)?;
    if segment.ident != name {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match strip_groups(ty) {
        Type::Path(TypePath {
            qself: None, path, ..
        }) => path.segments.last(),
        _ => None,
    }
}

/// Kind of the returned value inside of `Result` and `Option`; `()` counts as no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReturnedValue {
    Nothing,
    Number,
    Tuple {
        length: usize,
        /// True if the type of the first element is no number, and others follow that may be measurements of it.
        may_begin_with_model: bool,
    },
    Other,
}

pub(crate) fn returned_value(output: &ReturnType) -> ReturnedValue {
    let ReturnType::Type(_, ty) = output else {
        return ReturnedValue::Nothing;
    };
    let mut ty = strip_groups(ty);
    while let Some((name, first)) = named_with_argument(ty)
        && is_result_or_option(name)
    {
        ty = first;
    }
    match ty {
        Type::Never(_) => ReturnedValue::Nothing,
        Type::Tuple(tuple) if tuple.elems.is_empty() => ReturnedValue::Nothing,
        Type::Tuple(tuple) => {
            let first = tuple.elems.first().map(strip_groups);
            let option = first.and_then(|first| only_argument(first, "Option"));
            let is_number = option.or(first).is_some_and(is_number);
            ReturnedValue::Tuple {
                length: tuple.elems.len(),
                may_begin_with_model: tuple.elems.len() > 2 && !is_number,
            }
        }
        ty if is_number(ty) => ReturnedValue::Number,
        _ => ReturnedValue::Other,
    }
}

/// Returns the number of `Result`s and `Option`s inside of which a returned value is looked for: as
/// many as the type names, including names that may be aliases, and at least one. For a future, the
/// type of its output counts.
// Input:  `io::Result<Outcome<Option<f64>>>`, `Vec<Option<f64>>`
// Output: 3, 1
pub(crate) fn count_result_layers(ty: &Type) -> usize {
    let boxed = only_argument(ty, "Pin").and_then(|ty| only_argument(ty, "Box"));
    let output = match boxed.map(strip_groups) {
        Some(Type::TraitObject(object)) => output_in(&object.bounds),
        _ => output_of(ty),
    };
    let (mut ty, mut layers) = (output.unwrap_or(ty), 0);
    while let Some((name, first)) = named_with_argument(ty)
        && (is_result_or_option(name) || NON_FUTURE_TYPES.iter().all(|known| name != known))
    {
        (ty, layers) = (first, layers + 1);
    }
    // An `ExitCode` needs one more layer, which finds out if the code is that of a failure.
    let is_exit_code = last_segment(ty).is_some_and(|last| last.ident == "ExitCode");
    (layers + usize::from(is_exit_code)).max(1)
}

/// Returns the name of a type and the first type that it has as an argument.
// Input:  `io::Result<f64>`
// Output: `Result`, `f64`
fn named_with_argument(ty: &Type) -> Option<(&syn::Ident, &Type)> {
    let segment = last_segment(ty)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(first)) => Some((&segment.ident, strip_groups(first))),
        _ => None,
    }
}

fn is_result_or_option(name: &syn::Ident) -> bool {
    name == "Result" || name == "Option"
}

pub(crate) fn is_number(ty: &Type) -> bool {
    const NUMBERS: [&str; 15] = [
        "bool", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32",
        "u64", "u128", "usize",
    ];
    let Type::Path(TypePath {
        qself: None, path, ..
    }) = strip_groups(ty)
    else {
        return false;
    };
    path.get_ident()
        .is_some_and(|name| NUMBERS.iter().any(|number| name == number))
}

/// Returns `ty` in a form that can be written in a closure, and the parts that are left to be
/// inferred: every `impl Trait`, and every macro, as a macro may stand for an `impl Trait`.
// Input:  `Result<impl Iterator<Item = u8>, Box<dyn Error>>`
// Output: `Result<_, Box<dyn Error>>`, `impl Iterator<Item = u8>`
pub(crate) fn infer_opaque_types(ty: &Type) -> (Type, Vec<Type>) {
    let (mut ty, mut left_out) = (ty.clone(), Vec::new());
    infer_in_type(&mut ty, &mut left_out);
    (ty, left_out)
}

fn infer_in_type(ty: &mut Type, left_out: &mut Vec<Type>) {
    match ty {
        Type::ImplTrait(_) | Type::Macro(_) => {
            let underscore_token = syn::Token![_](proc_macro2::Span::mixed_site());
            let infer = Type::Infer(TypeInfer {
                attrs: Vec::new(),
                underscore_token,
            });
            left_out.push(std::mem::replace(ty, infer));
        }
        Type::Group(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Paren(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Reference(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Ptr(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Slice(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Array(inner) => infer_in_type(&mut inner.elem, left_out),
        Type::Tuple(tuple) => tuple
            .elems
            .iter_mut()
            .for_each(|ty| infer_in_type(ty, left_out)),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                infer_in_segment(segment, left_out);
            }
        }
        Type::TraitObject(object) => infer_in_bounds(&mut object.bounds, left_out),
        _ => {}
    }
}

fn infer_in_segment(segment: &mut PathSegment, left_out: &mut Vec<Type>) {
    let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
        return;
    };
    for argument in &mut arguments.args {
        match argument {
            GenericArgument::Type(ty) => infer_in_type(ty, left_out),
            GenericArgument::AssocType(assoc) => infer_in_type(&mut assoc.ty, left_out),
            _ => {}
        }
    }
}

fn infer_in_bounds(
    bounds: &mut Punctuated<TypeParamBound, syn::Token![+]>,
    left_out: &mut Vec<Type>,
) {
    for bound in bounds {
        if let TypeParamBound::Trait(bound) = bound {
            for segment in &mut bound.path.segments {
                infer_in_segment(segment, left_out);
            }
        }
    }
}
