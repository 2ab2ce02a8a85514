//! Settings of a connection: host, user, password and TLS, as PostgreSQL's own clients choose them.
//!
//! - The password is that of the URI, else `PGPASSWORD`, else that of the password file. It is looked up for each
//!   connection anew, so that a person who corrects it need not start the program again.
//! - No error shows the password.

use std::env;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::StoreError;
use super::password_file::PasswordFile;
use super::socket::socket_folder;
use super::tls::{Connector, TlsMode};
use crate::config::destination::PostgresUri;
use crate::environment;

/// Name of this client in the server's list of connections.
const APPLICATION_NAME: &str = "mlflow-runtime";
/// Longest time to wait for one host, if neither the URI nor the time limit of requests asks for less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without data after which the system asks if the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Parameters that are handed on as they are, with the names that they have there.
const HANDED_ON: [(&str, &str); 11] = [
    ("application_name", "application_name"),
    ("channel_binding", "channel_binding"),
    ("connect_timeout", "connect_timeout"),
    ("hostaddr", "hostaddr"),
    ("keepalives", "keepalives"),
    ("keepalives_count", "keepalives_retries"),
    ("keepalives_idle", "keepalives_idle"),
    ("keepalives_interval", "keepalives_interval"),
    ("load_balance_hosts", "load_balance_hosts"),
    ("sslnegotiation", "sslnegotiation"),
    ("target_session_attrs", "target_session_attrs"),
];

/// Variables that name another database, or that protect a connection in a way that this library does not know.
const UNSUPPORTED: [&str; 5] = [
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGSERVICE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
];

/// Settings of one connection.
pub(super) struct Login {
    pub(super) config: Config,
    pub(super) connector: Connector,
    pub(super) user: String,
    /// Origin of the password, for the error after the server has refused it.
    pub(super) password_origin: String,
}

impl Login {
    /// Looks up the settings of a connection that is made now.
    pub(super) fn new(uri: &PostgresUri, limit: Duration) -> Result<Self, StoreError> {
        if let Some(variable) = UNSUPPORTED.iter().find(|name| is_set(name)) {
            return Err(blocked(&format!(
                "{variable} is set, which this library cannot follow: unset it, or log through a tracking server"
            )));
        }
        let mut config = parse_parameters(uri)?;
        let user = uri.user.clone();
        let user = user.unwrap_or_else(|| environment::for_process().user.clone());
        if user.is_empty() {
            return Err(blocked(
                "no user is known for the database: name one in the tracking URI, or set PGUSER",
            ));
        }
        config.user(&user).dbname(&uri.database);
        if uri.parameter("application_name").is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if uri.parameter("connect_timeout").is_none() {
            config.connect_timeout(CONNECT_TIMEOUT.min(limit));
        }
        if uri.parameter("keepalives_idle").is_none() {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if let Some(options) = uri.parameter("options") {
            config.options(options);
        }
        let addresses: Vec<String> = { config.get_hostaddrs().iter() }
            .map(ToString::to_string)
            .collect();
        let mut is_remote = !addresses.is_empty();
        for (index, host) in uri.hosts.iter().enumerate() {
            if host.name.is_empty() {
                match addresses.get(index) {
                    Some(address) => config.host(address),
                    None => config.host_path(socket_folder(host.port)),
                };
            } else {
                config.host(&host.name);
                is_remote |= !host.name.starts_with('/');
            }
            config.port(host.port);
        }
        let password_origin = match find_password(uri, &user) {
            (Some(password), origin) => {
                config.password(password);
                origin
            }
            (None, origin) => origin,
        };
        let mode = TlsMode::choose(uri)?;
        config.ssl_mode(match mode {
            // A socket of this machine is not encrypted.
            _ if !is_remote => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyAuthority | TlsMode::VerifyFull => SslMode::Require,
        });
        let connector = if config.get_ssl_mode() == SslMode::Disable {
            Connector::without_encryption()
        } else {
            Connector::new(uri, mode)?
        };
        Ok(Self {
            config,
            connector,
            user,
            password_origin,
        })
    }
}

/// Reads the parameters that `tokio_postgres` knows, too, by its own parser.
fn parse_parameters(uri: &PostgresUri) -> Result<Config, StoreError> {
    let mut text = String::new();
    for (name, their_name) in HANDED_ON {
        let Some(value) = uri.parameter(name) else {
            continue;
        };
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        let pair = format!("{their_name}='{value}' ");
        // The parser's message is left out: it does not know the name that the user has given.
        if pair.parse::<Config>().is_err() {
            return Err(blocked(&format!(
                "the parameter `{name}` of the tracking URI, or the variable that stands in for it, has a value that \
                 cannot be used"
            )));
        }
        text.push_str(&pair);
    }
    let mut config = if text.is_empty() {
        Config::new()
    } else {
        text.parse()
            .map_err(|_| blocked("the parameters of the tracking URI cannot be used"))?
    };
    if let Some(limit) = uri.parameter("tcp_user_timeout")
        && let Ok(ms) = limit.parse()
    {
        config.tcp_user_timeout(Duration::from_millis(ms));
    }
    Ok(config)
}

/// Returns the password, and a description of where it came from, or of where it was looked for.
fn find_password(uri: &PostgresUri, user: &str) -> (Option<String>, String) {
    if let Some(password) = &uri.password {
        let origin = "the password is that of the tracking URI".to_owned();
        return (Some(password.expose().clone()), origin);
    }
    if let Ok(password) = env::var("PGPASSWORD")
        && !password.is_empty()
    {
        return (
            Some(password),
            "the password is that of PGPASSWORD".to_owned(),
        );
    }
    let named = uri.parameter("passfile").map(Path::new);
    let nowhere = "there is no password in the tracking URI and in PGPASSWORD";
    match PasswordFile::look_up(named, uri, user) {
        PasswordFile::Found(password) => {
            let origin = "the password is that of the password file".to_owned();
            (Some(password.into_inner()), origin)
        }
        PasswordFile::NotFound(path) => (
            None,
            format!("{nowhere}, and none for this login in {}", path.display()),
        ),
        PasswordFile::Unusable(reason) => (None, format!("{nowhere}, and {reason}")),
        PasswordFile::Nowhere => (None, nowhere.to_owned()),
    }
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn blocked(reason: &str) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: true,
    }
}
