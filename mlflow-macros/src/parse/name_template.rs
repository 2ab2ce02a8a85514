//! Templates of names with placeholders, such as `"lr-{lr:.2}-{timestamp}"`.

use syn::{Ident, LitStr, Member};

/// Part of a template.
#[derive(Debug, PartialEq)]
pub(crate) enum TemplatePart {
    Text(String),
    /// Placeholder `{lr}`, `{config.lr}`, or `{lr:.2}` with `.2` as the format.
    Argument {
        name: String,
        /// Fields that are taken out of the argument, the outermost first.
        fields: Vec<String>,
        format: Option<String>,
    },
    Timestamp,
    Env,
    Function,
}

// Input:  "lr-{lr:.2}-{timestamp}"
// Output: Text("lr-"), Argument("lr", ".2"), Text("-"), Timestamp
pub(crate) fn parse(literal: &LitStr) -> syn::Result<Vec<TemplatePart>> {
    let text = literal.value();
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(index) = rest.find(['{', '}']) {
        plain.push_str(&rest[..index]);
        let brace = &rest[index..=index];
        rest = &rest[index + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let Some((inside, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            let message =
                format!("unmatched `{brace}`; for a literal `{brace}`, write `{brace}{brace}`");
            return Err(syn::Error::new(literal.span(), message));
        };
        rest = after;
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        let part = parse_placeholder(inside).ok_or_else(|| {
            let message = format!(
                "`{{{inside}}}` is not a valid placeholder: expected an argument, such as `{{lr}}`, or a field of one, such as \
                 `{{config.lr}}`\nfor any other expression, write `format!(…)` instead of the literal; for a literal brace, write \
                 `{{{{`"
            );
            syn::Error::new(literal.span(), message)
        })?;
        parts.push(part);
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Ok(parts)
}

/// Returns the placeholder that stands in braces, or `None` if it names no argument.
fn parse_placeholder(inside: &str) -> Option<TemplatePart> {
    Some(match inside.trim() {
        "timestamp" => TemplatePart::Timestamp,
        "env" => TemplatePart::Env,
        "function" => TemplatePart::Function,
        other => {
            let (path, format) = other
                .split_once(':')
                .map_or((other, None), |(path, format)| (path, Some(format)));
            let mut names = path.split('.').map(str::trim);
            let name = names.next()?;
            syn::parse_str::<Ident>(name).ok()?;
            let field = |name: &str| syn::parse_str::<Member>(name).ok().map(|_| name.to_owned());
            TemplatePart::Argument {
                name: name.to_owned(),
                fields: names.map(field).collect::<Option<_>>()?,
                format: format.map(str::to_owned),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> syn::Result<Vec<TemplatePart>> {
        parse(&LitStr::new(text, proc_macro2::Span::call_site()))
    }

    #[test]
    fn splits() {
        let argument = |name: &str, format: Option<&str>| TemplatePart::Argument {
            name: name.to_owned(),
            fields: Vec::new(),
            format: format.map(str::to_owned),
        };
        let text = |text: &str| TemplatePart::Text(text.to_owned());
        assert_eq!(
            parts("{{lr}}-{lr:.2}-{ timestamp }{n}").ok(),
            Some(vec![
                text("{lr}-"),
                argument("lr", Some(".2")),
                text("-"),
                TemplatePart::Timestamp,
                argument("n", None)
            ])
        );
        assert_eq!(
            parts("{config.model.0:?}").ok(),
            Some(vec![TemplatePart::Argument {
                name: "config".to_owned(),
                fields: vec!["model".to_owned(), "0".to_owned()],
                format: Some("?".to_owned()),
            }])
        );
        for no_name in ["{}", "{a + b}", "{a.len()}", "{a.}", "{0}"] {
            assert!(parts(no_name).is_err(), "{no_name}");
        }
        assert!(parts("{open").is_err());
        assert!(parts("close}").is_err());
    }
}
