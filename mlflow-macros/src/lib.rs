//! Attribute macros of `mlflow-runtime`.
use proc_macro::TokenStream;

/// x
#[proc_macro_attribute]
pub fn tracked(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
/// x
#[proc_macro_attribute]
pub fn timed(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
