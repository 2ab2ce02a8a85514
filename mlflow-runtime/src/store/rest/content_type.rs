//! Content types of artifacts, by the names of their files.

use reqwest::header::HeaderValue;

/// Names and extensions of texts that have no content type of their own.
const TEXTS: [&str; 12] = [
    "MLmodel",
    "MLproject",
    "cfg",
    "cnf",
    "conf",
    "err",
    "hocon",
    "jsonl",
    "prop",
    "properties",
    "py3",
    "sh",
];

/// Returns the content type of an artifact with this path, as a header.
pub(super) fn header(path: &str) -> HeaderValue {
    HeaderValue::from_static(of_path(path))
}

/// Returns the content type of an artifact with this path.
pub(super) fn of_path(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit('.').next().unwrap_or(name);
    if TEXTS.contains(&extension) {
        return "text/plain";
    }
    let guess = mime_guess::from_path(name).first_raw();
    guess.unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides() {
        for (path, expected) in [
            ("plots/loss.png", "image/png"),
            ("a.b/report.HTML", "text/html"),
            ("notes.txt", "text/plain"),
            ("logs/console.log", "text/plain"),
            ("table.json", "application/json"),
            ("model/MLmodel", "text/plain"),
            ("train.conf", "text/plain"),
            ("model.safetensors", "application/octet-stream"),
            ("folder.png/model", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(of_path(path), expected, "{path}");
        }
    }
}
