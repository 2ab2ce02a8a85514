//! Fitting of texts into the columns of the screen.

use ratatui::text::Span;

/// Returns the number of columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// Breaks a text into lines of at most `width` columns: between words, or within one that is longer than a line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && columns(&line) + columns(word.trim_end()) > width {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        for c in word.chars() {
            if columns(&line) >= width && c != ' ' {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Cuts a text to a number of columns, and marks the cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if columns(&short) + columns(c.encode_utf8(&mut [0; 4])) + 1 > width {
            break;
        }
        short.push(c);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// Weight from which a fact is more important than the end of a name.
const KEPT_WEIGHT: u8 = 4;
/// Number of columns of a name that are more important than any fact.
const MIN_NAME: usize = 16;

/// Part of a line, which is left out if there is no place for it.
pub(super) struct Fact {
    pub(super) text: String,
    /// Importance: the facts with the lowest are left out first.
    pub(super) weight: u8,
}

/// Joins as many facts as fit behind a name, in their order. A long name is cut before important facts are left out.
pub(super) fn name_and_facts(name: &str, mut facts: Vec<Fact>, width: usize) -> (String, String) {
    const BETWEEN: &str = " · ";
    let joined = |facts: &[Fact]| {
        let texts: Vec<&str> = facts.iter().map(|fact| fact.text.as_str()).collect();
        texts.join(BETWEEN)
    };
    let mut name_columns = columns(name);
    while name_columns + columns(&joined(&facts)) > width {
        let lightest = { facts.iter().enumerate() }.min_by_key(|(_, fact)| fact.weight);
        match lightest {
            None => break,
            Some((_, fact)) if fact.weight >= KEPT_WEIGHT && name_columns > MIN_NAME => {
                let left = width.saturating_sub(columns(&joined(&facts)));
                name_columns = left.max(MIN_NAME);
            }
            Some((index, _)) => {
                facts.remove(index);
            }
        }
    }
    (cut(name, name_columns.min(width)), joined(&facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        for (text, width, lines) in [
            ("one two three", 7, vec!["one two", "three"]),
            ("one two three", 100, vec!["one two three"]),
            ("abcdefgh ij", 3, vec!["abc", "def", "gh", "ij"]),
            ("日本語", 4, vec!["日本", "語"]),
            ("", 5, vec![""]),
        ] {
            assert_eq!(wrap(text, width), lines, "{text}");
        }
    }

    #[test]
    fn the_least_important_facts_are_left_out_first() {
        let shown = |width| {
            let facts = [("experiment", 0), ("3 s", 1), ("10 points", 2)];
            let facts = facts.map(|(text, weight)| Fact {
                text: text.to_owned(),
                weight,
            });
            let (name, facts) = name_and_facts("name", facts.into(), width);
            format!("{name}|{facts}")
        };
        assert_eq!(shown(40), "name|experiment · 3 s · 10 points");
        assert_eq!(shown(20), "name|3 s · 10 points");
        assert_eq!(shown(14), "name|10 points");
        assert_eq!(shown(5), "name|");
        assert_eq!(shown(3), "na…|");
        let points = Fact {
            text: "10 points".to_owned(),
            weight: KEPT_WEIGHT,
        };
        let name = "a-name-of-many-letters";
        let (name, facts) = name_and_facts(name, vec![points], 26);
        assert_eq!((&*name, &*facts), ("a-name-of-many-l…", "10 points"));
    }
}
