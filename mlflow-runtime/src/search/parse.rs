//! Parser of MLflow's filter language.
//!
//! The grammar, as MLflow's `search_utils.py` reads it (`AND` and the other words in capitals or not):
//!
//! ```text
//! filter      = comparison { "AND" comparison }
//! comparison  = identifier ( "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE" ) value
//!             | identifier [ "NOT" ] "IN" "(" text { "," text } ")"
//!             | identifier "IS" [ "NOT" ] "NULL"
//! identifier  = [ kind "." ] key
//! kind        = "metrics" | "params" | "tags" | "attributes" | "datasets", or one of their other names
//! key         = letters, digits, "_" and "."; any text in backticks or double quotes
//! value       = number | text
//! text        = "'" … "'" | '"' … '"', without any escape
//! ```

use std::error::Error;
use std::fmt::{self, Display};

use super::Subject;
use super::comparison::{Comparison, Operand, Operator};
use super::field::{Field, FieldKind, SortKey};

/// Advice for a key that MLflow's language cannot hold as it is.
const QUOTE_THE_KEY: &str = "put a key with other characters than letters, digits, `_` and `.` in backticks, e.g. metrics.`val/loss`";

/// Error of a filter or an order that a search does not understand. The text marks the place.
///
/// ```
/// use mlflow::search::SearchRuns;
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let search = SearchRuns::new().filter("metrics.rmse < 0.7 AND tags.model == 'a'");
/// let error = client.search_runs(search).next().unwrap().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\
/// the filter cannot be read: expected an operator, found `==`; write `=` for equality
///     metrics.rmse < 0.7 AND tags.model == 'a'
///                                       ^"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchError {
    /// Part of the search that is wrong: `filter` or `order`.
    what: &'static str,
    /// Text that was given.
    text: String,
    /// Index of the byte in `text` where the error is; `None` if the whole text is meant.
    place: Option<usize>,
    /// Description of the fault: expected, found, and what to do.
    reason: String,
}

impl SearchError {
    /// Creates the error of a whole comparison.
    pub(super) fn of_filter(text: &str, reason: String) -> Self {
        Self::new("filter", text, None, reason)
    }

    /// Creates the error of a whole order.
    pub(super) fn of_order(text: &str, reason: String) -> Self {
        Self::new("order", text, None, reason)
    }

    fn new(what: &'static str, text: &str, place: Option<usize>, reason: String) -> Self {
        Self {
            what,
            text: text.to_owned(),
            place,
            reason,
        }
    }
}

impl Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} cannot be read: {}", self.what, self.reason)?;
        // Line feeds in the text would break the mark.
        let line: String = self
            .text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        write!(f, "\n    {line}")?;
        if let Some(place) = self.place {
            let before = self.text.get(..place).unwrap_or(&self.text);
            write!(f, "\n    {}^", " ".repeat(before.chars().count()))?;
        }
        Ok(())
    }
}

impl Error for SearchError {}

/// Reads a filter.
pub(super) fn parse_filter(text: &str, subject: Subject) -> Result<Vec<Comparison>, SearchError> {
    let mut parser = Parser::new("filter", text)?;
    let mut all = Vec::new();
    while parser.peek().is_some() {
        if !all.is_empty() {
            parser.expect_word("AND", "AND between two comparisons")?;
        }
        all.push(parser.comparison(subject)?);
    }
    Ok(all)
}

/// Reads one field of an order, with its direction.
pub(super) fn parse_order(text: &str, subject: Subject) -> Result<SortKey, SearchError> {
    let mut parser = Parser::new("order", text)?;
    let (place, field) = parser.identifier(subject)?;
    subject
        .check_order(&field)
        .map_err(|reason| parser.error(place, reason))?;
    let descending = if parser.take_word("DESC") {
        true
    } else {
        parser.take_word("ASC");
        false
    };
    match parser.peek() {
        None => Ok(SortKey { field, descending }),
        Some(token) => Err(parser.unexpected(
            token,
            "ASC, DESC or the end. Several orders are given one after the other",
        )),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum TokenKind {
    /// Word or quoted name, or several of them joined by dots.
    Identifier(Vec<NamePart>),
    Number(Operand),
    /// Text in single quotes.
    Text(String),
    Symbol(&'static str),
    Open,
    Close,
    Comma,
}

#[derive(Clone, Debug, PartialEq)]
struct NamePart {
    text: String,
    quote: Option<char>,
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

struct Parser<'t> {
    what: &'static str,
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
}

impl<'t> Parser<'t> {
    fn new(what: &'static str, text: &'t str) -> Result<Self, SearchError> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some((token, end)) = next_token(text, at)
            .map_err(|(place, reason)| SearchError::new(what, text, Some(place), reason))?
        {
            tokens.push(token);
            at = end;
        }
        Ok(Self {
            what,
            text,
            tokens,
            next: 0,
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn error(&self, place: usize, reason: String) -> SearchError {
        SearchError::new(self.what, self.text, Some(place), reason)
    }

    fn unexpected(&self, token: &Token, expected: &str) -> SearchError {
        let found = self.text.get(token.start..token.end).unwrap_or_default();
        self.error(token.start, format!("expected {expected}, found `{found}`"))
    }

    fn unexpected_end(&self, expected: &str) -> SearchError {
        let reason = format!("expected {expected}, found the end");
        self.error(self.text.len(), reason)
    }

    /// Takes the next token if it is this word, in capitals or not.
    fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.peek().is_some_and(|token| token.is_word(word));
        if is_it {
            self.next += 1;
        }
        is_it
    }

    fn expect_word(&mut self, word: &str, expected: &str) -> Result<(), SearchError> {
        if self.take_word(word) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) if token.is_word("OR") => self.error(
                token.start,
                "MLflow's filters have no OR; make one search for each side".to_owned(),
            ),
            Some(token) => self.unexpected(token, expected),
            None => self.unexpected_end(expected),
        })
    }

    fn comparison(&mut self, subject: Subject) -> Result<Comparison, SearchError> {
        let (place, field) = self.identifier(subject)?;
        let operator = self.operator()?;
        let operand = match operator {
            Operator::IsNull | Operator::IsNotNull => Operand::Nothing,
            Operator::In | Operator::NotIn => self.list()?,
            _ => self.value()?,
        };
        let comparison = Comparison {
            field,
            operator,
            operand,
        };
        subject
            .check(&comparison)
            .map_err(|reason| self.error(place, reason))?;
        Ok(comparison)
    }

    /// Reads a field. Also returns the place where it stands.
    fn identifier(&mut self, subject: Subject) -> Result<(usize, Field), SearchError> {
        let expected = "a field, e.g. metrics.rmse or tags.`a-b`";
        let Some(token) = self.take() else {
            return Err(self.unexpected_end(expected));
        };
        let TokenKind::Identifier(parts) = &token.kind else {
            return Err(self.unexpected(&token, expected));
        };
        let (kind, key) = match parts.as_slice() {
            [key] => (FieldKind::Attribute, key.text.clone()),
            [kind, key @ ..] => match kind_of(&kind.text) {
                Some(kind) => (kind, join_key(key)),
                None => {
                    return Err(self.error(
                        token.start,
                        format!(
                            "expected metrics, params, tags, attributes or datasets before the dot, found `{}`",
                            kind.text
                        ),
                    ));
                }
            },
            [] => return Err(self.unexpected(&token, expected)),
        };
        let key = match kind {
            FieldKind::Attribute => canonical_attribute(subject, key),
            _ => key,
        };
        Ok((token.start, Field { kind, key }))
    }

    fn operator(&mut self) -> Result<Operator, SearchError> {
        let expected = "an operator";
        let Some(token) = self.take() else {
            return Err(self.unexpected_end(expected));
        };
        let operator = match &token.kind {
            TokenKind::Symbol("=") => Operator::Equal,
            TokenKind::Symbol("!=" | "<>") => Operator::NotEqual,
            TokenKind::Symbol(">") => Operator::Greater,
            TokenKind::Symbol(">=") => Operator::GreaterOrEqual,
            TokenKind::Symbol("<") => Operator::Less,
            TokenKind::Symbol("<=") => Operator::LessOrEqual,
            TokenKind::Symbol("-") => {
                let mut error = self.unexpected(&token, expected);
                error.reason = format!("{}; {QUOTE_THE_KEY}", error.reason);
                return Err(error);
            }
            TokenKind::Symbol("==") => {
                let mut error = self.unexpected(&token, expected);
                error.reason += "; write `=` for equality";
                return Err(error);
            }
            _ if token.is_word("LIKE") => Operator::Like,
            _ if token.is_word("ILIKE") => Operator::ILike,
            _ if token.is_word("IN") => Operator::In,
            _ if token.is_word("NOT") => {
                self.expect_word("IN", "IN after NOT")?;
                Operator::NotIn
            }
            _ if token.is_word("IS") => {
                let negated = self.take_word("NOT");
                self.expect_word("NULL", "NULL")?;
                if negated {
                    Operator::IsNotNull
                } else {
                    Operator::IsNull
                }
            }
            _ => return Err(self.unexpected(&token, expected)),
        };
        Ok(operator)
    }

    fn value(&mut self) -> Result<Operand, SearchError> {
        let expected = "a number or a text in quotes";
        let Some(token) = self.take() else {
            return Err(self.unexpected_end(expected));
        };
        match token.kind {
            TokenKind::Number(number) => Ok(number),
            TokenKind::Text(text) => Ok(Operand::Text(text)),
            TokenKind::Identifier(ref parts) => match parts.as_slice() {
                [
                    NamePart {
                        text,
                        quote: Some('"'),
                    },
                ] => Ok(Operand::Text(text.clone())),
                _ => Err(self.unexpected(&token, expected)),
            },
            _ => Err(self.unexpected(&token, expected)),
        }
    }

    fn list(&mut self) -> Result<Operand, SearchError> {
        let expected = "a list of quoted texts, e.g. ('a', 'b')";
        match self.take() {
            Some(Token {
                kind: TokenKind::Open,
                ..
            }) => {}
            Some(token) => return Err(self.unexpected(&token, expected)),
            None => return Err(self.unexpected_end(expected)),
        }
        let mut texts = Vec::new();
        loop {
            if !texts.is_empty() && self.take_closed() {
                return Ok(Operand::List(texts));
            }
            let place = self.peek().map(|token| token.start);
            match self.value()? {
                Operand::Text(text) => texts.push(text),
                _ => {
                    let place = place.unwrap_or(self.text.len());
                    return Err(self.error(place, format!("expected {expected}")));
                }
            }
            match self.peek() {
                Some(token) if token.kind == TokenKind::Comma => self.next += 1,
                Some(token) if token.kind == TokenKind::Close => {}
                Some(token) => return Err(self.unexpected(token, "a comma or `)`")),
                None => return Err(self.unexpected_end("a comma or `)`")),
            }
        }
    }

    fn take_closed(&mut self) -> bool {
        let is_closed = self
            .peek()
            .is_some_and(|token| token.kind == TokenKind::Close);
        if is_closed {
            self.next += 1;
        }
        is_closed
    }
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        match &self.kind {
            TokenKind::Identifier(parts) => match parts.as_slice() {
                [NamePart { text, quote: None }] => text.eq_ignore_ascii_case(word),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Returns the kind of field that a prefix names. MLflow knows each by several names.
fn kind_of(prefix: &str) -> Option<FieldKind> {
    Some(match prefix {
        "metric" | "metrics" => FieldKind::Metric,
        "parameter" | "parameters" | "param" | "params" => FieldKind::Param,
        "tag" | "tags" => FieldKind::Tag,
        "attribute" | "attributes" | "attr" | "run" => FieldKind::Attribute,
        "dataset" | "datasets" => FieldKind::Dataset,
        _ => return None,
    })
}

/// Returns the name of an attribute that MLflow also knows by other names.
fn canonical_attribute(subject: Subject, key: String) -> String {
    let canonical = match (subject, key.as_str()) {
        (Subject::Runs, "created" | "Created") => "start_time",
        (Subject::Runs, "run name" | "Run name" | "Run Name") => "run_name",
        (Subject::RegisteredModels, "timestamp") => "last_updated_timestamp",
        _ => return key,
    };
    canonical.to_owned()
}

/// Joins the parts of a key. Quotes belong to the key if it has further parts.
fn join_key(parts: &[NamePart]) -> String {
    match parts {
        [part] => part.text.clone(),
        parts => {
            let written: Vec<_> = parts
                .iter()
                .map(|part| match part.quote {
                    Some(quote) => format!("{quote}{}{quote}", part.text),
                    None => part.text.clone(),
                })
                .collect();
            written.join(".")
        }
    }
}

type Misread = (usize, String);

/// Reads the token that begins at or behind `at`. Also returns the place behind it.
fn next_token(text: &str, at: usize) -> Result<Option<(Token, usize)>, Misread> {
    let rest = text.get(at..).unwrap_or_default();
    let start = at + (rest.len() - rest.trim_start().len());
    let rest = text.get(start..).unwrap_or_default();
    let Some(first) = rest.chars().next() else {
        return Ok(None);
    };
    let (kind, length) = match first {
        '(' => (TokenKind::Open, 1),
        ')' => (TokenKind::Close, 1),
        ',' => (TokenKind::Comma, 1),
        '\'' => {
            let length = quoted_length(rest, first).ok_or_else(|| unclosed(start, first))?;
            let inner = rest.get(1..length - 1).unwrap_or_default();
            (TokenKind::Text(inner.to_owned()), length)
        }
        _ => {
            if let Some(number) = read_number(rest) {
                number
            } else if let Some(symbol) = read_symbol(rest) {
                (TokenKind::Symbol(symbol), symbol.len())
            } else {
                read_identifier(rest, start)?
            }
        }
    };
    let end = start + length;
    Ok(Some((Token { kind, start, end }, end)))
}

fn unclosed(place: usize, quote: char) -> Misread {
    (
        place,
        format!("the text that begins here has no closing {quote}"),
    )
}

fn read_symbol(rest: &str) -> Option<&'static str> {
    // Longer symbols come first.
    let symbols = ["==", "!=", "<>", ">=", "<=", "=", ">", "<", "-"];
    symbols.into_iter().find(|symbol| rest.starts_with(symbol))
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn read_number(rest: &str) -> Option<(TokenKind, usize)> {
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit())
        || (digits.starts_with('.') && digits[1..].starts_with(|c: char| c.is_ascii_digit()));
    if !starts_well {
        return None;
    }
    let mut previous = ' ';
    let length = rest
        .char_indices()
        .find(|&(index, c)| {
            let is_sign = matches!(c, '-' | '+') && (index == 0 || matches!(previous, 'e' | 'E'));
            previous = c;
            !(is_sign || c == '.' || is_name_char(c))
        })
        .map_or(rest.len(), |(index, _)| index);
    let text = rest.get(..length)?;
    let number = match text.parse() {
        Ok(integer) => Operand::Integer(integer),
        Err(_) => Operand::Float(text.parse().ok()?),
    };
    Some((TokenKind::Number(number), length))
}

/// Reads words and quoted names that are joined by dots.
fn read_identifier(rest: &str, start: usize) -> Result<(TokenKind, usize), Misread> {
    let mut parts = Vec::new();
    let mut length = 0;
    loop {
        let here = rest.get(length..).unwrap_or_default();
        let (part, part_length) = match here.chars().next() {
            Some(quote @ ('`' | '"')) => {
                let quoted =
                    quoted_length(here, quote).ok_or_else(|| unclosed(start + length, quote))?;
                let inner = here.get(1..quoted - 1).unwrap_or_default().to_owned();
                (
                    NamePart {
                        text: inner,
                        quote: Some(quote),
                    },
                    quoted,
                )
            }
            Some(c) if is_name_char(c) => {
                let word = here
                    .find(|c: char| !is_name_char(c))
                    .map_or(here, |end| here.get(..end).unwrap_or_default());
                (
                    NamePart {
                        text: word.to_owned(),
                        quote: None,
                    },
                    word.len(),
                )
            }
            Some(c @ ('/' | ':' | '@')) => {
                return Err((
                    start + length,
                    format!("the character `{c}` is not expected here; {QUOTE_THE_KEY}"),
                ));
            }
            Some(c) => {
                return Err((
                    start + length,
                    format!("the character `{c}` is not expected here"),
                ));
            }
            None => return Err((start + length, "expected a key after the dot".to_owned())),
        };
        parts.push(part);
        length += part_length;
        match rest.get(length..).unwrap_or_default().strip_prefix('.') {
            Some(_) => length += 1,
            None => return Ok((TokenKind::Identifier(parts), length)),
        }
    }
}

/// Returns the length of the quoted text at the beginning of `rest`, or `None` if it is not closed.
///
/// Follows the lexer that MLflow uses: a doubled quote, or one after a backslash, closes the text only if no
/// other quote does. Backticks are closed by the next backtick.
// Input:  `'it''s' AND`, `'a\' AND`
// Output: 7,             4
fn quoted_length(rest: &str, quote: char) -> Option<usize> {
    let mut fallback = None;
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        let next_is_quote = chars.peek().is_some_and(|(_, next)| *next == quote);
        if c == quote {
            if quote == '`' || !next_is_quote {
                return Some(index + 1);
            }
            fallback = Some(index + 1);
            chars.next();
        } else if c == '\\' && next_is_quote && quote != '`' {
            fallback = Some(index + 2);
            chars.next();
        }
    }
    fallback
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match parse_filter(text, Subject::Runs) {
            Ok(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                all.join(" AND ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_form_of_a_comparison_is_read() {
        for (given, read) in [
            ("", ""),
            ("  ", ""),
            ("metrics.rmse<0.5", "metrics.`rmse` < 0.5"),
            ("metric.a = -1", "metrics.`a` = -1"),
            ("metrics.a >= 1e-3", "metrics.`a` >= 0.001"),
            ("metrics.a.b.c != .5", "metrics.`a.b.c` != 0.5"),
            ("metrics.`val/loss` <= 3", "metrics.`val/loss` <= 3"),
            ("metrics.\"val loss\" > 3", "metrics.`val loss` > 3"),
            ("params.lr = '0.1'", "params.`lr` = '0.1'"),
            ("parameter.lr = \"0.1\"", "params.`lr` = '0.1'"),
            ("params.lr > 0.1", "params.`lr` > 0.1"),
            (
                "tags.mlflow.runName LIKE 'a%'",
                "tags.`mlflow.runName` LIKE 'a%'",
            ),
            ("tag.a ilike '%b'", "tags.`a` ILIKE '%b'"),
            ("tags.a is null", "tags.`a` IS NULL"),
            ("params.a IS NOT NULL", "params.`a` IS NOT NULL"),
            ("status = 'FINISHED'", "status = 'FINISHED'"),
            ("attributes.created > 5", "start_time > 5"),
            ("attr.`run name` = 'x'", "run_name = 'x'"),
            ("run_id IN ('a', \"b\",)", "run_id IN ('a', 'b')"),
            ("run_id not in ('a')", "run_id NOT IN ('a')"),
            ("datasets.name = 'd'", "datasets.`name` = 'd'"),
            (
                "tags.a = '' and tags.b = 'x y'",
                "tags.`a` = '' AND tags.`b` = 'x y'",
            ),
            ("tags.a = 'it''s'", "tags.`a` = \"it''s\""),
            (
                "tags.ü = 'é' AND metrics.ö > 1",
                "tags.`ü` = 'é' AND metrics.`ö` > 1",
            ),
        ] {
            assert_eq!(parse(given), read, "{given}");
            assert_eq!(parse(&parse(given)), read, "{given}, read twice");
        }
    }

    #[test]
    fn an_error_marks_the_place() {
        for (given, reason, place) in [
            ("metrics.a", "expected an operator, found the end", 9),
            (
                "metrics.a > 'x'",
                "metrics.`a` is compared with a number without quotes",
                0,
            ),
            (
                "metrics.a > 1 OR metrics.b > 1",
                "MLflow's filters have no OR; make one search for each side",
                14,
            ),
            (
                "metrics.a > 1 metrics.b > 1",
                "expected AND between two comparisons, found `metrics.b`",
                14,
            ),
            (
                "params.a = 1",
                "params.`a` is compared with a text in quotes",
                0,
            ),
            (
                "tags.a-b = 'x'",
                "expected an operator, found `-`; put a key with other characters than letters, digits, `_` and `.` in backticks, e.g. metrics.`val/loss`",
                6,
            ),
            (
                "tags.a = 'x",
                "the text that begins here has no closing '",
                9,
            ),
            (
                "run_id IN ()",
                "expected a number or a text in quotes, found `)`",
                11,
            ),
            (
                "run_id IN ('a'",
                "expected a comma or `)`, found the end",
                14,
            ),
            (
                "foo.a = 'x'",
                "expected metrics, params, tags, attributes or datasets before the dot, found `foo`",
                0,
            ),
            (
                "loss < 1",
                "runs have no attribute `loss`; expected run_id, run_name, status, user_id, artifact_uri, start_time, end_time. A param, metric or tag needs its prefix, e.g. `params.loss`",
                0,
            ),
            (
                "status > 'A'",
                "status cannot be compared by >; expected one of =, !=, LIKE, ILIKE",
                0,
            ),
            (
                "tags.a = x",
                "expected a number or a text in quotes, found `x`",
                9,
            ),
            ("ü; = 'x'", "the character `;` is not expected here", 2),
            (
                "metrics.val/loss < 1",
                "the character `/` is not expected here; put a key with other characters than letters, digits, `_` and `.` in backticks, e.g. metrics.`val/loss`",
                11,
            ),
        ] {
            let error = parse_filter(given, Subject::Runs).expect_err(given);
            assert_eq!(
                (error.reason.as_str(), error.place),
                (reason, Some(place)),
                "{given}"
            );
        }
    }

    #[test]
    fn orders_are_read() {
        for (given, read) in [
            ("metrics.rmse", "metrics.`rmse` ASC"),
            ("start_time desc", "start_time DESC"),
            ("params.`a b` ASC", "params.`a b` ASC"),
        ] {
            let order = parse_order(given, Subject::Runs).expect(given);
            assert_eq!(order.to_string(), read);
        }
        for given in [
            "",
            "metrics.a b",
            "metrics.a ASC, params.b",
            "datasets.name",
            "lifecycle_stage",
        ] {
            assert!(parse_order(given, Subject::Runs).is_err(), "{given}");
        }
    }
}
