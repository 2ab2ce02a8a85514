//! Masking of the values that a file assigns to a secret's name, line by line.
//!
//! Invariant: in case of doubt, text is masked. In Rust, the string literals and numbers behind the
//! name are masked, up to the end of the statement. In other languages, everything behind `=`, `:`
//! or an option is masked. If only the beginning of a block stands there, the deeper-indented lines
//! that follow are masked.

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
    context: LineContext,
}

/// Construct to which the next line belongs.
#[derive(Clone, Copy)]
enum LineContext {
    Nothing,
    /// Rust statement that names a secret.
    Statement {
        in_text: bool,
    },
    /// Block of a secret: every line with a deeper indentation than `depth` belongs to the secret.
    Block {
        depth: usize,
    },
}

impl LineMasker {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            context: LineContext::Nothing,
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
        match self.language {
            Language::Rust => self.push_rust(content, masked),
            Language::Other => self.push_other(content, masked),
        }
        masked.push_str(end);
    }

    fn push_rust(&mut self, content: &str, masked: &mut String) {
        let (start, in_text) = match self.context {
            LineContext::Statement { in_text } => (0, in_text),
            LineContext::Nothing | LineContext::Block { .. } => match find_secret_name(content) {
                // A name in quotes is a key, whose closing quote does not begin a string literal.
                Some((_, end)) => (end + usize::from(content[end..].starts_with('"')), false),
                None => return masked.push_str(content),
            },
        };
        let (before, behind) = content.split_at(start);
        masked.push_str(before);
        let in_text = push_masked_literals(behind, in_text, masked);
        let is_over = !in_text && content.trim_end().ends_with([';', '{', '}']);
        self.context = if is_over || content.trim().is_empty() {
            LineContext::Nothing
        } else {
            LineContext::Statement { in_text }
        };
    }

    fn push_other(&mut self, content: &str, masked: &mut String) {
        let depth = content.len() - content.trim_start().len();
        if let LineContext::Block { depth: outer } = self.context {
            let is_inside = content.trim().is_empty() || depth > outer;
            if is_inside {
                masked.push_str(&content[..depth]);
                masked.push_str(if content.trim().is_empty() {
                    ""
                } else {
                    REDACTED
                });
                return;
            }
            self.context = LineContext::Nothing;
        }
        let Some((start, end)) = find_secret_name(content) else {
            return masked.push_str(content);
        };
        let is_option = content[start..].starts_with("--");
        let behind = &content[end..];
        let sign = match behind.find(['=', ':']) {
            Some(sign) => Some(sign + 1),
            None => is_option.then_some(0),
        };
        let Some(sign) = sign else {
            return masked.push_str(content);
        };
        let value = behind[sign..].trim_start();
        let (kept, value) = content.split_at(content.len() - value.len());
        masked.push_str(kept);
        if value.chars().any(char::is_alphanumeric) {
            masked.push_str(REDACTED);
        } else {
            // Nothing, or only `|` or `{`: the value follows in the next lines.
            masked.push_str(value);
            self.context = LineContext::Block { depth };
        }
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

/// Appends the code with its string literals and numbers masked. Returns true if the code ends
/// inside of a string literal.
// Input:  ` = env("X").unwrap_or("hunter2", 7);`
// Output: ` = env("[redacted]").unwrap_or("[redacted]", [redacted]);`
fn push_masked_literals(code: &str, mut in_text: bool, masked: &mut String) -> bool {
    if in_text {
        masked.push_str(REDACTED);
    }
    let mut escaped = false;
    let mut before = ' ';
    let mut in_number = false;
    for char in code.chars() {
        let in_word = before.is_alphanumeric() || before == '_';
        let is_number = !in_text
            && (in_number && (char.is_alphanumeric() || char == '_' || char == '.')
                || !in_word && char.is_ascii_digit());
        if is_number && !in_number {
            masked.push_str(REDACTED);
        }
        in_number = is_number;
        if char == '"' && !escaped {
            masked.push('"');
            in_text = !in_text;
            if in_text {
                masked.push_str(REDACTED);
            }
        } else if !in_text && !in_number {
            masked.push(char);
        }
        escaped = in_text && char == '\\' && !escaped;
        before = char;
    }
    in_text
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
