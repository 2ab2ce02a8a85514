//! Masking of the values that a file assigns to a secret's name, line by line.
//!
//! Invariant: in case of doubt, text is masked. In Rust, the string literals and numbers behind the
//! name are masked, up to the end of the statement. In other languages, everything behind `=`, `:`
//! or an option is masked. If only the beginning of a block stands there, the deeper-indented lines
//! that follow are masked.

use std::ops::Range;

use mlflow_rules::{REDACTED, is_secret_name};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    Other,
}

impl Language {
    // Input:  `a/src/main.rs b/src/main.rs`
    pub(super) fn from_path(file: &str) -> Self {
        if file.ends_with(".rs") {
            Self::Rust
        } else {
            Self::Other
        }
    }
}

/// Masker of the consecutive lines of a hunk. Git's mark (` `, `-` or `+`) stands before each line.
pub(super) struct LineMasker {
    language: Language,
    /// Construct to which the next line of the file before the change belongs.
    removed: LineContext,
    /// Construct to which the next line of the file after the change belongs.
    added: LineContext,
}

/// Construct to which the next line belongs.
#[derive(Clone, Copy)]
enum LineContext {
    Nothing,
    /// Rust statement that names a secret, with the string literal that is open at its end.
    Statement {
        open: Option<Quote>,
    },
    /// Block of a secret: every line with a deeper indentation than `depth` belongs to the secret.
    Block {
        depth: usize,
    },
}

/// Kind of a Rust string literal, which determines its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// A literal in which a backslash escapes the next character.
    Plain,
    /// A raw literal, `r#"…"#`, with this number of `#`.
    Raw { hashes: usize },
}

impl LineContext {
    /// Returns the context in which more is masked.
    fn stricter(self, other: Self) -> Self {
        let strictness = |context: &Self| match context {
            Self::Nothing => 0,
            Self::Statement { open: None } => 1,
            Self::Block { .. } => 2,
            Self::Statement { open: Some(_) } => 3,
        };
        if strictness(&other) > strictness(&self) {
            other
        } else {
            self
        }
    }
}

impl LineMasker {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            removed: LineContext::Nothing,
            added: LineContext::Nothing,
        }
    }

    /// Returns a masker for lines at another place of the same file.
    pub(super) fn restarted(&self) -> Self {
        Self::new(self.language)
    }

    /// Appends the line to `masked`, with its secrets masked.
    pub(super) fn push(&mut self, line: &str, masked: &mut String) {
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content, "\n"),
            None => (line, ""),
        };
        let (mark, content) = content.split_at(content.len().min(1));
        masked.push_str(mark);
        let before = match mark {
            "-" => self.removed,
            "+" => self.added,
            _ => self.removed.stricter(self.added),
        };
        let after = match self.language {
            Language::Rust => push_rust(content, before, masked),
            Language::Other => push_other(content, before, masked),
        };
        if mark != "+" {
            self.removed = after;
        }
        if mark != "-" {
            self.added = after;
        }
        masked.push_str(end);
    }
}

/// Appends a line of Rust code, masked. Returns the context of the next line.
fn push_rust(content: &str, context: LineContext, masked: &mut String) -> LineContext {
    let (start, open) = match context {
        LineContext::Statement { open } => (0, open),
        LineContext::Nothing | LineContext::Block { .. } => match find_secret_name(content) {
            // A name in quotes is a key, whose closing quote does not begin a string literal.
            Some((_, end)) => (end + usize::from(content[end..].starts_with('"')), None),
            None => {
                masked.push_str(content);
                return context;
            }
        },
    };
    let (before, behind) = content.split_at(start);
    masked.push_str(before);
    let open = push_masked_literals(behind, open, masked);
    let is_over = open.is_none() && content.trim_end().ends_with([';', '{', '}']);
    if is_over || content.trim().is_empty() {
        LineContext::Nothing
    } else {
        LineContext::Statement { open }
    }
}

/// Appends a line of another language, masked. Returns the context of the next line.
fn push_other(content: &str, context: LineContext, masked: &mut String) -> LineContext {
    let depth = content.len() - content.trim_start().len();
    if let LineContext::Block { depth: outer } = context {
        let is_inside = content.trim().is_empty() || depth > outer;
        if is_inside {
            masked.push_str(&content[..depth]);
            masked.push_str(if content.trim().is_empty() {
                ""
            } else {
                REDACTED
            });
            return context;
        }
    }
    let Some((start, end)) = find_secret_name(content) else {
        masked.push_str(content);
        return LineContext::Nothing;
    };
    let is_option = content[start..].starts_with("--");
    let behind = &content[end..];
    let sign = match behind.find(['=', ':']) {
        Some(sign) => Some(sign + 1),
        None => is_option.then_some(0),
    };
    let Some(sign) = sign else {
        masked.push_str(content);
        return LineContext::Nothing;
    };
    let value = behind[sign..].trim_start();
    let (kept, value) = content.split_at(content.len() - value.len());
    masked.push_str(kept);
    if value.chars().any(char::is_alphanumeric) {
        masked.push_str(REDACTED);
        LineContext::Nothing
    } else {
        // Nothing, or only `|` or `{`: the value follows in the next lines.
        masked.push_str(value);
        LineContext::Block { depth }
    }
}

/// Returns the start and the end of the first name of a secret in the line.
fn find_secret_name(line: &str) -> Option<(usize, usize)> {
    let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
    let mut start = None;
    for (at, char) in line.char_indices().chain([(line.len(), ' ')]) {
        match (start, is_part(char)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if is_secret_name(&line[from..at]) {
                    return Some((from, at));
                }
                start = None;
            }
            _ => {}
        }
    }
    None
}

/// Appends the code with its literals and comments masked. `open` is the string literal in which the code begins.
/// Returns the string literal in which the code ends.
// Input:  ` = env("X").unwrap_or("hunter2", 7);`
// Output: ` = env("[redacted]").unwrap_or("[redacted]", [redacted]);`
fn push_masked_literals(code: &str, mut open: Option<Quote>, masked: &mut String) -> Option<Quote> {
    let mut rest = code;
    let mut before = ' ';
    loop {
        if let Some(quote) = open {
            masked.push_str(REDACTED);
            let Some(closing) = closing_quote(rest, quote) else {
                return open;
            };
            masked.push_str(&rest[closing.clone()]);
            rest = &rest[closing.end..];
            before = '"';
            open = None;
        }
        let in_word = before.is_alphanumeric() || before == '_';
        let char = rest.chars().next()?;
        // A comment may hold a quote, so no more of the line is understood.
        if rest.starts_with("//") || rest.starts_with("/*") {
            masked.push_str(&rest[..2]);
            masked.push_str(REDACTED);
            let may_open_text = rest.starts_with("/*") && rest.matches('"').count() % 2 == 1;
            return may_open_text.then_some(Quote::Plain);
        }
        let length = if let Some((length, quote)) = text_start(rest, in_word) {
            masked.push_str(&rest[..length]);
            open = Some(quote);
            length
        } else if let Some(length) = char_literal(rest) {
            masked.push('\'');
            masked.push_str(REDACTED);
            masked.push('\'');
            length
        } else if char.is_ascii_digit() && !in_word {
            masked.push_str(REDACTED);
            let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '.');
            rest.find(|char| !is_part(char)).unwrap_or(rest.len())
        } else {
            masked.push(char);
            char.len_utf8()
        };
        before = rest[..length].chars().next_back().unwrap_or(char);
        rest = &rest[length..];
    }
}
/// Returns the length of the opening quote if a string literal begins here, and the literal's kind.
// Input:  `r#"text"#`
// Output: 3, `Raw { hashes: 1 }`
fn text_start(code: &str, in_word: bool) -> Option<(usize, Quote)> {
    if code.starts_with('"') {
        return Some((1, Quote::Plain));
    }
    let is_raw = |prefix: &&str| !in_word && code.starts_with(*prefix);
    let prefix = ["r", "br", "cr"].into_iter().find(is_raw)?;
    let behind = &code[prefix.len()..];
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    let is_text = behind[hashes..].starts_with('"');
    is_text.then_some((prefix.len() + hashes + 1, Quote::Raw { hashes }))
}

/// Returns the range of the closing quote of the string literal in which `code` begins.
fn closing_quote(code: &str, quote: Quote) -> Option<Range<usize>> {
    match quote {
        Quote::Raw { hashes } => {
            let closing = format!("\"{}", "#".repeat(hashes));
            let start = code.find(&closing)?;
            Some(start..start + closing.len())
        }
        Quote::Plain => {
            let mut is_escaped = false;
            for (at, char) in code.char_indices() {
                match char {
                    '"' if !is_escaped => return Some(at..at + 1),
                    '\\' => is_escaped = !is_escaped,
                    _ => is_escaped = false,
                }
            }
            None
        }
    }
}

/// Returns the length of the character literal that begins here. The quote of a lifetime begins none.
fn char_literal(code: &str) -> Option<usize> {
    let behind = code.strip_prefix('\'')?;
    let mut chars = behind.char_indices();
    let (_, first) = chars.next()?;
    // The character behind a backslash may be a quote.
    let (at, _) = if first == '\\' {
        chars.nth(1)?
    } else {
        chars.next()?
    };
    let end = if first == '\\' {
        at + behind[at..].find('\'')?
    } else {
        behind[at..].starts_with('\'').then_some(at)?
    };
    Some(1 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(language: Language, lines: &[&str]) -> Vec<String> {
        let mut state = LineMasker::new(language);
        let mask = |line: &&str| {
            let mut masked = String::new();
            state.push(line, &mut masked);
            masked
        };
        lines.iter().map(mask).collect()
    }

    #[test]
    fn rust() {
        for (line, expected) in [
            (
                "+let password = \"hunter2\";",
                "+let password = \"[redacted]\";",
            ),
            (
                "+login(\"me\", &api_key, \"a\\\"b\");",
                "+login(\"me\", &api_key, \"[redacted]\");",
            ),
            ("+let max_tokens = \"7\";", "+let max_tokens = \"7\";"),
            (
                " fn token(&self) -> &'a str {",
                " fn token(&self) -> &'a str {",
            ),
            (
                "+(\"db_password\", \"x\");",
                "+(\"db_password\", \"[redacted]\");",
            ),
            (
                "+const SECRET_KEY: [u8; 2] = [0xab, 12];",
                "+const SECRET_KEY: [u8; [redacted]] = [[redacted], [redacted]];",
            ),
            ("+let token2x = next(v1);", "+let token2x = next(v1);"),
        ] {
            assert_eq!(masked(Language::Rust, &[line]), [expected]);
        }
    }

    #[test]
    fn a_quote_in_a_character_a_raw_string_or_a_comment_showed_the_secret() {
        for line in [
            r#"+let password = ['"', "hunter2"];"#,
            r#"+let password = ['\"', "hunter2"];"#,
            r##"+let password = (r#"a"b"#, "hunter2");"##,
            r#"+let password = (br"\", "hunter2");"#,
            r#"+let password = ("x", /* " */ "hunter2");"#,
            r#"+let password = "x"; // it was "hunter2" before"#,
            r#"+let password: &'static str = "hunter2";"#,
            r"+let password = ['h', 'u', 'n'];",
        ] {
            let masked = masked(Language::Rust, &[line]).concat();
            assert!(
                !masked.contains("hunter2") && !masked.contains("'h'"),
                "{masked}"
            );
        }
    }

    /// The lines before and after a change are two texts.
    #[test]
    fn a_text_that_a_removed_line_opens_showed_the_added_one() {
        let lines = [
            "-let secret = \"one",
            "+let secret = \"two",
            "+hunter2\";",
            "+shown(\"x\");",
        ];
        let masked_lines = masked(Language::Rust, &lines);
        let all = masked_lines.concat();
        assert!(
            !all.contains("one") && !all.contains("two") && !all.contains("hunter2"),
            "{all}"
        );
        assert_eq!(masked_lines[3], lines[3]);
    }

    /// Covers values on a line of their own, as rustfmt breaks long lines.
    #[test]
    fn a_value_on_the_next_line_was_not_masked() {
        let lines = [
            "+let password =",
            "+    \"hunter2\";",
            "+let plain = \"shown\";",
        ];
        let expected = [
            "+let password =",
            "+    \"[redacted]\";",
            "+let plain = \"shown\";",
        ];
        assert_eq!(masked(Language::Rust, &lines), expected);
        let lines = ["+let secret = \"one", "+two", "+three\";", "+shown(\"x\");"];
        let masked_lines = masked(Language::Rust, &lines);
        assert!(
            !masked_lines.concat().contains("two") && !masked_lines.concat().contains("three"),
            "{masked_lines:?}"
        );
        assert_eq!(masked_lines[3], lines[3]);
        let lines = ["+password: |", "+  hunter2", "+", "+  hunter3", "+user: me"];
        let expected = [
            "+password: |",
            "+  [redacted]",
            "+",
            "+  [redacted]",
            "+user: me",
        ];
        assert_eq!(masked(Language::Other, &lines), expected);
        let lines = ["+  \"credential\": {", "+    \"id\": \"x\"", "+  },"];
        let expected = ["+  \"credential\": {", "+    [redacted]", "+  },"];
        assert_eq!(masked(Language::Other, &lines), expected);
    }

    #[test]
    fn other_files() {
        for (line, expected) in [
            ("+API_KEY=abc def", "+API_KEY=[redacted]"),
            (
                "+  \"db_password\": \"x\",",
                "+  \"db_password\": [redacted]",
            ),
            ("+token = 'x' # note", "+token = [redacted]"),
            (" The token is a word.", " The token is a word."),
            (
                "+run --password hunter2 --fast",
                "+run --password [redacted]",
            ),
            ("+max_tokens = 7", "+max_tokens = 7"),
        ] {
            assert_eq!(masked(Language::Other, &[line]), [expected]);
        }
    }
}
