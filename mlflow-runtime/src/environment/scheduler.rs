//! The scheduler that started the process: Slurm or Kubernetes.
//!
//! Slurm's variables are those of `sbatch(1)` and `srun(1)`. A pod of Kubernetes knows little about itself by
//! default: its host name is the name of the pod, and a mounted file holds its namespace. Further values come
//! from variables that the pod's manifest fills (the downward API), or from `OTEL_RESOURCE_ATTRIBUTES`, which
//! OpenTelemetry's operator fills. The keys are those of OpenTelemetry's registry (`k8s`), which has none for
//! Slurm.

use std::fs;
use std::path::Path;

use super::VariableLookup;

pub(super) const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

const SLURM_TAGS: [(&str, &str); 7] = [
    ("slurm.job.id", "SLURM_JOB_ID"),
    ("slurm.job.name", "SLURM_JOB_NAME"),
    ("slurm.job.partition", "SLURM_JOB_PARTITION"),
    ("slurm.cluster.name", "SLURM_CLUSTER_NAME"),
    ("slurm.step.id", "SLURM_STEP_ID"),
    ("slurm.array.job.id", "SLURM_ARRAY_JOB_ID"),
    ("slurm.array.task.id", "SLURM_ARRAY_TASK_ID"),
];

/// Tag keys, each with its variables in the order of their precedence.
const KUBERNETES_TAGS: [(&str, [&str; 2]); 4] = [
    ("k8s.pod.name", ["K8S_POD_NAME", "POD_NAME"]),
    ("k8s.namespace.name", ["K8S_NAMESPACE", "POD_NAMESPACE"]),
    ("k8s.node.name", ["K8S_NODE_NAME", "NODE_NAME"]),
    ("k8s.pod.uid", ["K8S_POD_UID", "POD_UID"]),
];

pub(super) fn collect_tags(
    variable: VariableLookup<'_>,
    namespace_file: &Path,
) -> Vec<(&'static str, String)> {
    let mut tags = Vec::new();
    if variable("SLURM_JOB_ID").is_some() {
        tags.extend(
            SLURM_TAGS
                .iter()
                .filter_map(|(key, name)| Some((*key, variable(name)?))),
        );
    }
    if variable("KUBERNETES_SERVICE_HOST").is_some() {
        let resource = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        tags.extend(KUBERNETES_TAGS.iter().filter_map(|(key, names)| {
            let value = names
                .iter()
                .find_map(|name| variable(name))
                .or_else(|| find_attribute(&resource, key))
                .or_else(|| match *key {
                    "k8s.pod.name" => variable("HOSTNAME"),
                    "k8s.namespace.name" => fs::read_to_string(namespace_file).ok(),
                    _ => None,
                })?;
            Some((*key, value.trim().to_owned()))
        }));
    }
    tags
}

// Input:  `service.name=net,k8s.pod.name=net-0`, `k8s.pod.name`
// Output: `net-0`
fn find_attribute(resource: &str, key: &str) -> Option<String> {
    let mut attributes = resource.split(',').filter_map(|pair| pair.split_once('='));
    attributes
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tag_keys::is_automatic_tag;

    fn tags_of(environment: &[(&str, &str)], namespace: &Path) -> Vec<(&'static str, String)> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let tags = collect_tags(&variable, namespace);
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
    fn a_job_of_slurm() {
        let environment = [
            ("SLURM_JOB_ID", "77"),
            ("SLURM_JOB_NAME", "train"),
            ("SLURM_JOB_PARTITION", "gpu"),
            ("SLURM_ARRAY_JOB_ID", "70"),
            ("SLURM_ARRAY_TASK_ID", "7"),
        ];
        let tags = [
            ("slurm.job.id", "77"),
            ("slurm.job.name", "train"),
            ("slurm.job.partition", "gpu"),
            ("slurm.array.job.id", "70"),
            ("slurm.array.task.id", "7"),
        ];
        assert_eq!(
            tags_of(&environment, Path::new("/nowhere")),
            expected(&tags)
        );
    }

    #[test]
    fn a_pod_of_kubernetes() {
        let namespace =
            std::env::temp_dir().join(format!("mlflow-runtime-namespace-{}", std::process::id()));
        fs::write(&namespace, "vision\n").unwrap();
        let environment = [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("HOSTNAME", "train-0"),
            ("NODE_NAME", "gpu-3"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=net,k8s.pod.uid=ab-cd",
            ),
        ];
        let tags = [
            ("k8s.pod.name", "train-0"),
            ("k8s.namespace.name", "vision"),
            ("k8s.node.name", "gpu-3"),
            ("k8s.pod.uid", "ab-cd"),
        ];
        assert_eq!(tags_of(&environment, &namespace), expected(&tags));
        fs::remove_file(&namespace).unwrap();
    }

    #[test]
    fn what_the_pod_is_told_wins_over_what_it_can_guess() {
        let environment = [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("HOSTNAME", "node-of-a-host-network"),
            ("POD_NAME", "train-0"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=other"),
        ];
        assert_eq!(
            tags_of(&environment, Path::new("/nowhere")),
            expected(&[("k8s.pod.name", "train-0")])
        );
    }

    #[test]
    fn nothing_outside() {
        let environment = [
            ("HOSTNAME", "desk"),
            ("SLURM_CLUSTER_NAME", "c"),
            ("NODE_NAME", "n"),
        ];
        assert!(tags_of(&environment, Path::new("/nowhere")).is_empty());
    }
}
