//! Generated secrets with the texts in which they stand, and texts that look like secrets and are none.
//!
//! Invariants:
//!
//! - No secret stands in the source: each is made from a form and a seed, so that the same seed makes the
//!   same secrets, and a secret scanner that reads the repository finds none.
//! - The forms are written down here for a second time, from the issuers' documentation, and do not use
//!   the library's own table.
//!
//! Tests of other packages include this file by its path, as the ways of a value into a store have to
//! pass with the same secrets.

#![allow(
    dead_code,
    reason = "each test that includes the file uses a part of it"
)]

mod forms;
mod look_alikes;

pub(crate) use look_alikes::look_alikes;

/// A secret in a text: the text is `before`, the secret, `after`.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Kind of the secret, such as "Slack bot".
    pub(crate) kind: String,
    pub(crate) before: String,
    pub(crate) secret: String,
    pub(crate) after: String,
}

impl Sample {
    /// Returns the whole text.
    pub(crate) fn text(&self) -> String {
        [&*self.before, &self.secret, &self.after].concat()
    }

    /// Returns the text that is left if only the secret is masked.
    pub(crate) fn masked(&self) -> String {
        [&*self.before, "[redacted]", &self.after].concat()
    }
}

/// Texts around a secret that has a form of its own. None ends with a character that a name's sign
/// is, and none begins with one that could continue a secret.
const SURROUNDINGS: [(&str, &str); 10] = [
    ("", ""),
    ("cannot log in with ", " at 10:31"),
    ("{\"note\":\"", "\",\"epoch\":3}"),
    ("args=[\"train\", \"", "\"]"),
    ("日本語", "日本語"),
    ("\\u65e5\\u8a9e", "\\u65e5\\u8a9e"),
    ("b'\\x1b", "\\x1b'"),
    ("https://host/a?v=", "&x=1"),
    ("Error { source: Refused(\"first\\n", "\\nlast\") }"),
    ("a,b,", ",c"),
];

/// Returns secrets of all kinds, `each` of every form, in their texts.
pub(crate) fn secrets(seed: u64, each: usize) -> Vec<Sample> {
    let mut random = Random(seed);
    let mut samples = Vec::new();
    for (kind, form) in forms::FORMATS {
        for _ in 0..each {
            let secret = random.fill(form);
            for (before, after) in SURROUNDINGS {
                samples.push(Sample {
                    kind: (*kind).to_owned(),
                    before: before.to_owned(),
                    secret: secret.clone(),
                    after: after.to_owned(),
                });
            }
        }
    }
    for (kind, text, form) in forms::NAMED {
        for _ in 0..each {
            let (before, after) = text.split_once('§').expect("a place for the secret");
            samples.push(Sample {
                kind: (*kind).to_owned(),
                before: before.to_owned(),
                secret: random.fill(form),
                after: after.to_owned(),
            });
        }
    }
    samples
}

/// A generator of numbers (`splitmix64`), whose sequence follows from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("it is below `end`")
    }

    /// Fills a form: `{h32}` becomes 32 random characters of the class `h`.
    // Input:  `dapi{h32}`
    // Output: `dapi0f3a…`
    pub(crate) fn fill(&mut self, form: &str) -> String {
        let mut filled = String::new();
        let mut rest = form;
        while let Some((before, behind)) = rest.split_once('{') {
            let (field, after) = behind.split_once('}').expect("a closed field");
            let (class, count) = field.split_at(1);
            filled.push_str(before);
            filled.push_str(&self.characters(class, count.parse().expect("a number")));
            rest = after;
        }
        filled + rest
    }

    fn characters(&mut self, class: &str, count: usize) -> String {
        let upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let lower = "abcdefghijklmnopqrstuvwxyz";
        let digits = "0123456789";
        // The first characters are of different kinds, as those of nearly every random text are.
        let (alphabet, first) = match class {
            "h" => ("0123456789abcdef".to_owned(), "4f0"),
            "n" => (digits.to_owned(), "7"),
            "u" => ([upper, digits].concat(), "7Q2Z"),
            "l" => ([lower, digits].concat(), "q7z2x"),
            "t" => ([upper, "234567"].concat(), "7Q2Z"),
            "w" => ([upper, lower, digits].concat(), "q7Z2x"),
            "s" => ([upper, lower, digits, "-_"].concat(), "q7Z2x"),
            "b" => ([upper, lower, digits, "+/"].concat(), "q7Z2x"),
            // A password that a person or a generator chooses, without quotes and blanks.
            "p" => ([upper, lower, digits, "!$%*+-.?@^_~"].concat(), "q7Z2x"),
            // A password in a URL with characters that should have been encoded.
            "r" => ([upper, lower, digits, "/#?'"].concat(), "q/Z?2#x'"),
            other => panic!("no class {other}"),
        };
        let alphabet: Vec<char> = alphabet.chars().collect();
        let mut made: String = first.chars().take(count).collect();
        while made.len() < count {
            made.push(alphabet[self.below(alphabet.len())]);
        }
        // The last character is a letter, so that no sentence's end seems to be cut from it.
        if matches!(class, "s" | "p" | "r" | "b") {
            made.pop();
            made.push('k');
        }
        made
    }
}
