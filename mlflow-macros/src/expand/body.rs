//! A function's body, as it is handed on.
//!
//! Invariants: it is the user's own group of tokens; the block around it owns every argument and
//! drops them in the order of a plain function; it is checked against the declared return type.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{FnArg, Lifetime, ReturnType, Type};

use crate::analyze::parameters::Parameter;
use crate::analyze::wrapping::{Wrapping, infer_opaque_types, is_never, is_unit, output_of};
use crate::expand::paths;
use crate::parse::item::Function;

/// A body, and what it has to be given.
pub(crate) struct Body<'f> {
    pub(crate) private: &'f TokenStream,
    pub(crate) function: &'f Function,
    pub(crate) parameters: &'f [Parameter],
    pub(crate) wrapping: Wrapping,
}

impl Body<'_> {
    /// The declared return type, as a closure or an `async` block can have it.
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

    /// What the future is declared to end with, where an `impl Future` says it.
    pub(crate) fn future_output(&self) -> Option<TokenStream> {
        let ReturnType::Type(_, ty) = &self.function.signature.output else {
            return None;
        };
        let (output, _) = infer_opaque_types(output_of(ty)?);
        Some(quote!(#output))
    }

    /// In a closure.
    pub(crate) fn closure(&self) -> TokenStream {
        let (returned, owning) = (self.return_type(), self.owned_block());
        let span = self.function.body.span_open();
        quote_spanned!(span=> move || -> #returned #owning)
    }

    /// In an `async` block.
    pub(crate) fn async_block(&self) -> TokenStream {
        let owning = self.owned_block();
        let span = self.function.body.span_open();
        quote_spanned!(span=> async move #owning)
    }

    /// What stands for the function's own return type, if that cannot be written: `impl Trait` is
    /// known by a `return` only.
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

    // Input:  `return`, `nothing::<R>()`
    // Output: `if let Some(value) = nothing::<R>() { return value; }`
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

    /// A call that never gives a value of the type that is returned.
    fn never_value_call(&self) -> TokenStream {
        match self.return_type_hint_ident() {
            Some(like) => quote!(none_like(#like)),
            None => {
                let returned = self.return_type();
                quote!(none::<#returned>())
            }
        }
    }

    /// Tells a closure or an `async` block what it returns. Where the body returns something else, the compiler
    /// names the place of the value: that is the type in the signature.
    fn early_return_hint(&self) -> TokenStream {
        let span = match &self.function.signature.output {
            ReturnType::Default => Span::mixed_site(),
            ReturnType::Type(_, ty) => ty.span(),
        };
        self.never_taken_branch(span, &quote!(return), &self.never_value_call())
    }

    /// The body, told what the signature says of its value. The way out of the block around it is
    /// for a body that only ever returns: the compiler would find that the call is not reached.
    // Output: `with_type_of(like, 'value: { if let Some(value) = none_like(like) { break 'value value; } { body } }).0`
    fn with_type_hint(&self, like: &Ident, body: &TokenStream) -> TokenStream {
        let private = self.private;
        let label = Lifetime::new("'_value", Span::mixed_site());
        let leave = quote!(break #label);
        let leaves = self.never_taken_branch(Span::mixed_site(), &leave, &quote!(none_like(#like)));
        quote!(#private::with_type_of(#like, #label: { #leaves #body }).0)
    }

    /// Whether anything but `()` is returned.
    fn has_value(&self) -> bool {
        match &self.function.signature.output {
            ReturnType::Default => false,
            ReturnType::Type(_, ty) => !is_never(ty) && !is_unit(ty),
        }
    }

    /// What an `async` block returns, as the operand of a `return`: Clippy finds an `async` block that ends with a
    /// future, though not an `async fn` that does. The way out is for a body that never ends: the compiler would find
    /// that the `return` is not reached.
    // Output: `'_returned: { if let Some(value) = nothing::<R>() { break '_returned value; } keep(&a); { body } }`
    fn async_block_value(&self, content: &TokenStream) -> TokenStream {
        let label = Lifetime::new("'_returned", Span::mixed_site());
        let leave = quote!(break #label);
        let leaves = self.never_taken_branch(Span::mixed_site(), &leave, &self.never_value_call());
        let block = mixed_site_block(quote!(#leaves #content));
        quote!(#label: #block)
    }

    /// In a block that owns every argument. The outer braces stand where the user's do: else the compiler would
    /// find no name for what the body has captured.
    // Output: `{ { keep(&b); keep(&a); keep(&self); let (x, y) = __argument2; '__mlflow_body_0: { body } } }`
    pub(crate) fn owned_block(&self) -> TokenStream {
        let private = self.private;
        let body = &self.function.body;
        let is_async = matches!(self.wrapping, Wrapping::Async | Wrapping::AsyncPreserved);
        // A closure drops what it owns in the order of first mention, a function in reverse.
        let mut keeps = TokenStream::new();
        for parameter in self.parameters.iter().rev() {
            let cfgs = &parameter.cfgs;
            for ident in parameter.owned.iter().rev() {
                keeps.extend(quote!(#(#cfgs)* #private::mark_used(&#ident);));
            }
        }
        if let Some(FnArg::Receiver(receiver)) = self.function.signature.inputs.first()
            && !matches!(&*receiver.ty, Type::Reference(_))
        {
            let this = &receiver.self_token;
            keeps.extend(quote!(#private::mark_used(&#this);));
        }
        let rebinds: TokenStream = self
            .parameters
            .iter()
            .filter_map(|parameter| parameter.rebind_statements(private))
            .collect();
        // Nothing coerces to the never type but what never returns.
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

/// The body as the last expression of a block of ours.
///
/// The compiler takes the edition of a labelled block from its label, so the label has the user's: the edition decides
/// when the temporaries of the body's last expression are dropped. Attributes above each other wrap one body; their
/// labels differ, as each has fewer attributes left than the one before it.
// Input:  `{ 1 }`, under no attribute
// Output: `'__mlflow_body_0: { 1 }`, as braces without a label are found to be one pair too many
pub(crate) fn labelled_body(function: &Function) -> TokenStream {
    let Function {
        attributes, body, ..
    } = function;
    let name = format!("'__mlflow_body_{}", attributes.len());
    let label = Lifetime::new(&name, body.span_open());
    quote!(#label: #body)
}

/// A block of this crate's edition, 2024: its locals outlive what its last expression borrows from.
pub(crate) fn mixed_site_block(content: TokenStream) -> Group {
    let mut block = Group::new(Delimiter::Brace, content);
    block.set_span(Span::mixed_site());
    block
}

/// The whole new body. It takes the place of the old one in the source too: a function that ends
/// in a macro is nobody's, and not reported when it is never used.
pub(crate) fn replace_body(body: &Group, content: TokenStream) -> Group {
    let mut block = Group::new(Delimiter::Brace, content);
    block.set_span(body.span());
    block
}
