//! The build service (CI) that started the process, and the addresses of its build.
//!
//! The keys are those of OpenTelemetry's registry (`cicd`). The registry has no key for the provider itself,
//! so that key is formed like its `vcs.provider.name`. The variables are those that each provider's
//! documentation lists as predefined.

use super::VariableLookup;

/// Description of a build, as the provider gives it.
struct CiBuild {
    provider: &'static str,
    name: Option<String>,
    id: Option<String>,
    url: Option<String>,
    task_url: Option<String>,
}

pub(super) fn collect_tags(variable: VariableLookup<'_>) -> Vec<(&'static str, String)> {
    let Some(CiBuild {
        provider,
        name,
        id,
        url,
        task_url,
    }) = detect_build(variable)
    else {
        return Vec::new();
    };
    let tags = [
        ("cicd.provider.name", Some(provider.to_owned())),
        ("cicd.pipeline.name", name),
        ("cicd.pipeline.run.id", id),
        ("cicd.pipeline.run.url.full", url),
        ("cicd.pipeline.task.run.url.full", task_url),
    ];
    let known = tags
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    known.collect()
}

fn detect_build(variable: VariableLookup<'_>) -> Option<CiBuild> {
    let is_set = |name| variable(name).is_some();
    if is_set("GITHUB_ACTIONS") {
        let id = variable("GITHUB_RUN_ID");
        let url = || {
            let (server, repository) = (
                variable("GITHUB_SERVER_URL")?,
                variable("GITHUB_REPOSITORY")?,
            );
            Some(format!(
                "{server}/{repository}/actions/runs/{}",
                id.as_ref()?
            ))
        };
        return Some(CiBuild {
            provider: "github",
            name: variable("GITHUB_WORKFLOW"),
            url: url(),
            id,
            task_url: None,
        });
    }
    if is_set("GITLAB_CI") {
        return Some(CiBuild {
            provider: "gitlab",
            name: variable("CI_PIPELINE_NAME").or_else(|| variable("CI_PROJECT_PATH")),
            id: variable("CI_PIPELINE_ID"),
            url: variable("CI_PIPELINE_URL"),
            task_url: variable("CI_JOB_URL"),
        });
    }
    if is_set("BUILDKITE") {
        return Some(CiBuild {
            provider: "buildkite",
            name: variable("BUILDKITE_PIPELINE_SLUG"),
            id: variable("BUILDKITE_BUILD_ID"),
            url: variable("BUILDKITE_BUILD_URL"),
            task_url: None,
        });
    }
    is_set("JENKINS_URL").then(|| CiBuild {
        provider: "jenkins",
        name: variable("JOB_NAME"),
        id: variable("BUILD_ID"),
        url: variable("BUILD_URL"),
        task_url: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tag_keys::is_automatic_tag;

    fn tags_of(environment: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let tags = collect_tags(&|name| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        for (key, _) in &tags {
            assert!(is_automatic_tag(key), "{key}");
        }
        tags
    }

    fn expected(tags: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let tags = tags.iter().map(|(key, value)| (*key, (*value).to_owned()));
        tags.collect()
    }

    #[test]
    fn github() {
        let environment = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_WORKFLOW", "train"),
            ("GITHUB_RUN_ID", "42"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "me/net"),
        ];
        let tags = [
            ("cicd.provider.name", "github"),
            ("cicd.pipeline.name", "train"),
            ("cicd.pipeline.run.id", "42"),
            (
                "cicd.pipeline.run.url.full",
                "https://github.com/me/net/actions/runs/42",
            ),
        ];
        assert_eq!(tags_of(&environment), expected(&tags));
    }

    #[test]
    fn gitlab() {
        let environment = [
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "me/net"),
            ("CI_PIPELINE_ID", "42"),
            (
                "CI_PIPELINE_URL",
                "https://gitlab.com/me/net/-/pipelines/42",
            ),
            ("CI_JOB_URL", "https://gitlab.com/me/net/-/jobs/7"),
        ];
        let tags = [
            ("cicd.provider.name", "gitlab"),
            ("cicd.pipeline.name", "me/net"),
            ("cicd.pipeline.run.id", "42"),
            (
                "cicd.pipeline.run.url.full",
                "https://gitlab.com/me/net/-/pipelines/42",
            ),
            (
                "cicd.pipeline.task.run.url.full",
                "https://gitlab.com/me/net/-/jobs/7",
            ),
        ];
        assert_eq!(tags_of(&environment), expected(&tags));
    }

    #[test]
    fn jenkins() {
        let environment = [
            ("JENKINS_URL", "https://ci.example.org/"),
            ("JOB_NAME", "train"),
            ("BUILD_ID", "42"),
            ("BUILD_URL", "https://ci.example.org/job/train/42/"),
        ];
        let tags = [
            ("cicd.provider.name", "jenkins"),
            ("cicd.pipeline.name", "train"),
            ("cicd.pipeline.run.id", "42"),
            (
                "cicd.pipeline.run.url.full",
                "https://ci.example.org/job/train/42/",
            ),
        ];
        assert_eq!(tags_of(&environment), expected(&tags));
    }

    #[test]
    fn buildkite() {
        let environment = [
            ("BUILDKITE", "true"),
            ("BUILDKITE_PIPELINE_SLUG", "train"),
            ("BUILDKITE_BUILD_ID", "0190-ab"),
            (
                "BUILDKITE_BUILD_URL",
                "https://buildkite.com/me/train/builds/42",
            ),
        ];
        let tags = [
            ("cicd.provider.name", "buildkite"),
            ("cicd.pipeline.name", "train"),
            ("cicd.pipeline.run.id", "0190-ab"),
            (
                "cicd.pipeline.run.url.full",
                "https://buildkite.com/me/train/builds/42",
            ),
        ];
        assert_eq!(tags_of(&environment), expected(&tags));
    }

    #[test]
    fn what_a_provider_does_not_say_is_absent() {
        let tags = [("cicd.provider.name", "github")];
        assert_eq!(
            tags_of(&[("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "")][..1]),
            expected(&tags)
        );
        // Other programs set variables of these names, too.
        assert!(tags_of(&[("JOB_NAME", "train"), ("BUILD_URL", "x")]).is_empty());
    }
}
