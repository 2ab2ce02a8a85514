//! Subscriber that prints the library's warnings to stderr, as a user's subscriber would. The file is a
//! module that the programs include, not a program.

/// Installs the subscriber.
pub(crate) fn to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::WARN)
        .init();
}
