//! Function body in a form that can be passed to the runtime: in a closure or an `async` block.
//!
//! Invariants: the body is the user's own group of tokens. The block around the body owns every
//! argument, and drops the arguments in the order of a plain function. The body is checked against
//! the declared return type.
//!
//! An `async` block declares no return type, and a closure cannot declare one with `impl Trait`.
//! The compiler infers their type from the first `return`. Therefore *hints* are emitted: branches
//! that are never taken but have the declared type, such as
//! `if let Some(value) = none::<R>() { return value; }`.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{FnArg, Lifetime, ReturnType};

use crate::analyze::parameters::{Parameter, is_reference};
use crate::analyze::wrapping::{Wrapping, infer_opaque_types, is_never, is_unit, output_of};
use crate::parse::item::Function;
use crate::paths;

/// Function body, with all that is needed to wrap it.
pub(crate) struct Body<'f> {
    pub(crate) private: &'f TokenStream,
    pub(crate) function: &'f Function,
    pub(crate) parameters: &'f [Parameter],
    pub(crate) wrapping: Wrapping,
}

impl Body<'_> {
    /// Returns the declared return type in a form that a closure or an `async` block can have: `_`
    /// replaces every `impl Trait` and every macro, and the runtime's `Never` replaces `!`.
    pub(crate) fn return_type(&self) -> TokenStream {
        let private = self.private;
        match &self.function.signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) if is_never(ty) => quote!(#private::Never),
            ReturnType::Type(_, ty) => {
                let (ty, _) = infer_opaque_types(ty);
                quote!(#ty)
            }
        }
    }

    /// Returns the declared output of the future that the function returns, or `None` if the return
    /// type is not an `impl Future<Output = …>`.
    pub(crate) fn future_output(&self) -> Option<TokenStream> {
        let ReturnType::Type(_, ty) = &self.function.signature.output else {
            return None;
        };
        let (output, _) = infer_opaque_types(output_of(ty)?);
        Some(quote!(#output))
    }

    /// Returns the body in a closure.
    pub(crate) fn closure(&self) -> TokenStream {
        let (returned, owning) = (self.return_type(), self.owned_block());
        let span = self.function.body.span_open();
        quote_spanned!(span=> move || -> #returned #owning)
    }

    /// Returns the body in an `async` block.
    pub(crate) fn async_block(&self) -> TokenStream {
        let owning = self.owned_block();
        let span = self.function.body.span_open();
        quote_spanned!(span=> async move #owning)
    }

    /// Returns statements that define a marker of the function's return type, or `None` if no
    /// marker is needed. A type with `impl Trait` cannot be written outside of a signature, so the
    /// compiler learns the marker's type from a `return` that is never reached.
    // Output: `let like = ReturnType::MARKER; if let Some(value) = none_like(like) { return value; }`
    pub(crate) fn return_type_hint(&self) -> Option<TokenStream> {
        let (private, like) = (self.private, self.return_type_hint_ident()?);
        let ours = Span::mixed_site();
        let returns = match self.wrapping {
            Wrapping::Async => {
                self.never_taken_branch(ours, &quote!(return), &quote!(none_future_like(#like)))
            }
            _ => self.never_taken_branch(ours, &quote!(return), &quote!(none_like(#like))),
        };
        Some(quote!(let #like = #private::ReturnType::MARKER; #returns))
    }

    fn return_type_hint_ident(&self) -> Option<Ident> {
        let ReturnType::Type(_, ty) = &self.function.signature.output else {
            return None;
        };
        let has_place = matches!(
            self.wrapping,
            Wrapping::Closure | Wrapping::Async | Wrapping::AsyncPreserved
        );
        let needed = has_place && !infer_opaque_types(ty).1.is_empty();
        needed.then(|| Ident::new("__mlflow_like", Span::mixed_site()))
    }

    // Input:  `return`, `none::<R>()`
    // Output: `if let Some(value) = none::<R>() { return value; }`
    fn never_taken_branch(
        &self,
        span: Span,
        leave: &TokenStream,
        nothing: &TokenStream,
    ) -> TokenStream {
        let (private, core) = (self.private, paths::core_path());
        let value = Ident::new("__mlflow_return", span);
        quote! {
            if let #core::option::Option::Some(#value) = #private::#nothing {
                #leave #value;
            }
        }
    }

    /// Returns a call whose value is always `None`, in an `Option` of the returned type.
    fn never_value_call(&self) -> TokenStream {
        match self.return_type_hint_ident() {
            Some(like) => quote!(none_like(#like)),
            None => {
                let returned = self.return_type();
                quote!(none::<#returned>())
            }
        }
    }

    /// Returns a hint of the return type for the beginning of a closure or an `async` block. The
    /// hint has the span of the type in the signature: if the body returns something else, the
    /// compiler's message points to that type.
    fn early_return_hint(&self) -> TokenStream {
        let span = match &self.function.signature.output {
            ReturnType::Default => Span::mixed_site(),
            ReturnType::Type(_, ty) => ty.span(),
        };
        self.never_taken_branch(span, &quote!(return), &self.never_value_call())
    }

    /// Returns the body as an argument of a call that gives the body's value the type of the marker
    /// `like`. The block around the body has a hint with `break`. Without the hint, the compiler
    /// would warn about an unreachable call if the body only ever uses `return`.
    // Output: `with_type_of(like, 'value: {
    //             if let Some(value) = none_like(like) { break 'value value; } { body }
    //         }).0`
    fn with_type_hint(&self, like: &Ident, body: &TokenStream) -> TokenStream {
        let private = self.private;
        let label = Lifetime::new("'_value", Span::mixed_site());
        let leave = quote!(break #label);
        let leaves = self.never_taken_branch(Span::mixed_site(), &leave, &quote!(none_like(#like)));
        quote!(#private::with_type_of(#like, #label: { #leaves #body }).0)
    }

    /// Returns true if the declared return type is neither `()` nor `!`.
    fn has_value(&self) -> bool {
        match &self.function.signature.output {
            ReturnType::Default => false,
            ReturnType::Type(_, ty) => !is_never(ty) && !is_unit(ty),
        }
    }

    /// Returns the value of an `async` block as the operand of a `return`: Clippy reports an
    /// `async` block that ends with a future, but not an `async fn` that does. The hint with
    /// `break` is for a body that never ends. Without the hint, the compiler would warn that the
    /// `return` is unreachable.
    // Output: `'_returned: {
    //             if let Some(value) = none::<R>() { break '_returned value; } mark_used(&a); { body }
    //         }`
    fn async_block_value(&self, content: &TokenStream) -> TokenStream {
        let label = Lifetime::new("'_returned", Span::mixed_site());
        let leave = quote!(break #label);
        let leaves = self.never_taken_branch(Span::mixed_site(), &leave, &self.never_value_call());
        let block = mixed_site_block(quote!(#leaves #content));
        quote!(#label: #block)
    }

    /// Returns the body in a block that owns every argument. The outer braces have the span of the
    /// user's braces. With another span, the compiler's messages could not name the variables that
    /// the body captures.
    // Output: `{ {
    //             mark_used(&b); mark_used(&a); mark_used(&self); let (x, y) = __argument2;
    //             '__mlflow_body_0: { body }
    //         } }`
    pub(crate) fn owned_block(&self) -> TokenStream {
        let private = self.private;
        let body = &self.function.body;
        let is_async = matches!(self.wrapping, Wrapping::Async | Wrapping::AsyncPreserved);
        // A closure drops its captured variables in the order in which they are first mentioned, a
        // function drops its arguments in reverse order. So the arguments are mentioned in reverse
        // order.
        let mut keeps = TokenStream::new();
        for parameter in self.parameters.iter().rev() {
            let cfgs = &parameter.cfgs;
            for ident in parameter.owned.iter().rev() {
                keeps.extend(quote!(#(#cfgs)* #private::mark_used(&#ident);));
            }
        }
        if let Some(FnArg::Receiver(receiver)) = self.function.signature.inputs.first()
            && !is_reference(receiver)
        {
            let this = &receiver.self_token;
            keeps.extend(quote!(#private::mark_used(&#this);));
        }
        let rebinds: TokenStream = self
            .parameters
            .iter()
            .filter_map(|parameter| parameter.rebind_statements(private))
            .collect();
        // Only an expression that never returns coerces to the never type, so `!` gets no hint.
        let has_type =
            !matches!(&self.function.signature.output, ReturnType::Type(_, ty) if is_never(ty));
        let like = self.return_type_hint_ident();
        let typed = ((is_async && has_type) || like.is_some()).then(|| self.early_return_hint());
        if typed.is_none() && !is_async && keeps.is_empty() && rebinds.is_empty() {
            return quote!(#body);
        }
        let body = match (self.wrapping, &like) {
            (Wrapping::Async, Some(like)) => {
                self.with_type_hint(like, &labelled_body(self.function))
            }
            _ => labelled_body(self.function),
        };
        let content = if is_async && self.has_value() {
            let value = self.async_block_value(&quote!(#keeps #rebinds #body));
            quote!(#typed return #value;)
        } else {
            let inner = mixed_site_block(quote!(#typed #keeps #rebinds #body));
            quote!(#inner)
        };
        let outer = replace_body(&self.function.body, content);
        quote!(#outer)
    }
}

/// Returns the body with a label, for use as the last expression of a block that the macro emits.
///
/// The compiler takes the edition of a labelled block from its label, so the label has the user's
/// edition. The edition decides when the temporaries of the body's last expression are dropped.
/// Several attributes on one function wrap the same body. Their labels differ, as each attribute
/// sees fewer remaining attributes than the one before it.
// Input:  `{ 1 }`, under no attribute
// Output: `'__mlflow_body_0: { 1 }`; the compiler would warn about the braces of an unlabelled block
pub(crate) fn labelled_body(function: &Function) -> TokenStream {
    let Function {
        attributes, body, ..
    } = function;
    let name = format!("'__mlflow_body_{}", attributes.len());
    let label = Lifetime::new(&name, body.span_open());
    quote!(#label: #body)
}

/// Returns a block of this crate's edition, 2024. In that edition the locals of the block outlive
/// the temporaries of its last expression, which may borrow from the locals.
pub(crate) fn mixed_site_block(content: TokenStream) -> Group {
    let mut block = Group::new(Delimiter::Brace, content);
    block.set_span(Span::mixed_site());
    block
}

/// Returns the whole new body, with the span of the old one. If a function ended in a macro's
/// tokens, the compiler would take the function for generated code, and would not report it as
/// unused.
pub(crate) fn replace_body(body: &Group, content: TokenStream) -> Group {
    let mut block = Group::new(Delimiter::Brace, content);
    block.set_span(body.span());
    block
}
