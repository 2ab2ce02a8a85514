//! Prints the library's warnings to stderr, as a user's subscriber would.

/// Installs the subscriber.
pub fn to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::WARN)
        .init();
}
