//! Documentation of a function as plain text.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

// Input:  `#[doc = " Fits."] #[doc = ""] #[doc = " Slowly."]`
// Output: "Fits.\n\nSlowly."
pub(crate) fn extract_doc_text(attributes: &[Attribute]) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(meta) = &attribute.meta
            && meta.path.is_ident("doc")
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) = &meta.value
        {
            lines.extend(
                text.value()
                    .lines()
                    .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()),
            );
            if text.value().is_empty() {
                lines.push(String::new());
            }
        }
    }
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}
