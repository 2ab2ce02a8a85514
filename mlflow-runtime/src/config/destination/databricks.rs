//! Tracking URIs of Databricks: `databricks`, and `databricks://PROFILE`.
//!
//! Invariant: a URI of Databricks names a host and a login together, so the login wins over all other settings, as one in a
//! URI does. No error shows a part of the login.
//!
//! The host and the login are found as MLflow's own client finds them without Databricks' SDK
//! (`mlflow/utils/databricks_utils.py`, `databricks_cli/configure/provider.py`): `databricks` alone means `DATABRICKS_HOST` with
//! `DATABRICKS_TOKEN`, or with a user name and a password; else the profile that `DATABRICKS_CONFIG_PROFILE` names, or `DEFAULT`,
//! in `DATABRICKS_CONFIG_FILE`, or `~/.databrickscfg`.
//!
//! ```ini
//! [DEFAULT]
//! host = https://adb-1.azuredatabricks.net
//! token = dapi…
//! ```

use std::path::PathBuf;

use super::server_uri::ServerUri;
use crate::config::databricks_profile::DatabricksProfile;
use crate::config::login::{Login, TokenSource, without_line_end};
use crate::secret::Secret;

/// Lookup of an environment variable; `None` if it is unset or empty.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns true if this is a URI of Databricks' tracking server.
pub(super) fn is_databricks(uri: &str) -> bool {
    let name = uri.split_once("://").map_or(uri, |(scheme, _)| scheme);
    name.eq_ignore_ascii_case("databricks")
}

/// Returns the server that a [URI of Databricks](is_databricks) names, with its login.
pub(super) fn parse(uri: &str, lookup: Lookup<'_>) -> Result<ServerUri, String> {
    let profile = uri.split_once("://").map_or("", |(_, profile)| profile);
    let profile = profile.trim_end_matches('/');
    if profile.contains(':') {
        return Err(
            "it names a secret in Databricks' own store of secrets, which can only be read there"
                .to_owned(),
        );
    }
    if profile.is_empty()
        && let Some(host) = lookup("DATABRICKS_HOST")
    {
        let login = environment_login(lookup).ok_or(
            "DATABRICKS_HOST is set without DATABRICKS_TOKEN, and other logins of Databricks are not known here",
        )?;
        return server(&host, login).map_err(|fault| format!("DATABRICKS_HOST: {fault}"));
    }
    let named = (!profile.is_empty()).then(|| profile.to_owned());
    let name = named
        .or_else(|| lookup("DATABRICKS_CONFIG_PROFILE"))
        .unwrap_or_else(|| "DEFAULT".to_owned());
    let home = || Some(PathBuf::from(lookup("HOME")?).join(".databrickscfg"));
    let file = { lookup("DATABRICKS_CONFIG_FILE").map(PathBuf::from) }
        .or_else(home)
        .ok_or("neither DATABRICKS_HOST nor HOME is set, so no login of Databricks is found")?;
    let mut profile = DatabricksProfile {
        file,
        name,
        host: String::new(),
    };
    let found = profile.read()?;
    let host = { found.get("host") }.ok_or_else(|| format!("{profile} names no host"))?;
    profile.host.clone_from(&host);
    let login = match (
        found.get("token"),
        found.get("username"),
        found.get("password"),
    ) {
        (Some(_), _, _) => token_login(TokenSource::Databricks(profile.clone())),
        (None, Some(username), Some(password)) => Login {
            username: Some(username),
            password: Some(Secret::new(password)),
            description: Some(format!("the user name and password of {profile}")),
            ..Login::default()
        },
        (None, _, _) => {
            return Err(format!(
                "{profile} has no token, and other logins of Databricks are not known here"
            ));
        }
    };
    server(&host, login).map_err(|fault| format!("the host of {profile}: {fault}"))
}

fn token_login(token: TokenSource) -> Login {
    Login {
        token: Some(token),
        ..Login::default()
    }
}

/// Returns the login that the environment holds.
fn environment_login(lookup: Lookup<'_>) -> Option<Login> {
    if let Some(token) = lookup("DATABRICKS_TOKEN").map(without_line_end) {
        let description = Some("the token (DATABRICKS_TOKEN)".to_owned());
        let login = token_login(TokenSource::Value(Secret::new(token)));
        return Some(Login {
            description,
            ..login
        });
    }
    Some(Login {
        description: Some(
            "the user name and password (DATABRICKS_USERNAME, DATABRICKS_PASSWORD)".to_owned(),
        ),
        username: Some(lookup("DATABRICKS_USERNAME")?),
        password: Some(Secret::new(lookup("DATABRICKS_PASSWORD")?)),
        ..Login::default()
    })
}

fn server(host: &str, login: Login) -> Result<ServerUri, String> {
    let host = host.trim();
    let uri = if host.contains("://") {
        host.to_owned()
    } else {
        format!("https://{host}")
    };
    Ok(ServerUri::parse(&uri)?.with_login(login))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::login::Credentials;

    const FILE: &str = "[DEFAULT]\nhost = https://one.example.com/?o=1\ntoken = dapi#1\n\n[staging]\nhost = two.example.com\n\
                        token: dapi2\n[basic]\nhost=https://three\nusername=ada\npassword=p\n[bare]\nhost=https://four\n\
                        [empty]\n[odd]\nhost=https://a b\ntoken=dapi5\n";

    struct Home(PathBuf);

    impl Home {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("mlflow-databricks-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&path).expect("writable");
            fs::write(path.join(".databrickscfg"), FILE).expect("writable");
            Self(path)
        }

        fn parse(&self, uri: &str, variables: &[(&str, &str)]) -> Result<ServerUri, String> {
            let home = self.0.to_str().expect("UTF-8");
            parse(uri, &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                let home = (name == "HOME").then_some(home);
                found.map(|(_, value)| *value).or(home).map(str::to_owned)
            })
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_profile_names_the_host_and_the_login() {
        let home = Home::new();
        let token = |token: &str| Credentials::Bearer(token.to_owned());
        let basic = Credentials::choose(Some("ada".into()), Some("p".into()), None);
        let other = ("DATABRICKS_HOST", "https://five");
        for (uri, variables, host, credentials) in [
            (
                "databricks",
                &[][..],
                "https://one.example.com",
                token("dapi#1"),
            ),
            (
                "databricks://",
                &[],
                "https://one.example.com",
                token("dapi#1"),
            ),
            (
                "Databricks://staging/",
                &[other],
                "https://two.example.com",
                token("dapi2"),
            ),
            (
                "databricks",
                &[("DATABRICKS_CONFIG_PROFILE", "staging")],
                "https://two.example.com",
                token("dapi2"),
            ),
            (
                "databricks",
                &[other, ("DATABRICKS_TOKEN", "dapi6")],
                "https://five",
                token("dapi6"),
            ),
            (
                "databricks://basic",
                &[],
                "https://three",
                basic.expect("a pair"),
            ),
        ] {
            assert!(is_databricks(uri));
            let server = home.parse(uri, variables).expect(uri);
            assert_eq!(server.to_string(), host);
            assert!(server.has_login());
            let read = server.login().expect("a login").read().expect("readable");
            assert_eq!(read, Some(credentials), "{uri}");
        }
    }

    #[test]
    fn what_is_missing_is_told_without_a_secret() {
        let home = Home::new();
        for (uri, variables, word) in [
            ("databricks://nobody", &[][..], "has no profile \"nobody\""),
            ("databricks://bare", &[], "has no token"),
            ("databricks://empty", &[], "names no host"),
            ("databricks://odd", &[], "its host is not valid"),
            ("databricks://scope:key", &[], "store of secrets"),
            (
                "databricks",
                &[("DATABRICKS_HOST", "https://five")],
                "without DATABRICKS_TOKEN",
            ),
            (
                "databricks",
                &[("DATABRICKS_CONFIG_FILE", "/does/not/exist")],
                "/does/not/exist",
            ),
        ] {
            let fault = home.parse(uri, variables).expect_err(uri);
            assert!(fault.contains(word), "{fault}");
            assert!(!fault.contains("dapi"), "{fault}");
        }
        for uri in ["databricks-uc", "uc:http://h", "http://databricks"] {
            assert!(!is_databricks(uri), "{uri}");
        }
    }

    /// A login that is renewed in the file is found without a restart.
    #[test]
    fn the_token_of_a_profile_is_read_again() {
        let home = Home::new();
        let server = home.parse("databricks", &[]).expect("a profile");
        let path = home.0.join(".databrickscfg");
        let renewed = "[DEFAULT]\nhost=https://one.example.com/?o=1\ntoken=new";
        fs::write(path, renewed).expect("writable");
        let login = server.login().expect("a login");
        let read = login.read().expect("readable");
        assert_eq!(read, Some(Credentials::Bearer("new".to_owned())));
        // A token of another host stays at home.
        let other = "[DEFAULT]\nhost=https://two.example.com\ntoken=other";
        fs::write(home.0.join(".databrickscfg"), other).expect("writable");
        let refused = login.read().expect_err("another host").to_string();
        assert!(refused.contains("names another host now"), "{refused}");
        assert!(!refused.contains("other\""), "{refused}");
    }
}
