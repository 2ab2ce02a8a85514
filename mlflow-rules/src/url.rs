//! URLs without the parts that may be secret.

use crate::{REDACTED, is_secret_name};

/// Names of the signature in the signed URLs of Azure, of AWS and Google, and of their content networks.
const SIGNATURES: [&str; 4] = ["sig", "signature", "X-Amz-Signature", "X-Goog-Signature"];

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

/// Returns `url` without user and password, and with `[redacted]` in place of the secret values in its query and
/// fragment: those with a [secret's name](is_secret_name), and signatures, with which anybody can fetch the
/// file. Unlike [`url_without_credentials`], it keeps everything else, so that the URL still names its file.
// Input:  `https://me:pass@host/a.csv?version=2&sig=abc`, `data/a.csv`
// Output: `https://host/a.csv?version=2&sig=[redacted]`, `data/a.csv`
#[must_use]
pub fn url_without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let rest = after_userinfo(rest, true);
    let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, mut parameters) = rest.split_at(path_end);
    let mut shown = format!("{scheme}://{path}");
    while !parameters.is_empty() {
        let end = parameters
            .char_indices()
            .skip(1)
            .find(|(_, char)| matches!(char, '?' | '&' | ';' | '#'))
            .map_or(parameters.len(), |(end, _)| end);
        let (parameter, rest) = parameters.split_at(end);
        match parameter.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secret_parameter(name) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            _ => shown.push_str(parameter),
        }
        parameters = rest;
    }
    shown
}

/// Returns true if a parameter of a URL holds a secret. The name may begin with a separator.
fn is_secret_parameter(name: &str) -> bool {
    let name = name.trim_start_matches(['?', '&', ';', '#']);
    is_secret_name(name) || is_signature(name.as_bytes())
}

/// Returns true for the name of a signature in a URL.
pub(crate) fn is_signature(name: &[u8]) -> bool {
    SIGNATURES
        .iter()
        .any(|signature| name.eq_ignore_ascii_case(signature.as_bytes()))
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
    fn only_the_secrets_of_a_url_are_left_out() {
        for (url, shown) in [
            ("https://user:token@host/a.csv", "https://host/a.csv"),
            (
                "https://host/a.csv?api_key=x&v=2&auth-token=&#access_token=y&z",
                "https://host/a.csv?api_key=[redacted]&v=2&auth-token=&#access_token=[redacted]&z",
            ),
            (
                "https://b.s3.amazonaws.com/a?X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Signature=s",
                "https://b.s3.amazonaws.com/a?X-Amz-Credential=[redacted]&X-Amz-Date=d&X-Amz-Signature=[redacted]",
            ),
            (
                "https://h/a?sv=1;sig=x%3D=",
                "https://h/a?sv=1;sig=[redacted]",
            ),
            ("https://h/a?v=token", "https://h/a?v=token"),
            ("https://h/a?ü=1&é#", "https://h/a?ü=1&é#"),
            ("s3://bucket/run@v1", "s3://bucket/run@v1"),
            ("data/a?token=x.csv", "data/a?token=x.csv"),
            ("", ""),
        ] {
            assert_eq!(url_without_secrets(url), shown, "{url}");
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
