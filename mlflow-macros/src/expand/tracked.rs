//! Expansion of `#[tracked]`: the function that replaces the annotated one.
//!
//! Invariants: no part of the signature is lost; every path is absolute; items that the macro
//! defines stand in blocks of their own, so that the body sees none of them; local variables are
//! hygienic.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{FnArg, Meta, ReturnType};

use crate::analyze::parameters::{
    MovedParameters, Parameter, count_with_destructor, extract_parameters,
};
use crate::analyze::plan::{Plan, build_plan};
use crate::analyze::wrapping::{self, Wrapping, is_never, is_unit};
use crate::build_info::BuildInfo;
use crate::errors::Errors;
use crate::expand::body::{Body, labelled_body, mixed_site_block, replace_body};
use crate::expand::captures;
use crate::expand::unexpanded;
use crate::parse::arguments::Arguments;
use crate::parse::doc_comment;
use crate::parse::item::{self, Function};
use crate::paths;

/// Expands `#[tracked(arguments)] item`. The function `build_info` is called only if there is no
/// error and tracking is not compiled out.
pub(crate) fn expand_tracked(
    arguments: TokenStream,
    item: TokenStream,
    build_info: impl FnOnce() -> BuildInfo,
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
            return append_errors(&item, errors);
        }
    };
    let shape = wrapping::choose_wrapping(&function.signature, &function.attributes);
    let moved = match shape {
        Wrapping::Guard | Wrapping::AsyncPreserved => MovedParameters::None,
        Wrapping::Async if count_with_destructor(&function.signature) > 1 => MovedParameters::All,
        _ => MovedParameters::FromFirstPattern,
    };
    let mut parameters = extract_parameters(&mut function.signature, moved);
    let plan = build_plan(
        arguments,
        &parameters,
        &function.signature,
        shape,
        &mut errors,
    );
    if !errors.is_empty() {
        return append_errors(&unexpanded::with_parameter_uses(item, &parameters), errors);
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
        parameters.iter_mut().zip(typed).zip(&plan.capture_policies)
    {
        let is_kept = shape != Wrapping::Guard && !parameter.owned.is_empty();
        parameter.is_captured = plan.uses_parameter(parameter, treatments);
        parameter.adjust_lints(&mut argument.attrs, is_kept);
    }
    Expansion {
        function,
        wrapping: shape,
        parameters,
        plan,
        build_info: build_info(),
    }
    .expand()
}

/// Returns the function unchanged, so that the rest of the crate still sees it, followed by the
/// errors.
pub(crate) fn append_errors(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_tokens();
    if let Some(expr) = item::as_expression(item) {
        // Only an expression can stand in the place of an expression.
        return quote!({ #errors #expr });
    }
    quote!(#item #errors)
}

struct Expansion {
    function: Function,
    wrapping: Wrapping,
    parameters: Vec<Parameter>,
    plan: Plan,
    build_info: BuildInfo,
}

impl Expansion {
    fn expand(mut self) -> TokenStream {
        let private = &paths::private_path(self.plan.arguments.krate.as_ref());
        let call = &Ident::new("__mlflow_call", Span::mixed_site());
        let begin = self.begin(private, call);
        let body = Body {
            private,
            function: &self.function,
            parameters: &self.parameters,
            wrapping: self.wrapping,
        };
        let (returned, like) = (body.return_type(), body.return_type_hint());
        let (future, closure) = (body.async_block(), body.closure());
        let outcome = self.outcome(private);
        let (core, std) = (paths::core_path(), paths::std_path());
        let content = match self.wrapping {
            Wrapping::Closure => quote!(#like #private::call(#call, #closure, #outcome)),
            // Output: `{ use NotAFuture as _;
            //            ReturnType::<R>::MARKER.__mlflow_call(call, || -> R { … }, …) }`
            Wrapping::ByReturnType => quote! {{
                use #private::NotAFuture as _;
                #private::ReturnType::<#returned>::MARKER.__mlflow_call(#call, #closure, #outcome)
            }},
            Wrapping::Guard => {
                let guard = Ident::new("__mlflow_guard", Span::mixed_site());
                let body = labelled_body(&self.function);
                let block =
                    mixed_site_block(quote!(let #guard = #private::Guard::new(#call); #body));
                quote!(#block)
            }
            Wrapping::Async => {
                quote!(#like #private::Tracked::new(#call, #future, #outcome))
            }
            Wrapping::AsyncPreserved => {
                quote!(#like #private::Tracked::new(#call, #future, #outcome).await)
            }
            Wrapping::ImplFuture => {
                let output = body.future_output().unwrap_or_else(|| quote!(_));
                quote! {
                    #private::Tracked::new(
                        #call,
                        #private::with_output::<_, #output>(#private::invoke(#closure)),
                        #outcome
                    )
                }
            }
            Wrapping::BoxedFuture => {
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
        if self.wrapping == Wrapping::Async {
            self.return_the_future(private);
        }
        let Function {
            attributes,
            visibility,
            default,
            signature,
            body,
        } = &self.function;
        let body = replace_body(body, quote!(#begin #content));
        quote!(#(#attributes)* #visibility #default #signature #body)
    }

    // Output: `let mut call = { static SITE: Callsite = …; begin(&SITE) };
    //          if let Some(call) = &mut call { … }`
    fn begin(&self, private: &TokenStream, call: &Ident) -> TokenStream {
        let site = self.site(private);
        let watched = self.build_info.rebuild_triggers();
        let name = self.function.signature.ident.unraw().to_string();
        let captures =
            captures::expand_captures(private, call, &name, &self.plan, &self.parameters);
        let begin =
            quote!({ #watched static SITE: #private::Callsite = #site; #private::begin(&SITE) });
        if captures.is_empty() {
            return quote!(let #call = #begin;);
        }
        let core = paths::core_path();
        quote! {
            let mut #call = #begin;
            if let #core::option::Option::Some(#call) = &mut #call { #captures }
        }
    }

    // Output: `Callsite::new("train", module_path!(), file!(), line!()).package(…).note("…").build_info(…)`
    fn site(&self, private: &TokenStream) -> TokenStream {
        let ident = &self.function.signature.ident;
        let name = ident.unraw().to_string();
        let core = paths::core_path();
        // The line is that of the call of `line!`, so the call has the user's span. An absolute
        // path with that span would begin at the root of the user's crate, so the macro is imported
        // by another name.
        let name_of_line = Ident::new("__mlflow_line", ident.span());
        let call = quote_spanned!(ident.span()=> #name_of_line!());
        let line = quote!({ use #core::line as #name_of_line; #call });
        let note = doc_comment::extract_doc_text(&self.function.attributes);
        let note = note
            .filter(|_| self.plan.arguments.description.is_none())
            .map(|note| quote!(.note(#note)));
        let build_info = self
            .build_info
            .to_tokens_if_known(private)
            .map(|build_info| quote!(.build_info(#build_info)));
        let arguments = &self.plan.arguments;
        let root = arguments.root.then(|| quote!(.root()));
        let metric = arguments.metric.as_ref().map(|name| quote!(.metric(#name)));
        let metrics = arguments
            .metrics
            .as_ref()
            .map(|(names, _)| quote!(.metrics(&[#(#names),*])));
        quote! {
            #private::Callsite::new(#name, #core::module_path!(), #core::file!(), #line)
                .package(#core::option_env!("CARGO_PKG_NAME"), #core::option_env!("CARGO_PKG_VERSION"))
                #note #build_info #root #metric #metrics
        }
    }

    /// Returns the closure that logs the returned value: its numbers and models, or its failure.
    fn outcome(&self, private: &TokenStream) -> TokenStream {
        let ty = match (&self.function.signature.output, self.wrapping) {
            (ReturnType::Default, _) => return quote!(#private::ignore_value),
            (ReturnType::Type(_, ty), _) if is_never(ty) => return quote!(#private::ignore_value),
            (ReturnType::Type(_, ty), _) => ty,
        };
        if is_unit(ty) {
            return quote!(#private::ignore_value);
        }
        let [value, ending] =
            ["__mlflow_value", "__mlflow_ending"].map(|name| Ident::new(name, Span::mixed_site()));
        let (mut pattern, mut split) = if self.plan.arguments.skip_return.is_some() {
            (quote!(_), quote!())
        } else {
            let captured = quote!((&&&&&&&#private::Capture(#value)).__mlflow_numbers());
            let models = quote!(#private::ModelProbe(#value).__mlflow_models(#ending));
            (quote!(#value), quote!(#ending.numbers(#captured); #models;))
        };
        // Built from the innermost layer outwards. `Result<Option<f64>, E>` has two layers.
        for _ in 0..wrapping::count_result_layers(ty) {
            split = quote! {
                match #private::ResultProbe(#value).__mlflow_inspected() {
                    #private::Inspected::Value(#pattern) => { #split }
                    #private::Inspected::Error(#value) => {
                        #ending.failure((&&&&&&&#private::Capture(#value)).__mlflow_failure());
                    }
                    #private::Inspected::Absent => {}
                }
            };
            pattern = quote!(#value);
        }
        quote! {
            |#value, #ending| {
                use #private::specialization::*;
                #split
            }
        }
    }

    // Input:  `async unsafe fn f<'a>(x: &'a str) -> &'a str`
    // Output: `unsafe fn f<'a>(x: &'a str) -> impl Future<Output = &'a str>`
    fn return_the_future(&mut self, private: &TokenStream) {
        // The compiler reports an error of the returned value at the declared type.
        let span = match &self.function.signature.output {
            ReturnType::Default => Span::call_site(),
            ReturnType::Type(_, ty) => Span::call_site().located_at(ty.span()),
        };
        let output = match &self.function.signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) if is_never(ty) => quote!(#private::Never),
            ReturnType::Type(_, ty) => quote!(#ty),
        };
        let core = paths::core_path();
        self.function.signature.asyncness = None;
        // The `impl` has this crate's edition, 2024, so it captures every lifetime, as `async`
        // does.
        self.function.signature.output =
            syn::parse_quote_spanned!(span=> -> impl #core::future::Future<Output = #output>);
        // Every future is `#[must_use]` already, and Clippy reports a second `#[must_use]`.
        self.function.attributes.retain(
            |attribute| !matches!(&attribute.meta, Meta::Path(path) if path.is_ident("must_use")),
        );
    }
}
