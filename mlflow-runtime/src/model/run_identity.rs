//! Which run is meant, and what this process has to do with it.
//!
//! Both stand in the journal as JSON: a newer version may add fields, an older one reads on.

use serde::{Deserialize, Deserializer, Serialize};

use super::values::ExperimentRef;

/// Enough to find a run again, wherever it was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunIdentity {
    /// The local id, the value of the run-key tag.
    pub(crate) key: String,
    pub(crate) experiment: ExperimentRef,
    /// The store's id, for a run that existed before this process.
    pub(crate) resumed: Option<String>,
    /// Until there were ranks it said whether the process is a [`Role::Child`].
    #[serde(default, alias = "elsewhere", deserialize_with = "role_or_flag")]
    pub(crate) role: Role,
}

impl RunIdentity {
    /// Returns true if another process gives the run its name and its automatic tags.
    pub(crate) fn is_resumed_or_member(&self) -> bool {
        self.resumed.is_some() || self.role.member_rank().is_some()
    }
}

/// What the process has to do with a run, beside logging to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Starts it, or resumes it, and ends it.
    #[default]
    Owner,
    /// The same for all ranks; an earlier process of the same launch may have started it.
    Leader,
    /// Neither: another rank, or whoever started the launch, does.
    Member { rank: u32 },
    /// Neither: it was forked from the process that does.
    Child,
    /// Neither: it was forked from a [`Role::Member`], so that process does not either.
    Guest,
}

impl Role {
    /// Returns whether this process creates the run, and ends it.
    pub(crate) fn creates(self) -> bool {
        matches!(self, Self::Owner | Self::Leader)
    }

    /// Returns whether another rank creates the run.
    pub(crate) fn is_joined(self) -> bool {
        matches!(self, Self::Member { .. } | Self::Guest)
    }

    /// Returns whether the process was forked from one that has to do with the run.
    pub(crate) fn is_forked(self) -> bool {
        matches!(self, Self::Child | Self::Guest)
    }

    /// Returns the rank of a process that logs to a run which others start and end.
    pub(crate) fn member_rank(self) -> Option<u32> {
        match self {
            Self::Member { rank } => Some(rank),
            Self::Owner | Self::Leader | Self::Child | Self::Guest => None,
        }
    }

    /// That of a process which was forked from one with this role.
    pub(crate) fn inherited(self) -> Self {
        match self {
            Self::Owner | Self::Leader | Self::Child => Self::Child,
            Self::Member { .. } | Self::Guest => Self::Guest,
        }
    }
}

fn role_or_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Flag(bool),
        Role(Role),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Flag(true) => Role::Child,
        Either::Flag(false) => Role::Owner,
        Either::Role(role) => role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identities_of_older_journals_are_read() {
        let role = |fields: &str| {
            let json = format!(r#"{{"key":"k","experiment":{{"Id":"0"}},"resumed":null{fields}}}"#);
            let identity: RunIdentity = serde_json::from_str(&json).expect("an identity");
            identity.role
        };
        assert_eq!(role(""), Role::Owner);
        assert_eq!(role(r#","elsewhere":false"#), Role::Owner);
        assert_eq!(role(r#","elsewhere":true"#), Role::Child);
    }

    #[test]
    fn a_role_is_what_it_was_when_it_is_read_back() {
        for role in [
            Role::Owner,
            Role::Leader,
            Role::Member { rank: 7 },
            Role::Child,
            Role::Guest,
        ] {
            let identity = RunIdentity {
                key: "k".to_owned(),
                experiment: ExperimentRef::Id("0".to_owned()),
                resumed: None,
                role,
            };
            let json = serde_json::to_string(&identity).expect("JSON");
            assert_eq!(
                serde_json::from_str::<RunIdentity>(&json).ok(),
                Some(identity)
            );
        }
    }
}
