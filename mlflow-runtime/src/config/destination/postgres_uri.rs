//! Tracking URIs of PostgreSQL databases, in the forms of `SQLAlchemy` and of PostgreSQL's own clients.
//!
//! Invariants:
//!
//! - The text of a URI shows neither user nor password, and is itself a URI of the same database.
//! - Two URIs of one database have one text, whatever they say about the connection (user, TLS, time limits), as
//!   journals know their destination by its text. A `search_path` is a part of it: it chooses other tables.
//! - A URI that is read differently by different programs is refused, as a part of a password could else be taken for a
//!   host.
//!
//! Parts that are missing come from `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE` and their like, as in PostgreSQL's own
//! clients. The password is looked up by the store.

use std::fmt::{self, Write as _};

use crate::percent_encoding::{percent_decode, push_encoded_path};
use crate::secret::Secret;

/// Schemes of such URIs. `SQLAlchemy` adds the name of a Python driver after a `+`.
const SCHEMES: [&str; 2] = ["postgresql", "postgres"];

const DEFAULT_PORT: u16 = 5432;

/// Parameters that concern the connection, and the variables that stand in for them.
const PARAMETERS: [(&str, &str); 18] = [
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("hostaddr", "PGHOSTADDR"),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("tcp_user_timeout", ""),
];

/// Parameters of PostgreSQL's own clients that change nothing here: their defaults, or what this library does anyway, are
/// as good.
const IGNORED_PARAMETERS: [&str; 8] = [
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "sslcompression",
    "sslsni",
];

/// Lookup of an environment variable; `None` if it is unset or empty.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Database on a PostgreSQL server, and how to connect to it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a build that cannot connect needs the name alone")
)]
pub(crate) struct PostgresUri {
    /// Hosts that are tried one after the other, at least one.
    pub(crate) hosts: Vec<Host>,
    pub(crate) database: String,
    /// User, if the URI or `PGUSER` names one.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret<String>>,
    /// Other parameters, by name.
    parameters: Vec<(String, String)>,
}

/// Host of a database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Name or address, or the folder of a socket, which begins with `/`. Empty for the folder in which servers have
    /// their sockets by default.
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Returns true if a URI with this scheme names a PostgreSQL database.
pub(super) fn is_postgres(scheme: &str) -> bool {
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    SCHEMES
        .iter()
        .any(|known| dialect.eq_ignore_ascii_case(known))
}

impl PostgresUri {
    /// Parses the part of a URI after `://`. The error says what is wrong, and shows no part of the URI that may be a
    /// password.
    pub(super) fn parse(rest: &str, lookup: Lookup<'_>) -> Result<Self, String> {
        let (login, rest) = split_login(rest)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = path.split_once('/').unwrap_or((path, ""));
        if path.contains('@') || database.contains('/') || rest.contains('#') {
            return Err(
                "it is ambiguous: in a user name, a password and the name of a database, percent-encode `/`, `?`, `#`, \
                 `@` and `:`"
                    .to_owned(),
            );
        }
        let mut uri = Self {
            hosts: Vec::new(),
            database: decode(database, "the name of the database")?,
            user: None,
            password: None,
            parameters: Vec::new(),
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(decode(password, "the password")?)),
                None => (login, None),
            };
            uri.user = non_empty(decode(user, "the user name")?);
            uri.password = password.and_then(non_empty).map(Secret::new);
        }
        let mut hosts = authority_hosts(authority)?;
        let mut ports: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value, "a parameter")?;
            match name {
                "host" => {
                    // SQLAlchemy names each of several hosts by a parameter of its own.
                    if ports.is_empty() && hosts.iter().all(|host| host.from_authority) {
                        hosts.clear();
                    }
                    for host in value.split(',') {
                        hosts.push(parameter_host(host));
                    }
                }
                "port" => ports = value.split(',').map(str::to_owned).collect(),
                "dbname" => uri.database = value,
                "user" => uri.user = non_empty(value),
                "password" => uri.password = non_empty(value).map(Secret::new),
                _ if PARAMETERS.iter().any(|(known, _)| *known == name) => {
                    uri.parameters.retain(|(known, _)| known != name);
                    uri.parameters.push((name.to_owned(), value));
                }
                _ if IGNORED_PARAMETERS.contains(&name) => {}
                _ => return Err(unknown_parameter(name)),
            }
        }
        if uri.user.is_none() {
            uri.user = lookup("PGUSER");
        }
        if uri.database.is_empty() {
            let default = lookup("PGDATABASE").or_else(|| uri.user.clone());
            uri.database = default.ok_or("it names no database")?;
        }
        uri.hosts = resolve_hosts(hosts, &ports, lookup)?;
        for (name, variable) in PARAMETERS {
            if uri.parameter(name).is_none()
                && let Some(value) = lookup(variable)
            {
                uri.parameters.push((name.to_owned(), value));
            }
        }
        uri.name_hosts_by_address();
        Ok(uri)
    }

    /// Returns a parameter of the connection.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the value of `search_path` in the parameter `options`, in which the server is given settings as a command
    /// line.
    fn search_path(&self) -> Option<&str> {
        let options = self.parameter("options")?;
        let mut settings = options.split_ascii_whitespace().filter_map(|word| {
            // `-c search_path=x` is two words.
            let word = word
                .strip_prefix("--")
                .or(word.strip_prefix("-c"))
                .unwrap_or(word);
            word.split_once('=')
        });
        let is_search_path =
            |name: &str| name.to_ascii_lowercase().replace('-', "_") == "search_path";
        // The last one counts.
        let last = settings.rfind(|(name, _)| is_search_path(name));
        last.map(|(_, value)| value)
    }

    /// Makes addresses that stand in for missing hosts the hosts, by which the database and its password are known.
    fn name_hosts_by_address(&mut self) {
        let is_unnamed = self.hosts.iter().all(|host| host.name.is_empty());
        let place = { self.parameters.iter() }.position(|(name, _)| name == "hostaddr");
        if let (true, Some(place)) = (is_unnamed, place) {
            let (_, addresses) = self.parameters.remove(place);
            let ports: Vec<u16> = self.hosts.iter().map(|host| host.port).collect();
            let port_of = |index: usize| ports.get(index).or(ports.first()).copied();
            let hosts = addresses
                .split(',')
                .enumerate()
                .map(|(index, address)| Host {
                    name: address.trim().to_ascii_lowercase(),
                    port: port_of(index).unwrap_or(DEFAULT_PORT),
                });
            self.hosts = hosts.collect();
        }
    }
}

/// Returns user and password, if there are any, and what stands behind them.
///
/// They end at the last `@` before the first `/`, `?` or `#`. A URI in which a `:` is followed by anything but a port has
/// a password with such a character, and the password ends at the last `@` at all.
fn split_login(rest: &str) -> Result<(Option<&str>, &str), String> {
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..authority_end).unwrap_or(rest);
    let end = match authority.rfind('@') {
        Some(end) => Some(end),
        None if authority_hosts(authority).is_ok() => None,
        None => rest.rfind('@'),
    };
    match end {
        Some(end) => {
            let (login, rest) = rest.split_at(end);
            Ok((Some(login), rest.get(1..).unwrap_or_default()))
        }
        None => {
            authority_hosts(authority)?;
            Ok((None, rest))
        }
    }
}

/// Host as the URI names it.
#[derive(Debug)]
struct NamedHost {
    name: String,
    port: Option<u16>,
    /// True if the host stands before the path, and false if it is a parameter.
    from_authority: bool,
}

/// Returns the hosts that stand before the path, e.g. `db`, `db:5433`, `[::1]:5432` or `a,b:5433`.
fn authority_hosts(authority: &str) -> Result<Vec<NamedHost>, String> {
    let hosts = authority.split(',').filter(|host| !host.is_empty());
    let hosts = hosts.map(|host| {
        let (name, port) = match host.strip_prefix('[') {
            Some(address) => {
                let (address, port) = address
                    .split_once(']')
                    .ok_or("an address in brackets has no end")?;
                (address, port.strip_prefix(':'))
            }
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        let port = port.filter(|port| !port.is_empty());
        Ok(NamedHost {
            name: fold_case(decode(name, "the host")?),
            port: port.map(parse_port).transpose()?,
            from_authority: true,
        })
    });
    hosts.collect()
}

/// Returns the host that the parameter `host` names: a name, an address, a folder, or a name and a port as `SQLAlchemy`
/// has it.
fn parameter_host(host: &str) -> NamedHost {
    let with_port = host.split_once(':').filter(|_| !host.starts_with('/'));
    let with_port = with_port.and_then(|(name, port)| Some((name, parse_port(port).ok()?)));
    let (name, port) = match with_port {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    NamedHost {
        name: fold_case(name.to_owned()),
        port,
        from_authority: false,
    }
}

/// Completes hosts by the ports of the parameter `port`, and by `PGHOST` and `PGPORT`.
fn resolve_hosts(
    mut hosts: Vec<NamedHost>,
    ports: &[String],
    lookup: Lookup<'_>,
) -> Result<Vec<Host>, String> {
    if hosts.is_empty() {
        let default = lookup("PGHOST").unwrap_or_default();
        hosts = default.split(',').map(parameter_host).collect();
    }
    let default_ports = match lookup("PGPORT") {
        Some(ports) => ports.split(',').map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let ports = if ports.is_empty() {
        &default_ports
    } else {
        ports
    };
    let many = hosts.len();
    let resolved = hosts.into_iter().enumerate().map(|(index, host)| {
        // One port counts for all hosts.
        let named = ports
            .get(if ports.len() == 1 { 0 } else { index })
            .filter(|port| !port.is_empty());
        if ports.len() > 1 && ports.len() != many {
            return Err("the numbers of hosts and of ports differ".to_owned());
        }
        let port = match (host.port, named) {
            (Some(port), _) => port,
            (None, Some(port)) => parse_port(port)?,
            (None, None) => DEFAULT_PORT,
        };
        Ok(Host {
            name: host.name,
            port,
        })
    });
    resolved.collect()
}

fn parse_port(port: &str) -> Result<u16, String> {
    // The text may be a part of a password: it is not shown.
    port.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| "a port is not a number from 1 to 65535".to_owned())
}

fn decode(text: &str, name: &str) -> Result<String, String> {
    let decoded = percent_decode(text).filter(|text| !text.contains('\0'));
    let decoded =
        decoded.ok_or_else(|| format!("{name} is not percent-encoded: write a `%` as `%25`"))?;
    Ok(decoded.into_owned())
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn unknown_parameter(name: &str) -> String {
    // Behind a `?` that belongs to a password, the name may be a part of the password.
    if name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        format!("the parameter `{name}` is not supported")
    } else {
        "a parameter is not known".to_owned()
    }
}

/// Returns the name of a host in lower case. A folder stays as it is.
fn fold_case(mut name: String) -> String {
    if !name.starts_with('/') {
        name.make_ascii_lowercase();
    }
    name
}

/// Name of the database: its hosts with the ports that are not the default, its name, and a `search_path`.
impl fmt::Display for PostgresUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = "postgresql://".to_owned();
        let are_names =
            { self.hosts.iter() }.all(|host| !host.name.starts_with('/') && !host.name.is_empty());
        let mut parameters = Vec::new();
        if are_names {
            for (index, host) in self.hosts.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                if host.name.contains(':') {
                    write!(text, "[{}]", host.name)?;
                } else {
                    push_encoded_path(&mut text, &host.name);
                }
                if host.port != DEFAULT_PORT {
                    write!(text, ":{}", host.port)?;
                }
            }
        } else {
            let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
            let names = names.join(",");
            if !names.is_empty() {
                parameters.push(("host", names));
            }
            if self.hosts.iter().any(|host| host.port != DEFAULT_PORT) {
                let mut ports: Vec<String> = { self.hosts.iter() }
                    .map(|host| host.port.to_string())
                    .collect();
                ports.dedup();
                parameters.push(("port", ports.join(",")));
            }
        }
        text.push('/');
        let mut database = String::new();
        push_encoded_path(&mut database, &self.database);
        text.push_str(&database.replace('/', "%2F"));
        if let Some(search_path) = self.search_path() {
            parameters.push(("options", format!("-csearch_path={search_path}")));
        }
        for (index, (name, value)) in parameters.iter().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            push_encoded_path(&mut text, value);
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for PostgresUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<PostgresUri, String> {
        parse_with(uri, &[])
    }

    fn parse_with(uri: &str, variables: &[(&str, &str)]) -> Result<PostgresUri, String> {
        let (scheme, rest) = uri.split_once("://").unwrap();
        assert!(is_postgres(scheme), "{uri}");
        PostgresUri::parse(rest, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Regression: databases at two addresses, and that of this machine, had one text.
    #[test]
    fn an_address_without_a_host_is_a_part_of_the_text() {
        for (uri, variables, text) in [
            (
                "postgresql:///m?hostaddr=10.0.0.5",
                &[][..],
                "postgresql://10.0.0.5/m",
            ),
            (
                "postgresql:///m",
                &[("PGHOSTADDR", "::1")],
                "postgresql://[::1]/m",
            ),
            (
                "postgresql://db/m?hostaddr=10.0.0.5",
                &[],
                "postgresql://db/m",
            ),
            (
                "postgresql://db/m?options=-csearch_path=a%20--Search-Path=b",
                &[],
                "postgresql://db/m?options=-csearch_path%3Db",
            ),
        ] {
            let parsed = parse_with(uri, variables).unwrap();
            assert_eq!(parsed.to_string(), text, "{uri}");
        }
    }

    #[test]
    fn one_database_has_one_text() {
        for (uri, text) in [
            ("postgresql://db/mlflow", "postgresql://db/mlflow"),
            ("postgres://ada@DB:5432/mlflow", "postgresql://db/mlflow"),
            (
                "postgresql+psycopg2://ada:hunter2@db/mlflow?sslmode=require&application_name=x",
                "postgresql://db/mlflow",
            ),
            (
                "postgresql://db:5433/m%20x%2F",
                "postgresql://db:5433/m%20x%2F",
            ),
            (
                "postgresql:///mlflow?host=db&port=5433",
                "postgresql://db:5433/mlflow",
            ),
            ("postgresql:///mlflow", "postgresql:///mlflow"),
            (
                "postgresql:///mlflow?port=5433",
                "postgresql:///mlflow?port=5433",
            ),
            (
                "postgresql://u@/mlflow?host=/var/run/pg",
                "postgresql:///mlflow?host=/var/run/pg",
            ),
            (
                "postgresql://%2Fvar%2Frun%2Fpg/mlflow",
                "postgresql:///mlflow?host=/var/run/pg",
            ),
            (
                "postgresql:///mlflow?host=/s&port=5433",
                "postgresql:///mlflow?host=/s&port=5433",
            ),
            ("postgresql://a,b:5433/m", "postgresql://a,b:5433/m"),
            (
                "postgresql://u@/m?host=a:5432&host=b:5433",
                "postgresql://a,b:5433/m",
            ),
            (
                "postgresql:///m?host=a,b&port=5433",
                "postgresql://a:5433,b:5433/m",
            ),
            ("postgresql://[::1]:5433/m", "postgresql://[::1]:5433/m"),
            (
                "postgresql://h/m?options=-c%20search_path%3Dteam%20-c%20jit%3Doff",
                "postgresql://h/m?options=-csearch_path%3Dteam",
            ),
            (
                "postgresql://h/m?options=--search_path%3Dteam",
                "postgresql://h/m?options=-csearch_path%3Dteam",
            ),
            ("postgresql://ada@h", "postgresql://h/ada"),
        ] {
            let parsed = parse(uri).unwrap();
            assert_eq!(parsed.to_string(), text, "{uri}");
            assert_eq!(
                parse(text).unwrap().to_string(),
                text,
                "the text is a URI of it"
            );
            assert_eq!(format!("{parsed:?}"), text);
        }
    }

    #[test]
    fn logins_are_read_as_sqlalchemy_and_libpq_read_them() {
        for (uri, user, password) in [
            ("postgresql://h/m", None, None),
            ("postgresql://ada@h/m", Some("ada"), None),
            ("postgresql://ada:@h/m", Some("ada"), None),
            ("postgresql://ada:hunter2@h/m", Some("ada"), Some("hunter2")),
            (
                "postgresql://a%40b:h%2F%3A%25%C3%BC@h/m",
                Some("a@b"),
                Some("h/:%ü"),
            ),
            ("postgresql://ada:p:w@h/m", Some("ada"), Some("p:w")),
            ("postgresql://ada:p@w@h/m", Some("ada"), Some("p@w")),
            ("postgresql://ada:p/w@h/m", Some("ada"), Some("p/w")),
            ("postgresql://ada:p?w@h/m", Some("ada"), Some("p?w")),
            (
                "postgresql://h/m?user=ada&password=hunter2",
                Some("ada"),
                Some("hunter2"),
            ),
            ("postgresql://h/m?user=ada@corp", Some("ada@corp"), None),
        ] {
            let parsed = parse(uri).unwrap();
            assert_eq!(parsed.to_string(), "postgresql://h/m", "{uri}");
            assert_eq!(parsed.user.as_deref(), user, "{uri}");
            assert_eq!(
                parsed.password.map(Secret::into_inner).as_deref(),
                password,
                "{uri}"
            );
        }
    }

    #[test]
    fn missing_parts_come_from_the_environment() {
        let variables = [
            ("PGHOST", "db"),
            ("PGPORT", "5433"),
            ("PGUSER", "ada"),
            ("PGDATABASE", "mlflow"),
        ];
        let all = parse_with("postgresql://", &variables).unwrap();
        assert_eq!(all.to_string(), "postgresql://db:5433/mlflow");
        assert_eq!(all.user.as_deref(), Some("ada"));
        let none = parse_with("postgresql://eve@h:1/m", &variables).unwrap();
        assert_eq!(none.to_string(), "postgresql://h:1/m");
        assert_eq!(none.user.as_deref(), Some("eve"));
    }

    #[test]
    fn uris_that_cannot_be_used_say_why_without_a_password() {
        for (uri, word) in [
            ("postgresql://h", "no database"),
            ("postgresql://h:x/m", "port"),
            ("postgresql://h:0/m", "port"),
            ("postgresql://u:hunter@2/x@h/m", "percent-encode"),
            ("postgresql://u:hunter2%@h/m", "%25"),
            ("postgresql://h/a/b", "percent-encode"),
            ("postgresql://h/m?service=x", "`service`"),
            ("postgresql://h/m?Hunter2", "a parameter"),
            ("postgresql://[::1/m", "bracket"),
            ("postgresql:///m?host=a,b,c&port=1,2", "differ"),
        ] {
            let fault = parse(uri).unwrap_err();
            assert!(fault.contains(word), "{uri}: {fault}");
            assert!(!fault.to_lowercase().contains("hunter"), "{fault}");
        }
    }
}
