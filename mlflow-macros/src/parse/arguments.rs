//! Parser of the attribute's arguments: `key = value`, `key(…)` and `key`, separated by commas.
//!
//! Invariants: every key occurs at most once; an error in one argument does not hide those in
//! others.

use mlflow_rules::find_nearest;
use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, LitStr, Path, Token, parenthesized};

use crate::errors::{Errors, format_names};

const ARGUMENT_NAMES: [&str; 17] = [
    "experiment",
    "run_name",
    "tags",
    "params",
    "skip",
    "skip_all",
    "redact",
    "hash",
    "metric",
    "metrics",
    "skip_return",
    "log_model",
    "root",
    "run_id",
    "description",
    "system_metrics",
    "crate",
];

/// Arguments of `#[tracked(…)]` as they were written.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) experiment: Option<Expr>,
    pub(crate) run_name: Option<Expr>,
    pub(crate) tags: Vec<Entry>,
    pub(crate) params: Vec<Entry>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) skip_all: bool,
    pub(crate) redact: Vec<Ident>,
    pub(crate) hash: Vec<Ident>,
    pub(crate) metric: Option<LitStr>,
    /// Names of the metrics, with the span of the word `metrics`.
    pub(crate) metrics: Option<(Vec<LitStr>, Span)>,
    /// Span of the word `skip_return`, if it was written.
    pub(crate) skip_return: Option<Span>,
    pub(crate) log_model: Option<Expr>,
    pub(crate) root: bool,
    pub(crate) run_id: Option<Expr>,
    pub(crate) description: Option<Expr>,
    pub(crate) system_metrics: Option<Expr>,
    pub(crate) krate: Option<Path>,
}

/// Entry of a list: `key = expr`, or a bare `key`.
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Option<Expr>,
}

/// Key of an entry: `key`, or `"dotted.key"`.
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Parse for Key {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            return Ok(Self {
                text: text.value(),
                span: text.span(),
            });
        }
        let word = input.call(Ident::parse_any)?;
        Ok(Self {
            text: word.unraw().to_string(),
            span: word.span(),
        })
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.parse()?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() {
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { key, value })
    }
}

impl Arguments {
    /// Parses all of `input`, and adds every error to `errors`.
    pub(crate) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Self {
        let mut arguments = Self::default();
        parse_comma_separated(input, &ARGUMENT_NAMES, errors, |input, word| {
            arguments.parse_argument(input, word)
        });
        arguments
    }

    /// Parses the argument named `word`. Returns false if there is no argument of this name.
    fn parse_argument(&mut self, input: ParseStream<'_>, word: &Ident) -> syn::Result<bool> {
        match word.to_string().as_str() {
            "experiment" => self.experiment = Some(parse_value(input, word, "\"a name\"")?),
            "run_name" => self.run_name = Some(parse_value(input, word, "\"a name\"")?),
            "run_id" => self.run_id = Some(parse_value(input, word, "\"a run's id\"")?),
            "description" => self.description = Some(parse_value(input, word, "\"a text\"")?),
            "system_metrics" => self.system_metrics = Some(parse_value(input, word, "true")?),
            "log_model" => self.log_model = Some(parse_value(input, word, "false")?),
            "metric" => self.metric = Some(parse_value(input, word, "\"a name\"")?),
            "crate" => self.krate = Some(parse_value(input, word, "path::to::mlflow")?),
            "tags" => self.tags = parse_list(input, word, "key = value")?,
            "params" => self.params = parse_list(input, word, "key = value, argument")?,
            "skip" => self.skip = parse_names(input, word)?,
            "redact" => self.redact = parse_names(input, word)?,
            "hash" => self.hash = parse_names(input, word)?,
            "metrics" => {
                self.metrics = Some((
                    parse_list(input, word, "\"first\", \"second\"")?,
                    word.span(),
                ));
            }
            "skip_all" => self.skip_all = parse_flag(input, word)?,
            "root" => self.root = parse_flag(input, word)?,
            "skip_return" => self.skip_return = parse_flag(input, word)?.then(|| word.span()),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Parses arguments separated by commas, each name at most once, with the function `argument`,
/// which returns false if the name is none of `keys`. Every error is added to `errors`.
pub(crate) fn parse_comma_separated(
    input: ParseStream<'_>,
    keys: &[&'static str],
    errors: &mut Errors,
    mut argument: impl FnMut(ParseStream<'_>, &Ident) -> syn::Result<bool>,
) {
    let mut seen: Vec<String> = Vec::new();
    let mut one = |input: ParseStream<'_>| {
        let word = input.call(Ident::parse_any).map_err(|error| {
            let valid = format_names(keys.iter().copied());
            syn::Error::new(
                error.span(),
                format!("expected an argument's name, one of {valid}"),
            )
        })?;
        let key = word.to_string();
        if seen.contains(&key) {
            return Err(syn::Error::new(
                word.span(),
                format!("`{key}` is given twice"),
            ));
        }
        if !argument(input, &word)? {
            let by_its_end = || {
                let end = format!("_{key}");
                keys.iter().copied().find(|known| known.ends_with(&end))
            };
            let suggestion = find_nearest(&key, keys.iter().copied())
                .or_else(by_its_end)
                .map(|name| format!(", did you mean `{name}`?"))
                .unwrap_or_default();
            let valid = format_names(keys.iter().copied());
            let message =
                format!("unknown argument `{key}`{suggestion}\nvalid arguments are {valid}");
            return Err(syn::Error::new(word.span(), message));
        }
        seen.push(key);
        Ok(())
    };
    while !input.is_empty() {
        if let Err(error) = one(input) {
            errors.push(error);
            skip_to_comma(input);
        } else if !input.is_empty() && !input.peek(Token![,]) {
            errors.push(input.error("expected `,` between arguments"));
            skip_to_comma(input);
        }
        let _ = input.parse::<Option<Token![,]>>();
    }
}

pub(crate) fn parse_value<T: Parse>(
    input: ParseStream<'_>,
    word: &Ident,
    example: &str,
) -> syn::Result<T> {
    if input.parse::<Option<Token![=]>>()?.is_none() {
        return Err(syn::Error::new(
            word.span(),
            format!("`{word}` takes a value: `{word} = {example}`"),
        ));
    }
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(
            word.span(),
            format!("`{word}` has no value: write `{word} = {example}`"),
        ));
    }
    let at = input.span();
    input.parse().map_err(|error: syn::Error| {
        // For a text or a path syn names the token that it expected, and not the form of the argument.
        match error.to_string().as_str() {
            "expected string literal" | "expected identifier" => {
                syn::Error::new(at, format!("expected a value such as `{word} = {example}`"))
            }
            _ => error,
        }
    })
}

fn parse_list<T: Parse>(
    input: ParseStream<'_>,
    word: &Ident,
    example: &str,
) -> syn::Result<Vec<T>> {
    if !input.peek(syn::token::Paren) {
        return Err(syn::Error::new(
            word.span(),
            format!("`{word}` takes a list: `{word}({example})`"),
        ));
    }
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&content)?
        .into_iter()
        .collect())
}

/// Name of an argument of the function, or `self`.
struct ParameterName(Ident);

impl Parse for ParameterName {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Ident::parse_any).map(Self)
    }
}

fn parse_names(input: ParseStream<'_>, word: &Ident) -> syn::Result<Vec<Ident>> {
    Ok(parse_list::<ParameterName>(input, word, "argument")?
        .into_iter()
        .map(|name| name.0)
        .collect())
}

fn parse_flag(input: ParseStream<'_>, word: &Ident) -> syn::Result<bool> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(true);
    }
    Err(syn::Error::new(
        word.span(),
        format!("`{word}` takes no value: write only `{word}`"),
    ))
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}
