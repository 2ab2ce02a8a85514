//! Writes what `#[tracked]` turns a function into.
//!
//! Invariants: the signature goes out whole; every path is absolute; items of ours stand in
//! blocks of their own, so that the body sees none of them; locals are hygienic.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{FnArg, Meta, ReturnType};

use crate::analyze::parameters::{Moved, Parameter, may_drop, parameters};
use crate::analyze::plan::{Plan, plan};
use crate::analyze::wrapping::{self, Shape, is_never, is_unit};
use crate::build_info::Built;
use crate::errors::Errors;
use crate::expand::body::{Body, block, in_place_of, nested};
use crate::expand::captures;
use crate::expand::paths;
use crate::parse::arguments::Arguments;
use crate::parse::doc_comment;
use crate::parse::item::{self, Function};

/// `#[tracked(arguments)] item`
pub(crate) fn tracked(
    arguments: TokenStream,
    item: TokenStream,
    built: impl FnOnce() -> Built,
) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = (|input: syn::parse::ParseStream<'_>| Ok(Arguments::parse(input, &mut errors)))
        .parse2(arguments);
    let function = item::parse("tracked", item.clone());
    let (arguments, mut function) = match (parsed, function) {
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
    let shape = wrapping::of(&function.signature, &function.attributes);
    let moved = match shape {
        Shape::Guard | Shape::AsyncKept => Moved::None,
        Shape::Async if may_drop(&function.signature) > 1 => Moved::All,
        _ => Moved::FromTheFirstPattern,
    };
    let mut parameters = parameters(&mut function.signature, moved);
    let plan = plan(
        arguments,
        &parameters,
        &function.signature,
        shape,
        &mut errors,
    );
    if !errors.is_empty() {
        return with_errors(&item::using(item, &parameters), errors);
    }
    if cfg!(feature = "disabled") {
        return item;
    }
    let typed = function.signature.inputs.iter_mut();
    let typed = typed.filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    for ((parameter, argument), treatments) in
        parameters.iter_mut().zip(typed).zip(&plan.treatments)
    {
        let is_kept = shape != Shape::Guard && !parameter.owned.is_empty();
        parameter.is_seen = plan.looks_at(parameter, treatments);
        parameter.settle_lints(&mut argument.attrs, is_kept);
    }
    Expansion {
        function,
        shape,
        parameters,
        plan,
        built: built(),
    }
    .expand()
}

/// The function as it stood, so that the rest of the crate still sees it, and what is wrong.
pub(crate) fn with_errors(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_tokens();
    if let Some(expr) = item::as_expression(item) {
        // Nothing else can stand in its place.
        return quote!({ #errors #expr });
    }
    quote!(#item #errors)
}

struct Expansion {
    function: Function,
    shape: Shape,
    parameters: Vec<Parameter>,
    plan: Plan,
    built: Built,
}

impl Expansion {
    fn expand(mut self) -> TokenStream {
        let private = &paths::private(self.plan.arguments.krate.as_ref());
        let call = &Ident::new("__mlflow_call", Span::mixed_site());
        let begin = self.begin(private, call);
        let body = Body {
            private,
            function: &self.function,
            parameters: &self.parameters,
            shape: self.shape,
        };
        let (returned, like) = (body.returned(), body.like());
        let (future, closure) = (body.async_block(), body.closure());
        let outcome = self.outcome(private);
        let (core, std) = (paths::core(), paths::std());
        let content = match self.shape {
            Shape::Sync => quote!(#like #private::call(#call, #closure, #outcome)),
            // Output: `{ use OtherType as _; Returned::<R>::HERE.__mlflow_call(call, || -> R { … }, …) }`
            Shape::ByType => quote! {{
                use #private::OtherType as _;
                #private::Returned::<#returned>::HERE.__mlflow_call(#call, #closure, #outcome)
            }},
            Shape::Guard => {
                let guard = Ident::new("__mlflow_guard", Span::mixed_site());
                let body = nested(&self.function);
                let block = block(quote!(let #guard = #private::Guard::new(#call); #body));
                quote!(#block)
            }
            Shape::Async => {
                quote!(#like #private::Tracked::new(#call, #future, #outcome))
            }
            Shape::AsyncKept => {
                quote!(#like #private::Tracked::new(#call, #future, #outcome).await)
            }
            Shape::Future => {
                let output = body.output().unwrap_or_else(|| quote!(_));
                quote! {
                    #private::Tracked::new(
                        #call,
                        #private::future_of::<_, #output>(#private::invoke(#closure)),
                        #outcome
                    )
                }
            }
            Shape::Boxed => {
                let future = Ident::new("__mlflow_future", Span::mixed_site());
                quote! {
                    let #future: #returned = #private::invoke(#closure);
                    match #call {
                        #core::option::Option::None => #future,
                        #call => #std::boxed::Box::pin(#private::Tracked::new(#call, #future, #outcome)),
                    }
                }
            }
        };
        if self.shape == Shape::Async {
            self.return_the_future(private);
        }
        let Function {
            attributes,
            visibility,
            default,
            signature,
            body,
        } = &self.function;
        let body = in_place_of(body, quote!(#begin #content));
        quote!(#(#attributes)* #visibility #default #signature #body)
    }

    // Output: `let mut call = { static SITE: Site = …; begin(&SITE) }; if let Some(call) = &mut call { … }`
    fn begin(&self, private: &TokenStream, call: &Ident) -> TokenStream {
        let site = self.site(private);
        let watched = self.built.watch();
        let name = self.function.signature.ident.unraw().to_string();
        let captures = captures::captures(private, call, &name, &self.plan, &self.parameters);
        let begin =
            quote!({ #watched static SITE: #private::Site = #site; #private::begin(&SITE) });
        if captures.is_empty() {
            return quote!(let #call = #begin;);
        }
        let core = paths::core();
        quote! {
            let mut #call = #begin;
            if let #core::option::Option::Some(#call) = &mut #call { #captures }
        }
    }

    // Output: `Site::new("train", module_path!(), file!(), line!()).package(…).note("…").built(…)`
    fn site(&self, private: &TokenStream) -> TokenStream {
        let ident = &self.function.signature.ident;
        let name = ident.unraw().to_string();
        let core = paths::core();
        // Its line is that of the call, which is the user's; the path to it would begin at the user's root.
        let name_of_line = Ident::new("__mlflow_line", ident.span());
        let call = quote_spanned!(ident.span()=> #name_of_line!());
        let line = quote!({ use #core::line as #name_of_line; #call });
        let note = doc_comment::text(&self.function.attributes);
        let note = note
            .filter(|_| self.plan.arguments.description.is_none())
            .map(|note| quote!(.note(#note)));
        let built = self
            .built
            .tokens(private)
            .map(|built| quote!(.built(#built)));
        let arguments = &self.plan.arguments;
        let root = arguments.root.then(|| quote!(.root()));
        let metric = arguments.metric.as_ref().map(|name| quote!(.metric(#name)));
        let metrics = arguments
            .metrics
            .as_ref()
            .map(|(names, _)| quote!(.metrics(&[#(#names),*])));
        quote! {
            #private::Site::new(#name, #core::module_path!(), #core::file!(), #line)
                .package(#core::option_env!("CARGO_PKG_NAME"), #core::option_env!("CARGO_PKG_VERSION"))
                #note #built #root #metric #metrics
        }
    }

    /// What is made of the returned value.
    fn outcome(&self, private: &TokenStream) -> TokenStream {
        let ty = match (&self.function.signature.output, self.shape) {
            (ReturnType::Default, _) => return quote!(#private::any_value),
            (ReturnType::Type(_, ty), _) if is_never(ty) => return quote!(#private::any_value),
            (ReturnType::Type(_, ty), _) => ty,
        };
        if is_unit(ty) {
            return quote!(#private::any_value);
        }
        let [value, ending] =
            ["__mlflow_value", "__mlflow_ending"].map(|name| Ident::new(name, Span::mixed_site()));
        let (mut pattern, mut split) = if self.plan.arguments.skip_return.is_some() {
            (quote!(_), quote!())
        } else {
            let captured = quote!((&&&&&&&#private::Capture(#value)).__mlflow_numbers());
            (quote!(#value), quote!(#ending.numbers(#captured);))
        };
        // From the inside: `Result<Option<f64>, E>` is two.
        for _ in 0..wrapping::layers(ty) {
            split = quote! {
                match #private::Probe(#value).__mlflow_split() {
                    #private::Split::Value(#pattern) => { #split }
                    #private::Split::Error(#value) => {
                        #ending.failure((&&&&&&&#private::Capture(#value)).__mlflow_failure());
                    }
                    #private::Split::Absent => {}
                }
            };
            pattern = quote!(#value);
        }
        quote! {
            |#value, #ending| {
                use #private::{Whole as _, by_bounds::*};
                #split
            }
        }
    }

    // Input:  `async unsafe fn f<'a>(x: &'a str) -> &'a str`
    // Output: `unsafe fn f<'a>(x: &'a str) -> impl Future<Output = &'a str>`
    fn return_the_future(&mut self, private: &TokenStream) {
        // What is wrong with the returned value is said at the type.
        let span = match &self.function.signature.output {
            ReturnType::Default => Span::call_site(),
            ReturnType::Type(_, ty) => Span::call_site().located_at(ty.span()),
        };
        let output = match &self.function.signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) if is_never(ty) => quote!(#private::Never),
            ReturnType::Type(_, ty) => quote!(#ty),
        };
        let core = paths::core();
        self.function.signature.asyncness = None;
        // The `impl` is of this crate's edition, 2024, so it captures every lifetime, as `async` does.
        self.function.signature.output =
            syn::parse_quote_spanned!(span=> -> impl #core::future::Future<Output = #output>);
        // Every future is `#[must_use]`; saying it twice is a finding of clippy's.
        self.function.attributes.retain(
            |attribute| !matches!(&attribute.meta, Meta::Path(path) if path.is_ident("must_use")),
        );
    }
}
