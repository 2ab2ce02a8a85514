//! The name that a mistyped one was probably meant to be.

/// Returns the name in `known` that `unknown` was probably meant to be, or `None` if none is
/// similar enough.
// Input:  `experment`
// Output: `experiment`
pub fn find_nearest<'k>(
    unknown: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let length = unknown.chars().count();
    // Two exchanged letters count as two edits, so two edits are allowed even in a short name, as
    // long as at least one letter stays as it is.
    let allowed = (length / 3).max(2).min(length.saturating_sub(1));
    let distances = known
        .into_iter()
        .map(|name| (edit_distance(unknown, name), name));
    distances
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns the number of edits (insert, delete, replace) that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::find_nearest;

    #[test]
    fn suggestions() {
        let known = ["experiment", "run_name", "skip", "skip_all"];
        assert_eq!(find_nearest("experment", known), Some("experiment"));
        assert_eq!(find_nearest("runname", known), Some("run_name"));
        assert_eq!(find_nearest("skipp", known), Some("skip"));
        assert_eq!(find_nearest("ksip", known), Some("skip"));
        assert_eq!(find_nearest("colour", known), None);
        assert_eq!(find_nearest("b", ["a"]), None);
    }
}
