//! Expansion of `#[timed]`, which starts a timer before the body.
//!
//! Invariant: the body stays in its function. Only if the return type is, or may be, a future
//! (other than that of an `async fn`) is the body moved into a closure.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Path};

use crate::analyze::key;
use crate::analyze::parameters::{MovedParameters, extract_parameters};
use crate::analyze::wrapping::{self, Wrapping};
use crate::errors::Errors;
use crate::expand::body::{Body, labelled_body, mixed_site_block, replace_body};
use crate::expand::tracked::append_errors;
use crate::parse::arguments::{parse_comma_separated, parse_value};
use crate::parse::item::{self, Function};
use crate::paths;

/// Arguments of `#[timed(…)]`.
#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    krate: Option<Path>,
}

const ARGUMENT_NAMES: [&str; 2] = ["name", "crate"];

impl Arguments {
    /// Parses all of `input`, and adds every error to `errors`.
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        parse_comma_separated(input, &ARGUMENT_NAMES, errors, |input, word| {
            match word.to_string().as_str() {
                "name" => arguments.name = Some(parse_value(input, word, "\"a name\"")?),
                "crate" => arguments.krate = Some(parse_value(input, word, "path::to::mlflow")?),
                _ => return Ok(false),
            }
            Ok(true)
        });
        arguments
    }
}

/// Expands `#[timed(tokens)] item`.
pub(crate) fn expand_timed(tokens: TokenStream, item: TokenStream) -> TokenStream {
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
            return append_errors(&item, errors);
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
    key::report_invalid_key(&mut errors, "metric", &metric, span);
    if !errors.is_empty() {
        return append_errors(&item, errors);
    }
    if cfg!(feature = "disabled") {
        return item;
    }
    expand_function(&arguments, &metric, function)
}

fn expand_function(arguments: &Arguments, metric: &str, mut function: Function) -> TokenStream {
    let private = paths::private_path(arguments.krate.as_ref());
    let [timer, future] =
        ["__mlflow_timer", "__mlflow_future"].map(|name| Ident::new(name, Span::mixed_site()));
    let start = quote! {
        let #timer = {
            static SITE: #private::TimedCallsite = #private::TimedCallsite::new(#metric);
            #private::Timer::start(&SITE)
        };
    };
    let shape = wrapping::choose_wrapping(&function.signature, &function.attributes);
    let moved = match shape {
        Wrapping::ImplFuture | Wrapping::BoxedFuture | Wrapping::ByReturnType => {
            MovedParameters::All
        }
        Wrapping::Closure | Wrapping::Guard | Wrapping::Async | Wrapping::AsyncPreserved => {
            MovedParameters::None
        }
    };
    let parameters = extract_parameters(&mut function.signature, moved);
    let wrapped = Body {
        private: &private,
        function: &function,
        parameters: &parameters,
        wrapping: shape,
    };
    let (returned, closure) = (wrapped.return_type(), wrapped.closure());
    let (core, std) = (paths::core_path(), paths::std_path());
    let content = match shape {
        Wrapping::ImplFuture => quote!(#start #private::time(#timer, #private::invoke(#closure))),
        Wrapping::BoxedFuture => quote! {
            #start
            let #future: #returned = #private::invoke(#closure);
            match #timer {
                #core::option::Option::None => #future,
                #timer => #std::boxed::Box::pin(#private::time(#timer, #future)),
            }
        },
        Wrapping::ByReturnType => quote! {
            #start
            {
                use #private::NotAFuture as _;
                #private::ReturnType::<#returned>::MARKER.__mlflow_time(#timer, #closure)
            }
        },
        Wrapping::Closure | Wrapping::Guard | Wrapping::Async | Wrapping::AsyncPreserved => {
            let body = labelled_body(&function);
            let block = mixed_site_block(quote!(#start #body));
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
    let content = replace_body(body, content);
    quote!(#(#attributes)* #visibility #default #signature #content)
}
