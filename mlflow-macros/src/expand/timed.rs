//! `#[timed]`: a timer before the body.
//!
//! Invariant: the body stays where it is, unless it returns a future or may do so.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Path};

use crate::analyze::key;
use crate::analyze::parameters::{Moved, parameters};
use crate::analyze::wrapping::{self, Shape};
use crate::errors::Errors;
use crate::expand::body::{Body, block, in_place_of, nested};
use crate::expand::paths;
use crate::expand::tracked::with_errors;
use crate::parse::arguments::{comma_separated, value};
use crate::parse::item::{self, Function};

/// The arguments of `#[timed(…)]`.
#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    krate: Option<Path>,
}

const KEYS: [&str; 2] = ["name", "crate"];

impl Arguments {
    /// Parses all of `input`, adding to `errors` what is wrong.
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        comma_separated(input, &KEYS, errors, |input, word| {
            match word.to_string().as_str() {
                "name" => arguments.name = Some(value(input, word, "\"a name\"")?),
                "crate" => arguments.krate = Some(value(input, word, "path::to::mlflow")?),
                _ => return Ok(false),
            }
            Ok(true)
        });
        arguments
    }
}

/// `#[timed(arguments)] item`
pub(crate) fn timed(tokens: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = (|input: ParseStream<'_>| Ok(Arguments::parse(input, &mut errors))).parse2(tokens);
    let (arguments, function) = match (parsed, item::parse("timed", item.clone())) {
        (Ok(arguments), Ok(function)) => (arguments, function),
        (parsed, function) => {
            parsed
                .err()
                .into_iter()
                .chain(function.err())
                .for_each(|error| errors.push(error));
            return with_errors(&item, errors);
        }
    };
    let ident = &function.signature.ident;
    let (name, span) = match &arguments.name {
        Some(name) => (name.value(), name.span()),
        None => (ident.unraw().to_string(), ident.span()),
    };
    let metric = if name.is_empty() {
        name
    } else {
        format!("time/{name}")
    };
    key::check(&mut errors, "metric", &metric, span);
    if !errors.is_empty() {
        return with_errors(&item, errors);
    }
    if cfg!(feature = "disabled") {
        return item;
    }
    expand(&arguments, &metric, function)
}

fn expand(arguments: &Arguments, metric: &str, mut function: Function) -> TokenStream {
    let private = paths::private(arguments.krate.as_ref());
    let [timer, future] =
        ["__mlflow_timer", "__mlflow_future"].map(|name| Ident::new(name, Span::mixed_site()));
    let start = quote! {
        let #timer = {
            static SITE: #private::TimedSite = #private::TimedSite::new(#metric);
            #private::Timer::start(&SITE)
        };
    };
    let shape = wrapping::of(&function.signature, &function.attributes);
    let moved = match shape {
        Shape::Future | Shape::Boxed | Shape::ByType => Moved::All,
        Shape::Sync | Shape::Guard | Shape::Async | Shape::AsyncKept => Moved::None,
    };
    let parameters = parameters(&mut function.signature, moved);
    let wrapped = Body {
        private: &private,
        function: &function,
        parameters: &parameters,
        shape,
    };
    let (returned, closure) = (wrapped.returned(), wrapped.closure());
    let (core, std) = (paths::core(), paths::std());
    let content = match shape {
        Shape::Future => quote!(#start #private::time(#timer, #private::invoke(#closure))),
        Shape::Boxed => quote! {
            #start
            let #future: #returned = #private::invoke(#closure);
            match #timer {
                #core::option::Option::None => #future,
                #timer => #std::boxed::Box::pin(#private::time(#timer, #future)),
            }
        },
        Shape::ByType => quote! {
            #start
            {
                use #private::OtherType as _;
                #private::Returned::<#returned>::HERE.__mlflow_time(#timer, #closure)
            }
        },
        Shape::Sync | Shape::Guard | Shape::Async | Shape::AsyncKept => {
            let body = nested(&function);
            let block = block(quote!(#start #body));
            quote!(#block)
        }
    };
    let Function {
        attributes,
        visibility,
        default,
        signature,
        body,
    } = &function;
    let content = in_place_of(body, content);
    quote!(#(#attributes)* #visibility #default #signature #content)
}
