//! `#[timed]`: a timer before the body.
//!
//! Invariant: the body stays where it is, unless it returns a future or may do so.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Path, ReturnType, Token};

use crate::errors::Errors;
use crate::expand::{in_place_of, nested, private_path, with_errors};
use crate::item::{self, Function};
use crate::key;
use crate::shape::{self, Shape, without_impl};

/// The arguments of `#[timed(…)]`.
#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    krate: Option<Path>,
}

fn arguments(input: ParseStream<'_>) -> syn::Result<Arguments> {
    let mut arguments = Arguments::default();
    while !input.is_empty() {
        let word = input.call(Ident::parse_any)?;
        let twice = syn::Error::new(word.span(), format!("`{word}` is given twice"));
        match word.to_string().as_str() {
            "name" => {
                input.parse::<Token![=]>()?;
                if arguments.name.replace(input.parse()?).is_some() {
                    return Err(twice);
                }
            }
            "crate" => {
                input.parse::<Token![=]>()?;
                if arguments.krate.replace(input.parse()?).is_some() {
                    return Err(twice);
                }
            }
            unknown => {
                let message =
                    format!("unknown argument `{unknown}`\nvalid arguments are `name`, `crate`");
                return Err(syn::Error::new(word.span(), message));
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(arguments)
}

/// `#[timed(arguments)] item`
pub(crate) fn timed(tokens: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let (arguments, function) = match (arguments.parse2(tokens), item::parse("timed", item.clone()))
    {
        (Ok(arguments), Ok(function)) => (arguments, function),
        (arguments, function) => {
            arguments
                .err()
                .into_iter()
                .chain(function.err())
                .for_each(|error| errors.push(error));
            return with_errors(&item, errors);
        }
    };
    if let Some(name) = &arguments.name {
        key::check(&mut errors, "metric", &name.value(), name.span());
    }
    if !errors.is_empty() {
        return with_errors(&item, errors);
    }
    if cfg!(feature = "disabled") {
        return item;
    }
    expand(&arguments, &function)
}

fn expand(arguments: &Arguments, function: &Function) -> TokenStream {
    let private = private_path(arguments.krate.as_ref());
    let Function {
        attributes,
        visibility,
        default,
        signature,
        body,
    } = function;
    let name = arguments
        .name
        .as_ref()
        .map_or_else(|| signature.ident.unraw().to_string(), LitStr::value);
    let metric = format!("time/{name}");
    let [timer, future] =
        ["__mlflow_timer", "__mlflow_future"].map(|name| Ident::new(name, Span::mixed_site()));
    let start = quote! {
        let #timer = {
            static SITE: #private::TimedSite = #private::TimedSite::new(#metric);
            #private::Timer::start(&SITE)
        };
    };
    let returned = match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(without_impl(ty)),
    };
    let content = match shape::of(signature, attributes) {
        Shape::Future => {
            quote!(#start #private::time(#timer, #private::invoke(move || -> #returned #body)))
        }
        Shape::Boxed => quote! {
            #start
            let #future: #returned = #private::invoke(move || -> #returned #body);
            match #timer {
                ::core::option::Option::None => #future,
                #timer => ::std::boxed::Box::pin(#private::time(#timer, #future)),
            }
        },
        Shape::ByType => quote! {
            #start
            {
                use #private::OtherType as _;
                #private::Returned::<#returned>::HERE.__mlflow_time(#timer, move || -> #returned #body)
            }
        },
        Shape::Sync | Shape::Guard | Shape::Async | Shape::AsyncKept => {
            let body = nested(body);
            quote!(#start #body)
        }
    };
    let content = in_place_of(body, content);
    quote!(#(#attributes)* #visibility #default #signature #content)
}
