//! Names with arguments in them: `"lr-{lr:.2}-{timestamp}"`.

use syn::LitStr;

/// A part of the text.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    /// `{lr}`, or `{lr:.2}` with `.2` as its format.
    Argument {
        name: String,
        format: Option<String>,
    },
    Timestamp,
    Env,
    Function,
}

// Input:  "lr-{lr:.2}-{timestamp}"
// Output: Text("lr-"), Argument("lr", ".2"), Text("-"), Timestamp
pub(crate) fn parse(literal: &LitStr) -> syn::Result<Vec<Part>> {
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
            let message = format!(
                "`{brace}` without its counterpart; write `{brace}{brace}` for the character itself"
            );
            return Err(syn::Error::new(literal.span(), message));
        };
        rest = after;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(placeholder(inside));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn placeholder(inside: &str) -> Part {
    match inside.trim() {
        "timestamp" => Part::Timestamp,
        "env" => Part::Env,
        "function" => Part::Function,
        other => {
            let (name, format) = other
                .split_once(':')
                .map_or((other, None), |(name, format)| (name, Some(format)));
            Part::Argument {
                name: name.trim().to_owned(),
                format: format.map(str::to_owned),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> syn::Result<Vec<Part>> {
        parse(&LitStr::new(text, proc_macro2::Span::call_site()))
    }

    #[test]
    fn splits() {
        let argument = |name: &str, format: Option<&str>| Part::Argument {
            name: name.to_owned(),
            format: format.map(str::to_owned),
        };
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(
            parts("{{lr}}-{lr:.2}-{ timestamp }{n}").ok(),
            Some(vec![
                text("{lr}-"),
                argument("lr", Some(".2")),
                text("-"),
                Part::Timestamp,
                argument("n", None)
            ])
        );
        assert!(parts("{open").is_err());
        assert!(parts("close}").is_err());
    }
}
