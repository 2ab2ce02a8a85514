//! Sockets of servers on this machine.

use std::path::Path;

/// Folders in which servers have their sockets: that of Debian and Red Hat, and that of PostgreSQL itself.
const FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Returns the folder that has the socket of a server on this port.
pub(super) fn socket_folder(port: u16) -> &'static str {
    let has_socket = |folder: &&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    let [default, _] = FOLDERS;
    FOLDERS.into_iter().find(has_socket).unwrap_or(default)
}

/// Returns true if servers have their sockets in this folder by default.
pub(super) fn is_default_folder(folder: &str) -> bool {
    FOLDERS.contains(&folder)
}
