//! Statements that capture a call's arguments, names and tags for the runtime.
//!
//! Invariants: the statements run only while tracking is on. The values are only read, through
//! references. A user's expression is evaluated where no name defined by the macro is visible.
//!
//! A pattern in the signature is matched twice: here by reference to read its bindings, and in the
//! body to bind them.

use mlflow_rules::is_secret_name;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, LitStr, Member};

use crate::analyze::parameters::{
    Binding, Parameter, as_plain_ident, is_unused, to_reference_pattern,
};
use crate::analyze::plan::{CapturePolicy, NameArgument, Plan, iter_bindings};
use crate::parse::name_template::TemplatePart;
use crate::paths;

/// Returns all capturing statements; empty if nothing is captured.
pub(crate) fn expand_captures(
    private: &TokenStream,
    call: &Ident,
    function: &str,
    plan: &Plan,
    parameters: &[Parameter],
) -> TokenStream {
    let captures = Captures {
        private,
        call,
        function,
        plan,
        parameters,
    };
    let names = captures.names();
    let arguments = captures.arguments();
    let given = captures.params_and_tags();
    if names.is_empty() && arguments.is_empty() && given.is_empty() {
        return TokenStream::new();
    }
    let looks = captures.bind_patterns();
    quote!(#looks #names #arguments #given)
}

struct Captures<'e> {
    private: &'e TokenStream,
    call: &'e Ident,
    function: &'e str,
    plan: &'e Plan,
    parameters: &'e [Parameter],
}

impl Captures<'_> {
    /// Returns statements that bind the names of patterns by reference, for the captures that read
    /// them.
    // Input:  the argument `(mut a, b): (f64, f64)`, named `__argument0` in the signature
    // Output: `let (a, b) = &__argument0;`
    fn bind_patterns(&self) -> TokenStream {
        let mut looks = TokenStream::new();
        for (parameter, treatments) in self.parameters.iter().zip(&self.plan.capture_policies) {
            let Some(rebind) = &parameter.rebind else {
                continue;
            };
            if rebind.is_name() {
                continue;
            }
            let is_one_name = as_plain_ident(&rebind.pattern).is_some();
            let wanted = |ident: &Ident| {
                let seen = parameter
                    .bindings
                    .iter()
                    .zip(treatments)
                    .find(|(binding, _)| binding.ident == *ident);
                let (binding, treatment) = seen?;
                let treated = matches!(treatment, CapturePolicy::Log | CapturePolicy::Hash);
                let is_wanted = (treated && !is_one_name)
                    || self.plan.uses_in_expression(ident)
                    || self.plan.shows_in_template(binding, *treatment);
                is_wanted.then(|| self.borrowed_ident(binding))
            };
            if !parameter
                .bindings
                .iter()
                .any(|binding| wanted(&binding.ident).is_some())
            {
                continue;
            }
            let (cfgs, ident, lints, pattern) = (
                &parameter.cfgs,
                &rebind.ident,
                rebind.allowed_lints(),
                to_reference_pattern(&rebind.pattern, &wanted),
            );
            looks.extend(quote!(#(#cfgs)* #(#lints)* let #pattern = &#ident;));
        }
        looks
    }

    /// Returns the identifier by which the captures read a binding of a pattern. Clippy reports a
    /// use of a user's `_name`. Such a binding is therefore read by a hygienic identifier, unless
    /// an expression in the attribute uses the name, or several bindings have it.
    fn borrowed_ident(&self, binding: &Binding) -> Ident {
        let ident = &binding.ident;
        let is_only_one = iter_bindings(self.parameters)
            .filter(|other| other.name == binding.name)
            .count()
            == 1;
        if is_unused(ident) && is_only_one && !self.plan.uses_in_expression(ident) {
            Ident::new(
                &ident.to_string(),
                Span::mixed_site().located_at(ident.span()),
            )
        } else {
            ident.clone()
        }
    }

    /// Returns a reference to an argument's value. If the argument is declared as a reference, the
    /// result points to the value behind it. The compiler reports at `span` if the value lacks a
    /// trait.
    fn argument_reference(
        &self,
        parameter: &Parameter,
        binding: &Binding,
        span: Span,
    ) -> TokenStream {
        let ident = match &parameter.rebind {
            Some(rebind) if as_plain_ident(&rebind.pattern).is_some() => &rebind.ident,
            Some(_) => {
                let look = self.borrowed_ident(binding);
                // A capitalised name may be a unit struct instead of a variable, and then is no
                // reference.
                if binding.name.starts_with(char::is_uppercase) {
                    return quote_spanned!(span=> &#look);
                }
                return quote_spanned!(span=> &*#look);
            }
            None => &binding.ident,
        };
        if binding.is_reference {
            quote_spanned!(span=> &*#ident)
        } else {
            quote_spanned!(span=> &#ident)
        }
    }

    // Output: `call.experiment(&"wine"); call.run_name(&{ … }); call.run_id(&(id));`
    fn names(&self) -> TokenStream {
        let (call, arguments) = (self.call, &self.plan.arguments);
        let named = |argument: &str, name: &Option<NameArgument>, set: TokenStream| {
            let name = name.as_ref()?;
            let value = self.name(name);
            let statement = quote!(#call.#set(#value););
            Some(match name {
                NameArgument::Expr(expr) => self.guard_statement(argument, expr, statement),
                NameArgument::Template(..) => statement,
            })
        };
        let experiment = named("experiment", &self.plan.experiment, quote!(experiment));
        let run_name = named("run_name", &self.plan.run_name, quote!(run_name));
        let given = |argument: &str, expr: &Option<Expr>, set: TokenStream| {
            let expr = expr.as_ref()?;
            let value = quote_reference(expr);
            Some(self.guard_statement(argument, expr, quote!(#call.#set(#value);)))
        };
        let run_id = arguments.run_id.as_ref().map(|expr| {
            let private = self.private;
            let value = quote_reference(expr);
            // The span is that of the expression: the compiler reports there if the expression is
            // no text.
            let id = quote_spanned!(expr.span()=> #private::RunId(#value).__mlflow_run_id());
            let statement = quote!({ use #private::AnyRunId as _; #call.run_id(#id); });
            self.guard_statement("run_id", expr, statement)
        });
        let description = given("description", &arguments.description, quote!(description));
        let system_metrics = given(
            "system_metrics",
            &arguments.system_metrics,
            quote!(system_metrics),
        );
        let log_model = given("log_model", &arguments.log_model, quote!(log_model));
        quote!(#experiment #run_name #run_id #description #system_metrics #log_model)
    }

    // Input:  "lr-{lr}"
    // Output: `&{ let mut name = Template::new(); name.text("lr-"); name.value(…); name }`
    fn name(&self, name: &NameArgument) -> TokenStream {
        let (parts, span) = match name {
            NameArgument::Expr(expr) => return quote_reference(expr),
            NameArgument::Template(parts, span) => (parts, *span),
        };
        if let [TemplatePart::Text(text)] = parts.as_slice() {
            return quote!(&#text);
        }
        let private = self.private;
        let template = Ident::new("__mlflow_template", Span::mixed_site());
        let has_capture = parts
            .iter()
            .any(|part| matches!(part, TemplatePart::Argument { format: None, .. }));
        let specialization = has_capture.then(|| quote!(use #private::specialization::*;));
        let statements = parts.iter().map(|part| match part {
            TemplatePart::Text(text) => quote!(#template.text(#text);),
            TemplatePart::Timestamp => quote!(#template.timestamp();),
            TemplatePart::Env => quote!(#template.env();),
            TemplatePart::Function => {
                let function = self.function;
                quote!(#template.text(#function);)
            }
            TemplatePart::Argument {
                name,
                fields,
                format,
            } => self.fill_placeholder(&template, name, fields, format.as_deref(), span),
        });
        quote!(&{
            #specialization
            let mut #template = #private::Template::new();
            #(#statements)*
            #template
        })
    }

    /// Returns a statement that adds the value of an argument, or of one of its fields, to
    /// `template`. The compiler reports errors of the placeholder at `span`.
    fn fill_placeholder(
        &self,
        template: &Ident,
        name: &str,
        fields: &[String],
        format: Option<&str>,
        span: Span,
    ) -> TokenStream {
        let all = self
            .parameters
            .iter()
            .zip(&self.plan.capture_policies)
            .flat_map(|(parameter, treatments)| {
                parameter
                    .bindings
                    .iter()
                    .zip(treatments)
                    .map(move |(binding, treatment)| (parameter, binding, treatment))
            });
        let Some((parameter, binding, treatment)) =
            all.into_iter().find(|(_, binding, _)| binding.name == name)
        else {
            return TokenStream::new();
        };
        let has_secret = fields.iter().any(|field| is_secret_name(field));
        if binding.is_hidden(*treatment) || has_secret {
            return quote!(#template.text("[redacted]"););
        }
        let mut place = self.argument_reference(parameter, binding, span);
        if !fields.is_empty() {
            // A hygienic span: with the user's, the compiler would suggest another field name as a
            // replacement for the whole text.
            let span = Span::mixed_site().located_at(span);
            let fields = fields.iter().filter_map(|field| {
                let mut field = syn::parse_str(field).ok()?;
                match &mut field {
                    Member::Named(name) => name.set_span(span),
                    Member::Unnamed(index) => index.span = span,
                }
                Some(field)
            });
            place = quote_spanned!(span=> &(#place)#(.#fields)*);
        }
        match format {
            Some(format) => {
                let core = paths::core_path();
                let format = LitStr::new(&format!("{{:{format}}}"), span);
                quote_spanned!(span=> #template.formatted(#core::format_args!(#format, #place));)
            }
            None => {
                let captured = self.capture_call(&place, "__mlflow_param");
                quote!(#template.value(#captured);)
            }
        }
    }

    // Input:  `place` = `&alpha`
    // Output: `(&&&&&&&Capture(&alpha)).__mlflow_param()`
    fn capture_call(&self, place: &TokenStream, method: &str) -> TokenStream {
        let private = self.private;
        let method = Ident::new(method, Span::call_site());
        quote!((&&&&&&&#private::Capture(#place)).#method())
    }

    // Output: `{
    //             use specialization::*;
    //             call.param("alpha", …);
    //             if !InputProbe(&*data).__mlflow_input("data", call) { call.param("data", …); }
    //             call.redacted("token");
    //         }`
    fn arguments(&self) -> TokenStream {
        let (private, call) = (self.private, self.call);
        let mut statements = TokenStream::new();
        let mut looks_at_a_value = false;
        let mut keys: Vec<String> = self
            .plan
            .params
            .iter()
            .map(|(key, _)| key.clone())
            .collect();
        for (parameter, treatments) in self.parameters.iter().zip(&self.plan.capture_policies) {
            let cfgs = &parameter.cfgs;
            let mut unused = |name: &str| {
                // Two arguments of one name with different `#[cfg]`s never exist together, so their
                // keys need no number.
                if cfgs.is_empty() {
                    insert_unique_key(&mut keys, name)
                } else {
                    name.to_owned()
                }
            };
            for (binding, treatment) in parameter.bindings.iter().zip(treatments) {
                let place = self.argument_reference(parameter, binding, Span::call_site());
                let statement = match treatment {
                    CapturePolicy::Skip => continue,
                    CapturePolicy::Redact => {
                        let key = unused(&binding.name);
                        quote!(#call.redacted(#key);)
                    }
                    CapturePolicy::Hash => {
                        looks_at_a_value = true;
                        let key = unused(&format!("{}_hash", binding.name));
                        let captured = self.capture_call(&place, "__mlflow_hash");
                        quote!(#call.hash(#key, #captured);)
                    }
                    CapturePolicy::Log => {
                        looks_at_a_value = true;
                        let key = unused(&binding.name);
                        let captured = self.capture_call(&place, "__mlflow_param");
                        let log_param = quote!(#call.param(#key, #captured););
                        if binding.is_scalar {
                            log_param
                        } else {
                            let probe = quote!(#private::InputProbe(#place));
                            quote!(if !#probe.__mlflow_input(#key, #call) { #log_param })
                        }
                    }
                };
                statements.extend(quote!(#(#cfgs)* #statement));
            }
        }
        if looks_at_a_value {
            quote!({ use #private::specialization::*; #statements })
        } else {
            statements
        }
    }

    /// Returns the statement in a guard, as a user's expression may panic, and the panic must not
    /// reach the function. A literal or a path cannot panic and needs no guard.
    // Input:  `argument` = "tags(first)", `expr` = `data[0]`
    // Output: `call.guarded("tags(first)", |call| { call.tag("first", &(data[0])); });`
    fn guard_statement(&self, argument: &str, expr: &Expr, statement: TokenStream) -> TokenStream {
        if matches!(expr, Expr::Lit(_) | Expr::Path(_)) {
            return statement;
        }
        let call = self.call;
        quote!(#call.guarded(#argument, |#call| { #statement });)
    }

    // Output: `call.param("data", { use specialization::*; … }); call.tag("model", &("elastic-net"));`
    fn params_and_tags(&self) -> TokenStream {
        let (private, call) = (self.private, self.call);
        let params = self.plan.params.iter().map(|(key, expr)| {
            let captured = self.capture_call(&quote_reference(expr), "__mlflow_param");
            let statement =
                quote!(#call.param(#key, { use #private::specialization::*; #captured }););
            self.guard_statement(&format!("params({key})"), expr, statement)
        });
        let tags = self.plan.tags.iter().map(|(key, expr)| {
            let value = quote_reference(expr);
            let statement = quote!(#call.tag(#key, #value););
            self.guard_statement(&format!("tags({key})"), expr, statement)
        });
        quote!(#(#params)* #(#tags)*)
    }
}

/// Returns a key that is not yet in `keys`, and adds it there: `name`, or else `name_2`, `name_3`
/// and so on. Two arguments made by `macro_rules!` may have the same name, but their keys must
/// differ.
fn insert_unique_key(keys: &mut Vec<String>, name: &str) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let key = std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|key| !keys.contains(key))
        .unwrap_or_default();
    keys.push(key.clone());
    key
}

// Input:  `a + b`
// Output: `&(a + b)`, with the span of the expression: the compiler reports there what the value lacks
fn quote_reference(expr: &Expr) -> TokenStream {
    if let Expr::Lit(_) = expr {
        quote_spanned!(expr.span()=> &#expr)
    } else {
        quote_spanned!(expr.span()=> &(#expr))
    }
}
