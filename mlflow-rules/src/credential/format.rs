//! Formats of credentials that begin with a prefix of their own.
//!
//! Invariants:
//!
//! - Each row has its source: the issuer's documentation, or the rule of a well-known scanner
//!   (gitleaks, trufflehog, kingfisher, GitHub's secret scanning) that publishes prefix, length and alphabet. Where
//!   real credentials are much longer than is needed to tell them from a name, a shorter length is
//!   enough.
//! - At most [`MAX_LOOKAHEAD`] bytes after a prefix are examined to decide if a credential's body
//!   follows. Only the header of a JWT is examined to its end, and a body of an exact length.
//! - A short prefix needs a body that no name has: an exact length, or letters and digits mixed.

use super::text::{MAX_LOOKAHEAD, Text, is_alphanumeric, is_b64token, is_url_safe};

type ByteClass = fn(u8) -> bool;

pub(super) struct CredentialFormat {
    pub(super) prefix: &'static str,
    /// Name with its article, as a warning contains it: "a GitHub token".
    pub(super) kind: &'static str,
    pub(super) body: Body,
}

/// Form of the text that follows a prefix.
pub(super) enum Body {
    /// Exact number of bytes of the class, with no letter or digit behind them.
    Exactly(usize, ByteClass),
    /// Minimum number of bytes of the class.
    AtLeast(usize, ByteClass),
    /// Minimum number of url-safe characters, with a digit and an upper-case letter among them.
    Mixed(usize),
    /// Exact number of letters and digits, with both and no other word character behind them.
    MixedExactly(usize),
    /// Parts with this byte between them, each with its minimum and maximum length and its class.
    Parts(u8, &'static [(usize, usize, ByteClass)]),
    /// Url-safe words separated by `-` or `_`. At least one of the words is too long for a word of
    /// a language, or is a number of at least `digits` digits.
    Random {
        digits: usize,
    },
    Jwt,
}

use Body::{AtLeast, Exactly, Jwt, Mixed, MixedExactly, Parts, Random};

/// Value of `digits` for a format in which a number alone is no sign of a credential.
const NEVER_NUMERIC: usize = usize::MAX;
/// Minimum length of a word that counts as random. The longest words of a language are shorter.
const MIN_RANDOM_WORD_LEN: usize = 24;
/// Minimum length of a word that counts as random if it has both digits and other characters.
const MIN_MIXED_WORD_LEN: usize = 20;

const ALNUM: ByteClass = is_alphanumeric;
const HEX: ByteClass = is_hexadecimal;
const DIGIT: ByteClass = is_digit;
const UPPER: ByteClass = is_upper_alphanumeric;
const URL_SAFE: ByteClass = is_url_safe;

const fn row(prefix: &'static str, kind: &'static str, body: Body) -> CredentialFormat {
    CredentialFormat { prefix, kind, body }
}

const AWS: &str = "an AWS access key id";
const OPENAI: &str = "an OpenAI key";
const GITHUB: &str = "a GitHub token";
const SLACK: &str = "a Slack token";
/// Body of several words, of which one is random.
const WORDS: Body = Random {
    digits: NEVER_NUMERIC,
};
/// Body of a Slack token; the ids of teams and users are numbers of at least nine digits.
const SLACK_BODY: Body = Random { digits: 9 };
/// Body of a Discord token: base64 of the bot's number, a time, an HMAC.
const DISCORD_BODY: Body = Parts(
    b'.',
    &[(22, 26, URL_SAFE), (6, 6, URL_SAFE), (27, 40, URL_SAFE)],
);
/// Body that is a UUID.
const UUID: Body = Parts(
    b'-',
    &[
        (8, 8, HEX),
        (4, 4, HEX),
        (4, 4, HEX),
        (4, 4, HEX),
        (12, 12, HEX),
    ],
);

/// Formats in the order in which they are tried. A longer prefix stands before a shorter one with
/// which it begins, and the rows with the same first byte stand together.
#[rustfmt::skip]
pub(super) const FORMATS: &[CredentialFormat] = &[
    row("00D", "a Salesforce token", Parts(b'!', &[(9, 15, ALNUM), (80, 120, is_b64token)])), // Kingfisher salesforce
    row("1//0", "a Google OAuth refresh token", AtLeast(40, is_url_safe)), // Google, "OAuth 2.0" (its examples)
    row("4b1d", "a ClickHouse Cloud key", MixedExactly(38)), // gitleaks clickhouse-cloud-api-secret-key
    row("A3-", "a 1Password secret key", Parts(b'-', &[(6, 6, UPPER), (6, 11, UPPER), (5, 5, UPPER), (5, 5, UPPER), (5, 5, UPPER)])), // gitleaks 1password-secret-key
    row("ABIA", AWS, Exactly(16, is_upper_alphanumeric)), // AWS IAM, unique ids
    row("ABSK", "an Amazon Bedrock key", AtLeast(80, is_base64)), // gitleaks aws-amazon-bedrock-api-key-long-lived
    row("ACCA", AWS, Exactly(16, is_upper_alphanumeric)), // AWS IAM, unique ids
    row("AGE-SECRET-KEY-1", "an age key", AtLeast(58, is_upper_alphanumeric)), // age, "age-encryption.org/v1", identities
    row("AIza", "a Google API key", Exactly(35, is_url_safe)), // Google Cloud, "Manage API keys" (its examples)
    row("AKCp", "an Artifactory key", Exactly(69, is_alphanumeric)), // gitleaks artifactory-api-key
    row("AKIA", AWS, Exactly(16, is_upper_alphanumeric)), // AWS IAM, "IAM identifiers", unique ids
    row("API-", "an Octopus Deploy key", Exactly(26, is_upper_alphanumeric)), // gitleaks octopus-deploy-api-key
    row("AQVN", "a Yandex key", AtLeast(35, is_url_safe)), // gitleaks yandex-api-key
    row("ASIA", AWS, Exactly(16, is_upper_alphanumeric)), // AWS IAM, unique ids
    row("ATATT3", "an Atlassian token", AtLeast(60, is_url_safe_or_equals)), // TruffleHog jiratoken
    row("ATBB", "a Bitbucket app password", Mixed(24)), // TruffleHog bitbucketapppassword
    row("ATCTT3", "an Atlassian token", AtLeast(60, is_url_safe_or_equals)), // TruffleHog atlassian
    row("AVNS_", "an Aiven password", Mixed(16)), // Aiven, "Aiven service passwords"; GitHub, secret scanning patterns
    row("BBDC-", "a Bitbucket Data Center token", AtLeast(40, is_b64token)), // TruffleHog bitbucketdatacenter
    row("BBFF-", "an Ubidots token", Exactly(30, is_alphanumeric)), // Kingfisher ubidots
    row("CCIPAT_", "a CircleCI token", Parts(b'_', &[(22, 22, ALNUM), (40, 40, HEX)])), // TruffleHog circleci
    row("CFPAT-", "a Contentful token", AtLeast(43, is_url_safe)), // TruffleHog contentfulpersonalaccesstoken
    row("CLOJARS_", "a Clojars token", Exactly(60, is_alphanumeric)), // gitleaks clojars-api-token
    row("EAAA", "a Square token", Mixed(56)), // gitleaks square-access-token
    row("EAAC", "a Facebook token", AtLeast(100, is_alphanumeric)), // gitleaks facebook-page-access-token
    row("EAAM", "a Facebook token", AtLeast(100, is_alphanumeric)), // gitleaks facebook-page-access-token
    row("EZAK", "an EasyPost key", Exactly(54, is_alphanumeric)), // gitleaks easypost-api-token
    row("EZTK", "an EasyPost key", Exactly(54, is_alphanumeric)), // gitleaks easypost-test-api-token
    row("FLWSECK-", "a Flutterwave key", AtLeast(32, is_alphanumeric)), // gitleaks flutterwave-secret-key
    row("FLWSECK_TEST-", "a Flutterwave key", AtLeast(12, is_alphanumeric)), // gitleaks flutterwave-secret-key
    row("GOCSPX-", "a Google OAuth secret", AtLeast(28, is_url_safe)), // Google, "OAuth 2.0 for web server applications" (client_secret.json)
    row("GR1348941", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("HRKU-AA", "a Heroku key", AtLeast(58, is_url_safe)), // gitleaks heroku-api-key-v2
    row("KGAT_", "a Kaggle token", Exactly(32, is_hexadecimal)), // Kaggle, "Public API", authentication
    row("LTAI", "an Alibaba access key id", MixedExactly(20)), // gitleaks alibaba-access-key-id
    row("MT", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("Mj", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("Mz", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("ND", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("NRAK-", "a New Relic key", Exactly(27, is_upper_alphanumeric)), // gitleaks new-relic-user-api-key
    row("NRII-", "a New Relic key", AtLeast(32, is_url_safe)), // gitleaks new-relic-insert-key
    row("NRJS-", "a New Relic key", Exactly(19, is_hexadecimal)), // gitleaks new-relic-browser-api-token
    row("NT", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("Nj", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("Nz", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("OD", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("OT", "a Discord token", DISCORD_BODY), // Discord, "API reference", authentication
    row("PMAK-", "a Postman key", Parts(b'-', &[(24, 24, HEX), (34, 34, HEX)])), // gitleaks postman-api-token
    row("SG.", "a SendGrid key", Parts(b'.', &[(16, 32, URL_SAFE), (32, 64, URL_SAFE)])), // SendGrid, "API keys"; gitleaks sendgrid-api-token
    row("SK", "a Twilio key", Exactly(32, is_hexadecimal)), // Twilio, "API keys": SK and 32 hexadecimal
    row("VF.DM.", "a Voiceflow key", Parts(b'.', &[(24, 24, HEX), (16, 16, ALNUM)])), // TruffleHog voiceflow
    row("VF.WS.", "a Voiceflow key", Parts(b'.', &[(24, 24, HEX), (16, 16, ALNUM)])), // TruffleHog voiceflow
    row("VF.", "a Voiceflow key", Parts(b'.', &[(24, 24, HEX), (16, 16, ALNUM)])), // TruffleHog voiceflow
    row("access-development-", "a Plaid token", UUID), // gitleaks plaid-api-token
    row("access-production-", "a Plaid token", UUID), // gitleaks plaid-api-token
    row("access-sandbox-", "a Plaid token", UUID), // gitleaks plaid-api-token
    row("aio_", "an Adafruit key", MixedExactly(28)), // Adafruit IO, "API keys"; GitHub, secret scanning patterns
    row("api_org_", "a Hugging Face token", AtLeast(30, is_alphanumeric)), // gitleaks huggingface-organization-api-token
    row("apify_api_", "an Apify token", AtLeast(30, is_alphanumeric)), // TruffleHog apify
    row("bedrock-api-key-", "an Amazon Bedrock key", AtLeast(20, is_b64token)), // gitleaks aws-amazon-bedrock-api-key-short-lived
    row("bkua_", "a Buildkite token", Exactly(40, is_lower_alphanumeric)), // TruffleHog buildkite
    row("cfat_", "a Cloudflare token", Exactly(48, is_alphanumeric)), // TruffleHog cloudflareapitoken
    row("cfk_", "a Cloudflare key", Exactly(48, is_alphanumeric)), // TruffleHog cloudflareglobalapikey
    row("cfut_", "a Cloudflare token", Exactly(48, is_alphanumeric)), // TruffleHog cloudflareapitoken
    row("cio", "a crates.io token", MixedExactly(32)), // crates.io, `cargo login`; GitHub, secret scanning patterns
    row("csk-", "a Cerebras key", Exactly(48, is_alphanumeric)), // Cerebras, "Inference quickstart" (its examples)
    row("dapi", "a Databricks token", Exactly(32, is_hexadecimal)), // Databricks, "Personal access tokens"
    row("dckr_oat_", "a Docker token", AtLeast(32, is_url_safe)), // TruffleHog dockerhub
    row("dckr_pat_", "a Docker token", AtLeast(27, is_url_safe)), // TruffleHog dockerhub
    row("dnkey-", "a Defined Networking key", WORDS), // gitleaks defined-networking-api-token
    row("doo_v1_", "a DigitalOcean token", Exactly(64, is_hexadecimal)), // gitleaks digitalocean-access-token
    row("dop_v1_", "a DigitalOcean token", Exactly(64, is_hexadecimal)), // gitleaks digitalocean-pat
    row("dor_v1_", "a DigitalOcean token", Exactly(64, is_hexadecimal)), // gitleaks digitalocean-refresh-token
    row("dp.audit.", "a Doppler token", AtLeast(40, is_alphanumeric)), // TruffleHog doppler
    row("dp.ct.", "a Doppler token", AtLeast(40, is_alphanumeric)), // TruffleHog doppler
    row("dp.pt.", "a Doppler token", AtLeast(40, is_alphanumeric)), // TruffleHog doppler
    row("dp.sa.", "a Doppler token", AtLeast(40, is_alphanumeric)), // TruffleHog doppler
    row("dp.scim.", "a Doppler token", AtLeast(40, is_alphanumeric)), // TruffleHog doppler
    row("dp.st.", "a Doppler token", WORDS), // TruffleHog doppler
    row("dp.st.", "a Doppler token", Parts(b'.', &[(2, 35, URL_SAFE), (40, 44, ALNUM)])), // TruffleHog doppler, of an environment
    row("dt0c01.", "a Dynatrace token", Parts(b'.', &[(24, 24, ALNUM), (64, 64, ALNUM)])), // gitleaks dynatrace-api-token
    row("duffel_live_", "a Duffel token", AtLeast(43, is_url_safe_or_equals)), // gitleaks duffel-api-token
    row("duffel_test_", "a Duffel token", AtLeast(43, is_url_safe_or_equals)), // gitleaks duffel-api-token
    row("e2b_", "an E2B key", Exactly(40, is_hexadecimal)), // E2B, "API key" (its examples)
    row("endr+", "an Endor Labs key", Exactly(16, is_url_safe)), // TruffleHog endorlabs
    row("eyJhcGlfYWRkcmVzcyI6", "a Neptune token", AtLeast(40, is_b64token)), // Neptune, "API tokens"
    row("eyJrIjoi", "a Grafana key", AtLeast(70, is_b64token)), // gitleaks grafana-api-key
    row("eyJ", "a JWT", Jwt), // RFC 7519, RFC 7515, RFC 7516
    row("figd_", "a Figma token", AtLeast(40, is_url_safe)), // Figma, "Personal access tokens"; GitHub, secret scanning patterns
    row("figp_", "a Figma token", AtLeast(40, is_url_safe_or_equals)), // TruffleHog figmapersonalaccesstoken
    row("figu_", "a Figma token", AtLeast(40, is_url_safe)), // Figma, "OAuth 2"; GitHub, secret scanning patterns
    row("fio-u-", "a Frame.io token", AtLeast(64, is_url_safe_or_equals)), // gitleaks frameio-api-token
    row("fm1a_", "a Fly.io token", AtLeast(100, is_b64token)), // gitleaks flyio-access-token
    row("fm1r_", "a Fly.io token", AtLeast(100, is_b64token)), // gitleaks flyio-access-token
    row("fm2_", "a Fly.io token", AtLeast(100, is_b64token)), // gitleaks flyio-access-token
    row("fo1_", "a Fly.io token", Exactly(43, is_url_safe)), // gitleaks flyio-access-token
    row("gho_", GITHUB, AtLeast(20, is_alphanumeric)), // GitHub, "About authentication", token formats: 36
    row("ghp_", GITHUB, AtLeast(20, is_alphanumeric)), // GitHub, "About authentication", token formats: 36
    row("ghr_", GITHUB, AtLeast(20, is_alphanumeric)), // GitHub, "About authentication", token formats: 36
    row("ghs_", GITHUB, AtLeast(20, is_alphanumeric)), // GitHub, "About authentication", token formats: 36
    row("ghu_", GITHUB, AtLeast(20, is_alphanumeric)), // GitHub, "About authentication", token formats: 36
    row("github_pat_", GITHUB, WORDS), // GitHub, the same: 82
    row("glagent-", "a GitLab token", AtLeast(50, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glc_", "a Grafana token", AtLeast(32, is_base64)), // gitleaks grafana-cloud-api-token
    row("glcbt-", "a GitLab token", WORDS), // GitLab, "Token overview", token prefixes
    row("gldt-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glffct-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glft-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glimt-", "a GitLab token", AtLeast(25, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("gloas-", "a GitLab token", AtLeast(64, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glpat-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glptt-", "a GitLab token", AtLeast(40, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glrt-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glrtr-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("glsa_", "a Grafana token", Parts(b'_', &[(32, 32, ALNUM), (8, 8, HEX)])), // gitleaks grafana-service-account-token
    row("glsoat-", "a GitLab token", AtLeast(20, is_url_safe)), // GitLab, "Token overview", token prefixes
    row("gsk_", "a Groq key", Exactly(52, is_alphanumeric)), // TruffleHog groq
    row("hf_", "a Hugging Face token", AtLeast(30, is_alphanumeric)), // Hugging Face Hub, "User access tokens": 34
    row("hvb.", "a Vault token", AtLeast(24, is_url_safe)), // HashiCorp Vault, "Tokens", prefixes
    row("hvr.", "a Vault token", AtLeast(24, is_url_safe)), // HashiCorp Vault, the same
    row("hvs.", "a Vault token", AtLeast(24, is_url_safe)), // HashiCorp Vault, the same
    row("ico-", "an Infracost token", MixedExactly(32)), // gitleaks infracost-api-token
    row("ion_", "an Ionic token", Exactly(42, is_alphanumeric)), // Kingfisher ionic
    row("jina_", "a Jina key", AtLeast(40, is_alphanumeric)), // Jina AI, "Reader API" (its examples)
    row("key-", "a Mailgun key", Exactly(32, is_hexadecimal)), // gitleaks mailgun-private-api-token
    row("lin_api_", "a Linear key", Exactly(40, is_alphanumeric)), // gitleaks linear-api-key
    row("lin_oauth_", "a Linear token", Exactly(64, is_hexadecimal)), // Linear, "OAuth 2.0 authentication"; GitHub, secret scanning patterns
    row("lip_", "a Lichess token", MixedExactly(20)), // Lichess, API, authentication; GitHub, secret scanning patterns
    row("live_", "a GoCardless or Lob key", WORDS), // gitleaks gocardless-api-token, lob-api-key
    row("lsv2_pt_", "a LangSmith key", Parts(b'_', &[(32, 32, HEX), (10, 10, HEX)])), // TruffleHog langsmith
    row("lsv2_sk_", "a LangSmith key", Parts(b'_', &[(32, 32, HEX), (10, 10, HEX)])), // TruffleHog langsmith
    row("mdb_sa_sk_", "a MongoDB Atlas secret", Mixed(40)), // MongoDB Atlas, "Service accounts"; GitHub, secret scanning patterns
    row("nfp_", "a Netlify token", Exactly(36, is_alphanumeric)), // Netlify, "Personal access tokens"; GitHub, secret scanning patterns
    row("npm_", "an npm token", AtLeast(30, is_alphanumeric)), // GitHub blog, "Announcing npm's new access token format": 36
    row("ntn_", "a Notion token", AtLeast(40, is_alphanumeric)), // gitleaks notion-api-token
    row("nvapi-", "an NVIDIA key", AtLeast(60, is_url_safe)), // TruffleHog nvapi
    row("ops_eyJ", "a 1Password token", AtLeast(80, is_b64token)), // gitleaks 1password-service-account-token
    row("oy2", "a NuGet key", Exactly(43, is_lower_alphanumeric)), // NuGet, "API keys"; GitHub, secret scanning patterns
    row("p8e-", "an Adobe secret", MixedExactly(32)), // gitleaks adobe-client-secret
    row("pat-eu1-", "a HubSpot token", UUID), // HubSpot, the same
    row("pat-na1-", "a HubSpot token", UUID), // HubSpot, "Private apps", access tokens
    row("pat.", "a Harness key", Parts(b'.', &[(22, 22, URL_SAFE), (24, 24, ALNUM), (20, 20, ALNUM)])), // gitleaks harness-api-key
    row("pat", "an Airtable token", Parts(b'.', &[(14, 14, ALNUM), (64, 64, HEX)])), // gitleaks airtable-personnal-access-token
    row("pcsk_", "a Pinecone key", Parts(b'_', &[(5, 6, ALNUM), (63, 63, ALNUM)])), // TruffleHog pinecone
    row("phx_", "a PostHog key", AtLeast(43, is_url_safe)), // TruffleHog posthog
    row("pk_", "a ClickUp token", Parts(b'_', &[(6, 9, DIGIT), (30, 36, UPPER)])), // TruffleHog clickuppersonaltoken
    row("pnb_", "a Prefect key", Exactly(36, is_alphanumeric)), // Prefect, "Manage API keys"
    row("pnu_", "a Prefect key", Exactly(36, is_alphanumeric)), // gitleaks prefect-api-token
    row("pplx-", "a Perplexity key", Exactly(48, is_alphanumeric)), // gitleaks perplexity-api-key
    row("pscale_oauth_", "a PlanetScale token", AtLeast(32, is_b64token)), // gitleaks planetscale-oauth-token
    row("pscale_pw_", "a PlanetScale password", AtLeast(32, is_b64token)), // gitleaks planetscale-password
    row("pscale_tkn_", "a PlanetScale token", AtLeast(32, is_b64token)), // gitleaks planetscale-api-token
    row("pul-", "a Pulumi token", Exactly(40, is_hexadecimal)), // gitleaks pulumi-api-token
    row("pypi-Ag", "a PyPI token", Mixed(30)), // PyPI, help, "API tokens": a macaroon
    row("pypi-", "a PyPI token", WORDS), // PyPI, the same
    row("r8_", "a Replicate token", AtLeast(37, is_alphanumeric)), // TruffleHog replicate
    row("ramp_sec_", "a Ramp secret", Exactly(48, is_alphanumeric)), // TruffleHog ramp
    row("rdme_", "a ReadMe key", Exactly(70, is_alphanumeric)), // gitleaks readme-api-token
    row("re_", "a Resend key", Parts(b'_', &[(8, 8, ALNUM), (20, 32, ALNUM)])), // Resend, "API keys" (its examples)
    row("rh-api-", "a Robinhood key", UUID), // TruffleHog robinhoodcrypto
    row("rk_live_", "a Stripe key", AtLeast(16, is_alphanumeric)), // Stripe, "API keys"
    row("rk_prod_", "a Stripe key", AtLeast(16, is_alphanumeric)), // gitleaks stripe-access-token
    row("rk_test_", "a Stripe key", AtLeast(16, is_alphanumeric)), // Stripe, the same
    row("rpa_", "a RunPod key", MixedExactly(43)), // RunPod, "API keys"; GitHub, secret scanning patterns
    row("rubygems_", "a RubyGems key", Exactly(48, is_alphanumeric)), // gitleaks rubygems-api-token
    row("rzp_live_", "a Razorpay key", MixedExactly(14)), // Razorpay, "API keys"
    row("s-s4t2", "a 42 secret", WORDS), // gitleaks intra42-client-secret
    row("s.", "a Vault token", MixedExactly(24)), // gitleaks vault-service-token, before Vault 1.10
    row("salad_cloud_", "a SaladCloud key", WORDS), // TruffleHog saladcloudapikey
    row("sat.", "a Harness key", Parts(b'.', &[(22, 22, URL_SAFE), (24, 24, ALNUM), (20, 20, ALNUM)])), // gitleaks harness-api-key
    row("sb_secret_", "a Supabase key", AtLeast(20, is_url_safe)), // Supabase, "API keys", secret keys
    row("sbp_", "a Supabase token", Exactly(40, is_lower_alphanumeric)), // TruffleHog supabasetoken
    row("secret_", "a Notion token", Exactly(43, is_alphanumeric)), // TruffleHog notion
    row("sgp_local_", "a Sourcegraph token", Exactly(40, is_hexadecimal)), // gitleaks sourcegraph-access-token
    row("sgp_", "a Sourcegraph token", WORDS), // gitleaks sourcegraph-access-token
    row("sha256~", "an OpenShift token", Exactly(43, is_url_safe)), // gitleaks openshift-user-token
    row("shippo_live_", "a Shippo token", Exactly(40, is_hexadecimal)), // gitleaks shippo-api-token
    row("shippo_test_", "a Shippo token", Exactly(40, is_hexadecimal)), // gitleaks shippo-api-token
    row("shpat_", "a Shopify token", Exactly(32, is_hexadecimal)), // Shopify, changelog "Length of the shared secret is increasing"; gitleaks shopify rules
    row("shpca_", "a Shopify token", Exactly(32, is_hexadecimal)), // Shopify, changelog "Length of the shared secret is increasing"; gitleaks shopify rules
    row("shppa_", "a Shopify token", Exactly(32, is_hexadecimal)), // Shopify, changelog "Length of the shared secret is increasing"; gitleaks shopify rules
    row("shpss_", "a Shopify token", Exactly(32, is_hexadecimal)), // Shopify, changelog "Length of the shared secret is increasing"; gitleaks shopify rules
    row("sk-admin-", OPENAI, Mixed(20)), // OpenAI, the same
    row("sk-ant-", "an Anthropic key", Mixed(20)), // Anthropic, Admin API, "Get API key" (its examples)
    row("sk-lf-", "a Langfuse key", UUID), // Langfuse, "API and SDK keys" (its examples)
    row("sk-proj-", OPENAI, Mixed(20)), // OpenAI, API reference, "Authentication"
    row("sk-svcacct-", OPENAI, Mixed(20)), // OpenAI, the same
    row("sk-", "a key that begins with `sk-`", WORDS), // OpenAI, older keys; OpenRouter, DeepSeek, LiteLLM and others
    row("sk.eyJ", "a Mapbox token", Parts(b'.', &[(20, 128, URL_SAFE), (20, 24, URL_SAFE)])), // Mapbox, "Access tokens", secret tokens
    row("sk_live_", "a Stripe key", AtLeast(16, is_alphanumeric)), // Stripe, "API keys"
    row("sk_prod_", "a Stripe key", AtLeast(16, is_alphanumeric)), // gitleaks stripe-access-token
    row("sk_test_", "a Stripe key", AtLeast(16, is_alphanumeric)), // Stripe, the same
    row("sk_", "an ElevenLabs key", Exactly(48, is_hexadecimal)), // TruffleHog elevenlabs
    row("sl.", "a Dropbox token", AtLeast(100, is_url_safe)), // gitleaks dropbox-short-lived-api-token
    row("slk_", "a Sourcegraph key", Exactly(64, is_hexadecimal)), // Kingfisher sourcegraph
    row("sm_aat_", "a SettleMint token", Exactly(16, is_alphanumeric)), // gitleaks settlemint rules
    row("sm_pat_", "a SettleMint token", Exactly(16, is_alphanumeric)), // gitleaks settlemint rules
    row("sm_sat_", "a SettleMint token", Exactly(16, is_alphanumeric)), // gitleaks settlemint rules
    row("sntrys_", "a Sentry token", AtLeast(60, is_b64token)), // gitleaks sentry-org-token
    row("sntryu_", "a Sentry token", Exactly(64, is_hexadecimal)), // gitleaks sentry-user-token
    row("sq0atp-", "a Square token", AtLeast(22, is_url_safe)), // gitleaks square-access-token
    row("sq0csp-", "a Square secret", AtLeast(43, is_url_safe)), // Square, "Credentials"; GitHub, secret scanning patterns
    row("sqa_", "a SonarQube token", Exactly(40, is_hexadecimal)), // gitleaks sonar-api-token
    row("sqco_", "a SonarQube token", Exactly(59, is_alphanumeric)), // TruffleHog sonarcloud
    row("sqp_", "a SonarQube token", Exactly(40, is_hexadecimal)), // gitleaks sonar-api-token
    row("squ_", "a SonarQube token", Exactly(40, is_hexadecimal)), // gitleaks sonar-api-token
    row("test_", "a Lob key", Exactly(35, is_hexadecimal)), // gitleaks lob-api-key
    row("tfp_", "a Typeform token", AtLeast(59, is_url_safe)), // gitleaks typeform-api-token
    row("thog-secret-", "a TruffleHog secret", Exactly(32, is_hexadecimal)), // TruffleHog trufflehogenterprise
    row("tk-us-", "a Scalingo token", AtLeast(48, is_url_safe)), // gitleaks scalingo-api-token
    row("tkn.v1_", "a Teamwork token", AtLeast(60, is_base64)), // Kingfisher teamwork
    row("tskey-", "a Tailscale key", WORDS), // TruffleHog tailscale
    row("tvly-", "a Tavily key", WORDS), // Tavily, "Quickstart" (its examples)
    row("v1.0-", "a Cloudflare origin CA key", Parts(b'-', &[(24, 24, HEX), (146, 146, HEX)])), // gitleaks cloudflare-origin-ca-key
    row("waka_", "a WakaTime key", UUID), // WakaTime, "API key" (its examples)
    row("wandb_v1_", "a W&B key", Mixed(40)), // W&B, `wandb login`, "API key formats": some 80
    row("whsec_", "a Stripe webhook secret", AtLeast(32, is_base64)), // Stripe, "Verify webhook signatures"
    row("xai-", "an xAI key", Exactly(80, is_url_safe)), // TruffleHog xai
    row("xapp-", SLACK, SLACK_BODY), // gitleaks slack-app-token
    row("xkeysib-", "a Brevo key", Parts(b'-', &[(64, 64, HEX), (16, 16, ALNUM)])), // gitleaks sendinblue-api-token
    row("xoxa-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxb-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxe-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxe.xoxb-", SLACK, SLACK_BODY), // gitleaks slack-config-access-token
    row("xoxe.xoxp-", SLACK, SLACK_BODY), // gitleaks slack-config-access-token
    row("xoxo-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxp-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxr-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("xoxs-", SLACK, SLACK_BODY), // Slack, "Tokens"
    row("ya29.", "a Google OAuth token", AtLeast(20, is_url_safe)), // Google, "OAuth 2.0 for server to server applications" (its examples)
];

/// Returns the formats whose prefix begins with this byte.
pub(super) fn formats_starting_with(byte: u8) -> &'static [CredentialFormat] {
    let (from, to) = FORMAT_RANGES[usize::from(byte)];
    FORMATS
        .get(usize::from(from)..usize::from(to))
        .unwrap_or_default()
}

/// Returns true if these two bytes may be the first of a credential, or of a mark that announces a
/// credential (such as `://`).
#[inline]
pub(super) fn may_begin(first: u8, second: u8) -> bool {
    // No mark and no prefix has the character 127, whose bit stands for all bytes above, too.
    SECOND_BYTES[usize::from(first)] >> second.min(127) & 1 != 0
}

/// Three bytes in a row, of each its class, in five bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Trigram(usize);

impl Trigram {
    /// Returns the last two bytes and this one.
    #[inline]
    pub(super) fn next(self, byte: u8) -> Self {
        Self((self.0 << 5 | usize::from(CLASSES[usize::from(byte)])) & 0x7fff)
    }

    /// Returns false if no credential and no mark begins with three bytes of these classes.
    #[inline]
    pub(super) fn may_begin(self) -> bool {
        TRIGRAMS[self.0 >> 6] >> (self.0 & 63) & 1 != 0
    }
}

/// Classes of bytes, of which there are 32: each letter in any case is one.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' => byte - b'a' + 1,
            b'A'..=b'Z' => byte - b'A' + 1,
            b'0'..=b'9' => 27,
            b'-' | b'_' | b'.' => 28,
            b'%' | b'\\' | b'(' => 29,
            b'=' | b':' | b'>' | b'~' => SIGN_CLASS,
            b'/' | b'"' | b'\'' => 31,
            _ => 0,
        };
        byte += 1;
    }
    classes
};
const SIGN_CLASS: u8 = 30;

/// Set of the classes of the first three bytes of a prefix or a mark.
static TRIGRAMS: [u64; 512] = {
    let mut set = [0; 512];
    let mut row = 0;
    while row < FORMATS.len() {
        let prefix = FORMATS[row].prefix.as_bytes();
        let third = if prefix.len() > 2 {
            Some(CLASSES[prefix[2] as usize])
        } else {
            None
        };
        add_trigrams(
            &mut set,
            CLASSES[prefix[0] as usize],
            Some(CLASSES[prefix[1] as usize]),
            third,
        );
        row += 1;
    }
    let mut mark = 0;
    while mark < MARKS.len() {
        let (first, seconds) = MARKS[mark];
        let mut second = 0;
        while second < seconds.len() {
            add_trigrams(
                &mut set,
                CLASSES[first as usize],
                Some(CLASSES[seconds[second] as usize]),
                None,
            );
            second += 1;
        }
        mark += 1;
    }
    add_trigrams(&mut set, SIGN_CLASS, None, None);
    set
};

/// Adds the trigrams of these classes; `None` stands for any class.
const fn add_trigrams(set: &mut [u64; 512], first: u8, second: Option<u8>, third: Option<u8>) {
    // The trigrams that begin with the given classes stand side by side.
    let first = (first as usize) << 10;
    let (from, count) = match (second, third) {
        (Some(second), Some(third)) => (first | (second as usize) << 5 | third as usize, 1),
        (Some(second), None) => (first | (second as usize) << 5, 32),
        (None, _) => (first, 1024),
    };
    let mut trigram = from;
    while trigram < from + count {
        set[trigram >> 6] |= 1 << (trigram & 63);
        trigram += 1;
    }
}

/// Marks that announce a credential, with the bytes that may follow on the first: `-----BEGIN` and
/// `--token`, `Authorization` in any case, `Bearer`, the escapes `\n` and `%3D`, `("name", …)`, and the
/// marks inside of a credential.
const MARKS: [(u8, &[u8]); 9] = [
    (b'-', b"-u"),
    (b'A', b"Uu"),
    (b'a', b"Uu"),
    (b'B', b"e"),
    (b'\\', b"nrt"),
    (b'%', b"0123456789ABCDEFabcdef"),
    (b'(', b"\"'"),
    (b'.', b"a"),
    (b'_', b"m"),
];

/// Ranges of rows in [`FORMATS`], by the first byte of the prefix.
static FORMAT_RANGES: [(u8, u8); 256] = {
    let mut rows = [(0, 0); 256];
    let mut row = 0;
    while row < FORMATS.len() {
        let first = FORMATS[row].prefix.as_bytes()[0] as usize;
        #[expect(clippy::cast_possible_truncation, reason = "there are few rows")]
        let here = row as u8;
        let (from, to) = rows[first];
        assert!(
            to == 0 || to == here,
            "rows of one first byte stand together"
        );
        rows[first] = (if to == 0 { here } else { from }, here + 1);
        row += 1;
    }
    rows
};

/// Sets of the possible second bytes (one bit per ASCII byte), by the first byte.
static SECOND_BYTES: [u128; 256] = {
    let mut seconds = [0; 256];
    let mut row = 0;
    while row < FORMATS.len() {
        let prefix = FORMATS[row].prefix.as_bytes();
        seconds[prefix[0] as usize] |= 1 << prefix[1];
        row += 1;
    }
    let mut other = 0;
    while other < MARKS.len() {
        let (first, all) = MARKS[other];
        let mut second = 0;
        while second < all.len() {
            seconds[first as usize] |= 1 << all[second];
            second += 1;
        }
        other += 1;
    }
    // Marks behind which anything may follow: those between a name and its value, and the mark inside
    // of an Azure secret.
    let marks = [b'=', b':', b'>', b'~'];
    let mut mark = 0;
    while mark < marks.len() {
        seconds[marks[mark] as usize] = u128::MAX;
        mark += 1;
    }
    seconds
};

/// Returns the end of the body that begins at `from`, or `None` if there is no such body. A JWT is not
/// judged here.
pub(super) fn body_end(text: &Text<'_>, from: usize, body: &Body) -> Option<usize> {
    match *body {
        Exactly(count, class) => {
            let end = text.class_end(from, count, class);
            let goes_on = text.byte(end).is_some_and(is_alphanumeric);
            (end == from + count && !goes_on).then_some(end)
        }
        AtLeast(count, class) => {
            (text.class_end(from, count, class) == from + count).then(|| text.run_end(from, class))
        }
        Mixed(count) => {
            let seen = lookahead(text, from);
            let is_mixed = seen.len() >= count
                && seen.iter().any(u8::is_ascii_digit)
                && seen.iter().any(u8::is_ascii_uppercase);
            is_mixed.then(|| text.run_end(from, is_url_safe))
        }
        MixedExactly(count) => {
            let end = text.class_end(from, count, is_alphanumeric);
            let seen = text.slice(from..end);
            let is_mixed = seen.len() == count
                && seen.iter().any(u8::is_ascii_digit)
                && seen.iter().any(u8::is_ascii_alphabetic);
            let goes_on = text.byte(end).is_some_and(is_url_safe);
            (is_mixed && !goes_on).then_some(end)
        }
        Parts(separator, parts) => {
            let mut end = from;
            for (index, (least, most, class)) in parts.iter().enumerate() {
                if index > 0 {
                    if text.byte(end) != Some(separator) {
                        return None;
                    }
                    end += 1;
                }
                let start = end;
                // The separator may belong to the class.
                let is_last = index + 1 == parts.len();
                while end - start < *most
                    && text
                        .byte(end)
                        .is_some_and(|byte| class(byte) && (is_last || byte != separator))
                {
                    end += 1;
                }
                if end - start < *least {
                    let is_cut = index > 0 && text.is_cut() && end == text.len();
                    return is_cut.then_some(end);
                }
            }
            (!text.byte(end).is_some_and(is_alphanumeric)).then_some(end)
        }
        Random { digits } => lookahead(text, from)
            .split(|byte| matches!(byte, b'-' | b'_'))
            .any(|word| is_random(word, digits))
            .then(|| text.run_end(from, is_url_safe)),
        Jwt => None,
    }
}

/// Returns true if the text from `from` on is the beginning of a body behind this prefix in a text that
/// was cut off. A short prefix is the beginning of many words, so more of the body has to be there.
pub(super) fn is_cut_body(text: &Text<'_>, prefix: &str, from: usize) -> bool {
    const CLEAR_PREFIX_LEN: usize = 4;
    const MIN_CUT_LEN: usize = 8;
    if !text.is_cut_off(from) {
        return false;
    }
    // More of a long piece tells no more.
    let begun = text.slice(from..text.len().min(from + MAX_LOOKAHEAD));
    let is_clear = prefix.len() >= CLEAR_PREFIX_LEN
        || prefix == "eyJ"
        || (prefix.ends_with(['-', '_']) && prefix.len() > 2);
    is_clear || (begun.len() >= MIN_CUT_LEN && begun.iter().any(u8::is_ascii_digit))
}

fn lookahead<'t>(text: &Text<'t>, from: usize) -> &'t [u8] {
    let end = text.class_end(from, MAX_LOOKAHEAD, is_url_safe);
    text.slice(from..end)
}

fn is_random(word: &[u8], digits: usize) -> bool {
    let numbers = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    match word.len() {
        MIN_RANDOM_WORD_LEN.. => true,
        MIN_MIXED_WORD_LEN.. => numbers > 0 && numbers < word.len(),
        len => numbers == len && len >= digits,
    }
}

fn is_upper_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_hexadecimal(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn is_url_safe_or_equals(byte: u8) -> bool {
    is_url_safe(byte) || byte == b'='
}
