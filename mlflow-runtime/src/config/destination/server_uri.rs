//! Tracking URIs of servers.
//!
//! Invariants:
//!
//! - The text of a URI shows neither user nor password, nor a query or a fragment, which may hold a token.
//! - Journals know their destination by the text, so it is the one that the HTTP client reads. A program that is built without
//!   the client shows an unusual spelling (`http://127.1`, `/a/../b`, a blank) as it is written, and all others in the same way.

use std::fmt;

use crate::config::login::Login;

/// Address of a tracking server.
#[derive(Clone)]
pub(crate) struct ServerUri {
    /// URI as it was given, which may contain a user name and a password: never print it as it is.
    given: String,
    /// Scheme, host, port and path.
    shown: String,
    /// Login that was found together with the address, and wins over all others.
    login: Option<Box<Login>>,
}

/// Two addresses are equal if the same was given, whatever the login is now.
impl PartialEq for ServerUri {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Eq for ServerUri {}

impl ServerUri {
    /// Parses a URI with the scheme `http` or `https`. The error shows no part of the URI, which may be a password.
    // Input:  `http://me:secret@Host:80/prefix/?key=1`
    // Output: `http://host/prefix`
    pub(super) fn parse(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or("it has no scheme")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = split_authority(rest);
        let address = authority
            .rsplit_once('@')
            .map_or(authority, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (address, ""),
        };
        let is_odd = |char: char| char.is_whitespace() || char.is_control() || ":@".contains(char);
        if host.is_empty() {
            return Err(format!("after `{scheme}://`: it names no host"));
        }
        if !host.starts_with('[') && host.contains(is_odd) {
            return Err(format!("after `{scheme}://`: its host is not valid"));
        }
        let default_port = if scheme == "https" { 443 } else { 80 };
        let port = match port {
            "" => None,
            port => match port.parse::<u16>() {
                Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Some(number).filter(|number| *number != default_port)
                }
                _ => return Err(format!("after `{scheme}://`: its port is no port number")),
            },
        };
        let mut shown = format!("{scheme}://{}", host.to_lowercase());
        if let Some(port) = port {
            shown.push_str(&format!(":{port}"));
        }
        let path = path.split(['?', '#']).next().unwrap_or(path);
        shown.push_str(path.trim_end_matches('/'));
        #[cfg(feature = "rest")]
        let shown = read_by_client(uri).map_err(|fault| format!("after `{scheme}://`: {fault}"))?;
        Ok(Self {
            given: uri.trim_end_matches('/').to_owned(),
            shown,
            login: None,
        })
    }

    /// Adds a login that was found together with the address.
    pub(super) fn with_login(mut self, login: Login) -> Self {
        self.login = Some(Box::new(login));
        self
    }

    /// Returns the login that was found together with the address.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_deref()
    }

    /// Returns the URI as it was given, with its credentials.
    #[cfg(feature = "rest")]
    pub(crate) fn with_credentials(&self) -> &str {
        &self.given
    }

    /// Returns true if the URI contains a user name or a password, or was found together with a login.
    pub(super) fn has_login(&self) -> bool {
        if self.login.is_some() {
            return true;
        }
        let (_, rest) = self.given.split_once("://").unwrap_or_default();
        let (authority, _) = split_authority(rest);
        let login = authority.rsplit_once('@');
        login.is_some_and(|(login, _)| !matches!(login, "" | ":"))
    }
}

/// Returns scheme, host, port and path as the HTTP client reads them, or the client's words on a URI that it refuses, which quote
/// no part of the URI.
#[cfg(feature = "rest")]
fn read_by_client(uri: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(uri).map_err(|error| error.to_string())?;
    let mut shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    shown.push_str(url.path().trim_end_matches('/'));
    Ok(shown)
}

/// Splits the part of a URI after `://` where the path, the query or the fragment begins. HTTP clients read a `\` as a `/`.
fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()))
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Text without the login.
impl fmt::Debug for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_neither_credentials_nor_a_default_port() {
        for (given, shown) in [
            ("http://h:5000/", "http://h:5000"),
            ("HTTPS://User:p@ss@H:443/pre/", "https://h/pre"),
            ("https://h?token=hunter2", "https://h"),
            ("http://h:05000/a@b", "http://h:5000/a@b"),
            ("http://[::1]:5000/pre#x", "http://[::1]:5000/pre"),
            ("http://[::1]", "http://[::1]"),
            ("http://h:", "http://h"),
        ] {
            assert_eq!(ServerUri::parse(given).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_address_without_host_or_port_number_is_refused() {
        for uri in [
            "http://",
            "http:///path",
            "http://h:port",
            "http://h:70000",
            "http://h:+80",
            "http://a b",
            "http://user:hunt/er2@h",
        ] {
            let fault = ServerUri::parse(uri).err().unwrap();
            assert!(!fault.contains("hunt"), "{fault}");
        }
    }

    #[test]
    fn a_login_is_noticed() {
        for (uri, has_login) in [
            ("http://me:secret@h", true),
            ("http://me@h", true),
            ("http://h/a@b", false),
            ("http://:@h", false),
        ] {
            assert_eq!(
                ServerUri::parse(uri).unwrap().has_login(),
                has_login,
                "{uri}"
            );
        }
    }

    /// Journals of programs with the HTTP client and of programs without it have the same destination.
    #[cfg(feature = "rest")]
    #[test]
    fn the_http_client_reads_unusual_spellings() {
        for (given, shown) in [
            ("http://127.1:5000", "http://127.0.0.1:5000"),
            ("http://h/a b/../c", "http://h/c"),
            ("http://host\\path", "http://host/path"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ] {
            assert_eq!(ServerUri::parse(given).unwrap().to_string(), shown);
        }
        for refused in [
            "http://<host>:5000",
            "http://[foo]",
            "http://999.1.1.1",
            "http://ho%st",
        ] {
            assert!(ServerUri::parse(refused).is_err(), "{refused}");
        }
    }
}
