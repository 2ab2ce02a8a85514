//! Proxies, as the HTTP client reads them from the environment.
//!
//! Invariant: nothing here changes which proxy is used. The HTTP client reads the same variables itself.

use mlflow_rules::url_without_credentials;

use super::resolver::Resolver;

const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
/// Variable that is set where a web server has started the program. Then a client of the web server chooses the
/// value of `HTTP_PROXY`, so no proxy is used.
const CGI: &str = "REQUEST_METHOD";

/// Records the proxies. The first variable that is set counts, as in the HTTP client.
pub(super) fn record_proxies(resolver: &mut Resolver<'_>) {
    let is_cgi = resolver.is_set(CGI);
    for (variable, variables, others) in [
        ("HTTP_PROXY", ["HTTP_PROXY", "http_proxy"], &ALL[..]),
        ("HTTPS_PROXY", ["HTTPS_PROXY", "https_proxy"], &ALL),
        ("NO_PROXY", ["NO_PROXY", "no_proxy"], &[]),
    ] {
        let mut choice = resolver.choose(variable);
        if !is_cgi {
            choice = choice.first_of(&variables, shown).first_of(others, shown);
        }
        choice.or_unset();
    }
}

/// Returns the value without credentials; `None` if the value is empty.
// Input:  `me:secret@proxy:3128`, `http://me@proxy`, `localhost,127.0.0.1`
// Output: `proxy:3128`,           `http://proxy`,    `localhost,127.0.0.1`
fn shown(value: &str) -> Option<String> {
    let value = value.trim();
    let shown = if value.contains("://") {
        url_without_credentials(value)
    } else {
        // Only in a URL with a scheme is a user name without a password left out, too.
        url_without_credentials(&format!("http://{value}")).split_off("http://".len())
    };
    (!value.is_empty()).then_some(shown)
}
