//! The function as it is emitted if the attribute has an error: without tracking, but without further errors, too.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;

use crate::analyze::parameters::{Binding, Parameter};
use crate::parse::item::inner_attributes;

/// Returns the function with a use of every argument. If the attribute has an error, no tracking
/// code is emitted that would use the arguments, and the compiler would report unused arguments in
/// addition to the error.
// Input:  `fn f(a: u8) { 5 }`
// Output: `fn f(a: u8) { let _ = &a; 5 }`
pub(crate) fn with_parameter_uses(item: TokenStream, parameters: &[Parameter]) -> TokenStream {
    let mut trees: Vec<TokenTree> = item.clone().into_iter().collect();
    let Some(TokenTree::Group(body)) = trees.last() else {
        return item;
    };
    if body.delimiter() != Delimiter::Brace {
        return item;
    }
    let inner = inner_attributes(body.stream());
    let uses = parameters.iter().flat_map(|parameter| {
        let cfgs = &parameter.cfgs;
        let bindings = parameter.bindings.iter();
        bindings.map(move |Binding { ident, .. }| quote!(#(#cfgs)* let _ = &#ident;))
    });
    let uses: TokenStream = uses.collect();
    let rest: TokenStream = body.stream().into_iter().skip(inner.len()).collect();
    let inner: TokenStream = inner.into_iter().collect();
    let mut using = Group::new(Delimiter::Brace, quote!(#inner #uses #rest));
    using.set_span(body.span());
    trees.pop();
    trees.push(using.into());
    trees.into_iter().collect()
}
