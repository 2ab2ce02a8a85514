//! URLs without the parts that may be secret.

/// Returns `url` without user, password, query and fragment.
///
/// A password may contain characters that should have been percent-encoded. Therefore, if the part before the
/// first `/`, `?` or `#` is not of the form `host` or `host:port`, everything up to the last `@` counts as
/// user and password. In a URL without a scheme, a user name without a password is kept, as in the
/// `git@host:repo.git` of SSH.
// Input:  `https://user:token@host/repo.git?key=1`, `redis://user:to/ken@host`, `git@host:repo.git`
// Output: `https://host/repo.git`, `redis://host`, `git@host:repo.git`
#[must_use]
pub fn url_without_credentials(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let rest = after_userinfo(rest, scheme.is_some());
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let shown = rest.get(..end).unwrap_or(rest);
    match scheme {
        Some(scheme) => format!("{scheme}://{shown}"),
        None => shown.to_owned(),
    }
}

fn after_userinfo(rest: &str, has_scheme: bool) -> &str {
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..authority_end).unwrap_or(rest);
    let end = match authority.rfind('@') {
        // The password may contain `/`, `?` or `#`, and continue behind the authority.
        Some(end) if authority.get(..end).is_some_and(|user| user.contains(':')) => rest.rfind('@'),
        Some(end) => has_scheme.then_some(end),
        None if is_host_and_port(authority) => None,
        None => rest.rfind('@'),
    };
    end.and_then(|end| rest.get(end + 1..)).unwrap_or(rest)
}

/// Returns true unless `authority` contains a `:` that is followed by anything but the number of a port. An
/// address in brackets counts as a host.
fn is_host_and_port(authority: &str) -> bool {
    const PORT_DIGITS: usize = 5;
    if authority.starts_with('[') {
        return true;
    }
    authority.split_once(':').is_none_or(|(_, port)| {
        (1..=PORT_DIGITS).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_password_query_and_fragment_are_left_out() {
        for (url, shown) in [
            ("https://user:token@host/a/b.git", "https://host/a/b.git"),
            (
                "https://token@host:8443/a?private_token=x#y",
                "https://host:8443/a",
            ),
            ("ssh://git@host/a.git", "ssh://host/a.git"),
            ("git@host:a/b.git", "git@host:a/b.git"),
            ("user:token@host/a", "host/a"),
            ("redis://user:p@ss@host", "redis://host"),
            ("s3://bucket/run@v1", "s3://bucket/run@v1"),
            ("http://host:5000/a@b", "http://host:5000/a@b"),
            ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
            ("mlruns", "mlruns"),
            ("", ""),
        ] {
            assert_eq!(url_without_credentials(url), shown, "{url}");
        }
    }

    #[test]
    fn a_password_with_characters_that_should_be_encoded_is_left_out() {
        for password in [
            "hunt/er2",
            "hunt?er2",
            "hunt#er2",
            "1234567/8",
            "/",
            "a@b/c",
        ] {
            let url = format!("http://user:{password}@host/path");
            assert_eq!(url_without_credentials(&url), "http://host/path", "{url}");
        }
    }
}
