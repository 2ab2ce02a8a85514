//! Parser of the item on which an attribute stands.
//!
//! Invariants: the signature is kept whole. Only the inner attributes of the body are read.
//! Anything but a function with a body is rejected, with one error that suggests a fix.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Attribute, Error, Expr, Signature, Token, Visibility};

/// Function, method or trait method with a body.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) default: Option<Token![default]>,
    pub(crate) signature: Signature,
    /// Body in braces, without its inner attributes.
    pub(crate) body: Group,
}

/// Parses `item` for the attribute called `attribute`.
pub(crate) fn parse(attribute: &str, item: TokenStream) -> syn::Result<Function> {
    let item = strip_outer_group(item);
    reject_non_function(attribute, &item)?;
    let function: Function = syn::parse2(item)?;
    if let Some(const_token) = function.signature.constness {
        let message = format!(
            "`#[{attribute}]` cannot track a `const fn`: remove `const`, or annotate the caller"
        );
        return Err(Error::new(const_token.span, message));
    }
    Ok(function)
}

/// Returns the item without the group around it: `macro_rules!` passes on a whole `$item` inside of
/// a group without delimiters.
fn strip_outer_group(item: TokenStream) -> TokenStream {
    let mut trees = item.clone().into_iter();
    match (trees.next(), trees.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => {
            group.stream()
        }
        _ => item,
    }
}

/// Returns an error for everything that is not a function, at the word that shows the kind of the
/// item.
fn reject_non_function(attribute: &str, item: &TokenStream) -> syn::Result<()> {
    let mut trees = item.clone().into_iter().peekable();
    let mut first = None;
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                trees.next();
            }
            TokenTree::Ident(word) => {
                first.get_or_insert(word.span());
                let what = match word.to_string().as_str() {
                    "fn" => return Ok(()),
                    "struct" => "a struct",
                    "enum" => "an enum",
                    "union" => "a union",
                    "trait" => "a trait: annotate its methods that have a body",
                    "mod" => "a module: annotate its functions",
                    "type" => "a type alias",
                    "static" => "a static",
                    "use" => "an import",
                    "let" => "a `let`: make the closure a function",
                    "move" => describe_expression(item),
                    "const" if matches!(trees.peek(), Some(TokenTree::Ident(next)) if is_value_name(next)) => {
                        "a constant"
                    }
                    "impl" => {
                        let what = format!("an `impl` block: {}", advice_for_impl(trees.last()));
                        return Err(Error::new(
                            word.span(),
                            wrong_item_message(attribute, &what),
                        ));
                    }
                    _ => continue,
                };
                return Err(Error::new(word.span(), wrong_item_message(attribute, what)));
            }
            TokenTree::Punct(punct) if punct.as_char() == '|' => {
                return Err(Error::new(
                    punct.span(),
                    wrong_item_message(attribute, describe_expression(item)),
                ));
            }
            _ => {}
        }
    }
    Err(Error::new(
        first.unwrap_or_else(Span::call_site),
        wrong_item_message(attribute, describe_expression(item)),
    ))
}

fn describe_expression(item: &TokenStream) -> &'static str {
    match as_expression(item) {
        Some(Expr::Closure(_)) => "a closure: make it a function",
        Some(Expr::Async(_)) => "an `async` block: make it an `async fn`",
        Some(_) => "an expression: make it a function",
        None => "this",
    }
}

/// Returns the item as an expression; `None` if it is none, or is a macro call that may stand for
/// items.
pub(crate) fn as_expression(item: &TokenStream) -> Option<Expr> {
    let parsed = (|input: ParseStream<'_>| {
        let expr = input.parse()?;
        // The compiler passes on the comma after a closure.
        input.parse::<Option<Token![,]>>()?;
        Ok(expr)
    })
    .parse2(item.clone());
    parsed.ok().filter(|expr| !matches!(expr, Expr::Macro(_)))
}

fn is_value_name(word: &proc_macro2::Ident) -> bool {
    !["fn", "unsafe", "async", "extern"]
        .iter()
        .any(|keyword| word == keyword)
}

fn wrong_item_message(attribute: &str, what: &str) -> String {
    format!("`#[{attribute}]` goes on a function or method with a body, not on {what}")
}

// Input:  `{ fn fit(&self) {} fn score(&self) {} }`
// Output: "annotate its methods one by one: `fit`, `score`"
fn advice_for_impl(last: Option<TokenTree>) -> String {
    let Some(TokenTree::Group(block)) = last else {
        return "annotate its methods".to_owned();
    };
    let mut names = Vec::new();
    let mut after_fn = false;
    for tree in block.stream() {
        if let TokenTree::Ident(word) = &tree
            && after_fn
        {
            names.push(format!("`{word}`"));
        }
        after_fn = matches!(&tree, TokenTree::Ident(word) if word == "fn");
    }
    if names.is_empty() {
        return "annotate its methods one by one".to_owned();
    }
    format!("annotate its methods one by one: {}", names.join(", "))
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let default = if input.peek(Token![default]) {
            Some(input.parse()?)
        } else {
            None
        };
        let signature: Signature = input.parse()?;
        if let Ok(semicolon) = input.parse::<Token![;]>() {
            return Err(Error::new(
                semicolon.span,
                format!(
                    "`{}` has no body to track: put the attribute on the methods that implement it",
                    signature.ident
                ),
            ));
        }
        let body = expect_braces(input.parse()?)?;
        let (inner, body) = without_inner_attributes(body)?;
        attributes.extend(inner);
        Ok(Self {
            attributes,
            visibility,
            default,
            signature,
            body,
        })
    }
}

/// Returns the body's group in braces: `macro_rules!` passes on a `$body:block` inside of a group
/// without delimiters.
fn expect_braces(tree: TokenTree) -> syn::Result<Group> {
    match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group),
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            let mut trees = group.stream().into_iter();
            match (trees.next(), trees.next()) {
                (Some(only), None) => expect_braces(only),
                _ => Err(Error::new(group.span(), "expected the function's body")),
            }
        }
        other => Err(Error::new(other.span(), "expected the function's body")),
    }
}

// Input:  `{ #![allow(unused)] 5 }`
// Output: `#[allow(unused)]` and `{ 5 }`, as inner attributes cannot stand in an inner block
fn without_inner_attributes(body: Group) -> syn::Result<(Vec<Attribute>, Group)> {
    let inner = inner_attributes(body.stream());
    if inner.is_empty() {
        return Ok((Vec::new(), body));
    }
    let rest = body.stream().into_iter().skip(inner.len()).collect();
    let mut stripped = Group::new(Delimiter::Brace, rest);
    stripped.set_span(body.span());
    let is_bang =
        |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == '!');
    let outer = inner.into_iter().filter(|tree| !is_bang(tree)).collect();
    let attributes = Attribute::parse_outer.parse2(outer)?;
    Ok((attributes, stripped))
}

/// Returns the tokens of the inner attributes with which a body begins.
// Input:  `#![allow(unused)] 5`
// Output: `#`, `!`, `[allow(unused)]`
pub(crate) fn inner_attributes(body: TokenStream) -> Vec<TokenTree> {
    let trees: Vec<TokenTree> = body.into_iter().collect();
    let is_inner = |trees: &[TokenTree]| {
        matches!(
            trees,
            [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(meta)]
                if hash.as_char() == '#'
                    && bang.as_char() == '!'
                    && meta.delimiter() == Delimiter::Bracket
        )
    };
    let count = trees.chunks(3).take_while(|trees| is_inner(trees)).count();
    trees.into_iter().take(3 * count).collect()
}
