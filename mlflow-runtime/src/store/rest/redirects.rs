//! Which redirects are followed.
//!
//! # Invariants
//!
//! 1. A redirect is followed only if it keeps method and body (307, 308). Otherwise a POST would arrive as an empty GET.
//! 2. What goes to the tracking server goes to no other: neither the credentials, nor the workspace, nor the values. A
//!    redirect stays at the server's scheme, host and port. The credentials and certificates that are configured are those of
//!    that address, so one that leads from `http` to `https` is left to the user, too, who gets the address to set.
//! 3. An upload to a bucket holds nothing but what the server has signed. A bucket may redirect it to another host, but never
//!    from an encrypted connection to an unencrypted one.

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode, Url, redirect};

/// Largest number of redirects that one request follows.
pub(super) const MAX_REDIRECTS: usize = 4;

/// Receiver of requests, which may redirect them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    TrackingServer,
    Bucket,
}

impl Receiver {
    /// Returns true if a request may be redirected from one URL to the other.
    fn may_redirect(self, from: &Url, to: &Url) -> bool {
        let is_encrypted = |url: &Url| url.scheme() == "https";
        match self {
            Self::TrackingServer => to.origin() == from.origin(),
            Self::Bucket => is_encrypted(to) || to.scheme() == "http" && !is_encrypted(from),
        }
    }

    /// Returns the URL to which an answer redirects its request; `None` if the redirect is not followed, or the answer is
    /// none.
    pub(super) fn redirect_target(self, answer: &Response, from: &Url) -> Option<Url> {
        if !keeps_body(answer.status()) {
            return None;
        }
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        let target = from.join(location).ok()?;
        self.may_redirect(from, &target).then_some(target)
    }
}

/// Returns the redirects that the client of the tracking server follows.
pub(super) fn policy() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let is_followed = { attempt.previous().last() }.is_some_and(|from| {
            keeps_body(attempt.status())
                && attempt.previous().len() <= MAX_REDIRECTS
                && Receiver::TrackingServer.may_redirect(from, attempt.url())
        });
        if is_followed {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// Returns true if this is the status of a redirect that keeps method and body.
fn keeps_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_away_from_no_tracking_server() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        for (from, to, of_server, of_bucket) in [
            ("http://a/x", "http://a/y", true, true),
            ("http://a:5000/x", "http://a:5000/y?z", true, true),
            ("http://a/x", "https://a/x", false, true),
            ("http://a:5000/x", "https://a:5443/x", false, true),
            ("https://a/x", "https://a:443/y", true, true),
            ("https://a/x", "http://a/x", false, false),
            ("https://a/x", "https://b/x", false, true),
            ("https://a/x", "https://a:8443/x", false, true),
            ("http://a/x", "http://b/x", false, true),
            ("http://a/x", "https://b/x", false, true),
            ("http://a/x", "http://a:81/x", false, true),
            ("http://a/x", "https://a.b/x", false, true),
            ("http://a/x", "ftp://a/x", false, false),
            ("http://a/x", "file:///x", false, false),
        ] {
            let [from, to] = [from, to].map(url);
            let server = Receiver::TrackingServer.may_redirect(&from, &to);
            let bucket = Receiver::Bucket.may_redirect(&from, &to);
            assert_eq!([server, bucket], [of_server, of_bucket], "{from} to {to}");
        }
    }
}
