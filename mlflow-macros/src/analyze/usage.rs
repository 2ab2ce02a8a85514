//! Usage of the function's arguments by logging.
//!
//! Invariant: logging reads exactly the arguments that the expansion names outside of the body. The
//! compiler counts such a mention as a use of the argument.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use syn::Expr;
use syn::ext::IdentExt as _;

use crate::analyze::parameters::{Binding, Parameter};
use crate::analyze::plan::{CapturePolicy, NameArgument, Plan};
use crate::parse::name_template::TemplatePart;

impl Plan {
    /// Returns true if logging reads anything that the argument binds.
    pub(crate) fn uses_parameter(
        &self,
        parameter: &Parameter,
        treatments: &[CapturePolicy],
    ) -> bool {
        let mut bindings = parameter.bindings.iter().zip(treatments);
        bindings.any(|(binding, &treatment)| {
            matches!(treatment, CapturePolicy::Log | CapturePolicy::Hash)
                || self.uses_in_expression(&binding.ident)
                || self.shows_in_template(binding, treatment)
        })
    }

    /// Returns true if an expression in the attribute uses the argument.
    pub(crate) fn uses_in_expression(&self, ident: &Ident) -> bool {
        let arguments = &self.arguments;
        let names = [&self.experiment, &self.run_name].into_iter().flatten();
        let names = names.filter_map(|name| match name {
            NameArgument::Expr(expr) => Some(expr),
            NameArgument::Template(..) => None,
        });
        let given = [
            &arguments.run_id,
            &arguments.description,
            &arguments.system_metrics,
        ];
        self.tags
            .iter()
            .chain(&self.params)
            .map(|(_, expr)| expr)
            .chain(names)
            .chain(given.into_iter().filter_map(Option::as_ref))
            .any(|expr| mentions_ident(expr, ident))
    }

    /// Returns true if the experiment's or the run's name has a placeholder that shows the
    /// argument's value.
    pub(crate) fn shows_in_template(&self, binding: &Binding, treatment: CapturePolicy) -> bool {
        let ident = binding.ident.unraw().to_string();
        let names = [&self.experiment, &self.run_name];
        let is_filled_in = names.into_iter().flatten().any(|name| match name {
            NameArgument::Expr(_) => false,
            NameArgument::Template(parts, _) => parts
                .iter()
                .any(|part| matches!(part, TemplatePart::Argument { name, .. } if *name == ident)),
        });
        is_filled_in && !binding.is_hidden(treatment)
    }
}

impl Binding {
    /// Returns true if a placeholder must not show the argument's value.
    pub(crate) fn is_hidden(&self, treatment: CapturePolicy) -> bool {
        matches!(treatment, CapturePolicy::Redact | CapturePolicy::Hash) || self.is_secret
    }
}

fn mentions_ident(expr: &Expr, ident: &Ident) -> bool {
    fn any(tokens: TokenStream, ident: &Ident) -> bool {
        tokens.into_iter().any(|tree| match tree {
            TokenTree::Ident(word) => word == *ident,
            TokenTree::Group(group) => any(group.stream(), ident),
            // Inline arguments of `format!` and similar macros, such as `{name}` in `"lr {name}"`.
            TokenTree::Literal(literal) => literal.to_string().contains(&format!("{{{ident}")),
            TokenTree::Punct(_) => false,
        })
    }
    any(quote!(#expr), ident)
}
