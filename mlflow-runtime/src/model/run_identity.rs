//! The identity of a run, and the role of this process in it.
//!
//! Identity and role are stored in the journal as JSON. A newer version may add fields, which an older
//! version ignores.

use serde::{Deserialize, Deserializer, Serialize};

use super::values::ExperimentRef;

/// Identity of a run: enough to find it again, wherever it was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunIdentity {
    /// Local id of the run, which is the value of its run-key tag.
    pub(crate) key: String,
    pub(crate) experiment: ExperimentRef,
    /// Id of the run in the store, for a run that existed before this process.
    pub(crate) resumed: Option<String>,
    /// Role of this process. Before there were ranks, the field was a flag: true for [`Role::Child`].
    #[serde(default, alias = "elsewhere", deserialize_with = "role_or_flag")]
    pub(crate) role: Role,
}

impl RunIdentity {
    /// Returns true if another process gives the run its name and its automatic tags.
    pub(crate) fn is_resumed_or_member(&self) -> bool {
        self.resumed.is_some() || self.role.member_rank().is_some()
    }
}

/// Role of a process in a run, besides logging to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Process that starts or resumes the run, and ends it.
    #[default]
    Owner,
    /// Rank 0 of a rendezvous, which starts and ends the run on behalf of all ranks. An earlier process of
    /// the same launch may have started the run.
    Leader,
    /// Process that joins a run. Another rank, or whoever started the launch, starts and ends the run.
    Member { rank: u32 },
    /// Process forked from an owner or leader. The parent starts and ends the run.
    Child,
    /// Process forked from a [`Role::Member`]. Neither the process nor its parent starts or ends the run.
    Guest,
}

impl Role {
    /// Returns true if this process creates the run, and ends it.
    pub(crate) fn creates(self) -> bool {
        matches!(self, Self::Owner | Self::Leader)
    }

    /// Returns true if a later process of the same launch may start the run again.
    pub(crate) fn is_restartable(self) -> bool {
        matches!(self, Self::Leader)
    }

    /// Returns true if another rank creates the run.
    pub(crate) fn is_joined(self) -> bool {
        matches!(self, Self::Member { .. } | Self::Guest)
    }

    /// Returns true if the process was forked from one that has a role in the run.
    pub(crate) fn is_forked(self) -> bool {
        matches!(self, Self::Child | Self::Guest)
    }

    /// Returns the rank of a [`Role::Member`]; `None` for every other role.
    pub(crate) fn member_rank(self) -> Option<u32> {
        match self {
            Self::Member { rank } => Some(rank),
            Self::Owner | Self::Leader | Self::Child | Self::Guest => None,
        }
    }

    /// Returns the role of a process that is forked from one with this role.
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
