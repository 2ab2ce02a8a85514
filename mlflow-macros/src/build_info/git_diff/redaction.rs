//! What a file gives to a secret's name, line by line.
//!
//! Invariant: when in doubt it is masked. In Rust these are the texts and numbers behind the name, up
//! to the end of the statement; elsewhere all that stands behind `=`, `:` or an option, and where that
//! is only the beginning of a block, the deeper lines that follow.

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

/// The lines of one place, each with git's mark before it.
pub(super) struct LineMasker {
    language: Language,
    context: LineContext,
}

/// What the next line belongs to.
#[derive(Clone, Copy)]
enum LineContext {
    Nothing,
    /// A statement of Rust that names a secret.
    Statement {
        in_text: bool,
    },
    /// What is deeper than this belongs to a secret.
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

    /// For lines that stand elsewhere in the file.
    pub(super) fn restarted(&self) -> Self {
        Self::new(self.language)
    }

    /// Appends the line, masked.
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
                // A name in quotes is a key: its end is no text's beginning.
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
            // Nothing yet, `|`, `{`: it follows.
            masked.push_str(value);
            self.context = LineContext::Block { depth };
        }
    }
}

/// The first name of a secret, from where to where.
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

/// Appends the code with its texts and numbers masked; true if it ends inside of a text.
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

    /// As rustfmt breaks long lines.
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
