//! Schemes of the URIs that the stores read.

/// Returns the scheme of a URI, or `None` for a path. A single letter is no scheme, but a Windows drive.
pub(super) fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut chars = scheme.chars();
    let starts_well = chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on_well = chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (starts_well && goes_on_well && scheme.len() > 1).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert_eq!(scheme("s3://b"), Some("s3"));
        assert_eq!(scheme("mlflow-artifacts:/x"), Some("mlflow-artifacts"));
        for path in ["/a:b", "C:\\x", "a/b:c", "", ":x"] {
            assert_eq!(scheme(path), None, "{path}");
        }
    }
}
