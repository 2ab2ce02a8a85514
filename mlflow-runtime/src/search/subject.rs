//! [`Subject`] of a search, with the fields and operators that the search knows.
//!
//! The rules are those of MLflow's `search_utils.py`, with one addition: params are compared as numbers, too.

use super::comparison::{Comparison, Operand, Operator};
use super::field::{Field, FieldKind};

/// Kind of records that a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Experiments,
    Runs,
    RegisteredModels,
    ModelVersions,
}

/// Kind of a field's values, with the operators that it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    /// Numbers.
    Number,
    /// Integers.
    Integer,
    /// Texts.
    Text,
    /// Texts, also compared with a list.
    ListedText,
    /// Texts that a record may lack.
    OptionalText,
    /// Texts of tags that a record may lack, but without `IS NULL`.
    Tag,
    /// Texts that a record may lack, compared as numbers, too.
    Param,
    /// Ids that are integers written as texts: compared only for equality, also with a list.
    Id,
}

const EQUALITY: [Operator; 2] = [Operator::Equal, Operator::NotEqual];
const RANGE: [Operator; 4] = [
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::Less,
    Operator::LessOrEqual,
];
const PATTERN: [Operator; 2] = [Operator::Like, Operator::ILike];
const LIST: [Operator; 2] = [Operator::In, Operator::NotIn];
const PRESENCE: [Operator; 2] = [Operator::IsNull, Operator::IsNotNull];

impl Domain {
    fn operators(self) -> Vec<Operator> {
        let groups: &[&[Operator]] = match self {
            Self::Number | Self::Integer => &[&EQUALITY, &RANGE],
            Self::Text | Self::Tag => &[&EQUALITY, &PATTERN],
            Self::ListedText => &[&EQUALITY, &PATTERN, &LIST],
            Self::OptionalText => &[&EQUALITY, &PATTERN, &PRESENCE],
            Self::Param => &[&EQUALITY, &PATTERN, &PRESENCE, &RANGE],
            Self::Id => &[&EQUALITY, &LIST],
        };
        groups.concat()
    }
}

impl Subject {
    /// Returns the plural of the records' name.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Experiments => "experiments",
            Self::Runs => "runs",
            Self::RegisteredModels => "registered models",
            Self::ModelVersions => "model versions",
        }
    }

    /// Returns the attributes by which records are found, as a list for people.
    fn attributes(self) -> &'static str {
        match self {
            Self::Experiments => "name, experiment_id, creation_time, last_update_time",
            Self::Runs => "run_id, run_name, status, user_id, artifact_uri, start_time, end_time",
            Self::RegisteredModels => "name",
            Self::ModelVersions => "name, version_number, run_id, source_path",
        }
    }

    /// Returns the kind of the field's values, or the reason why a filter of this search does not know it.
    fn domain(self, field: &Field) -> Result<Domain, String> {
        let key = field.key.as_str();
        let domain = match (self, field.kind) {
            (Self::Runs, FieldKind::Metric) => Domain::Number,
            (Self::Runs, FieldKind::Param) => Domain::Param,
            (Self::Runs | Self::Experiments, FieldKind::Tag) => Domain::OptionalText,
            (Self::RegisteredModels | Self::ModelVersions, FieldKind::Tag) => Domain::Tag,
            (Self::Runs, FieldKind::Dataset) => match key {
                "name" | "digest" | "context" => Domain::ListedText,
                _ => {
                    return Err(format!(
                        "datasets have no `{key}`; expected name, digest or context"
                    ));
                }
            },
            (Self::Runs, FieldKind::Attribute) => match key {
                "run_id" => Domain::ListedText,
                "run_name" | "status" | "user_id" | "artifact_uri" => Domain::Text,
                "start_time" | "end_time" => Domain::Number,
                _ => return Err(self.unknown_attribute(key)),
            },
            (Self::Experiments, FieldKind::Attribute) => match key {
                "name" => Domain::Text,
                "experiment_id" => Domain::Id,
                "creation_time" | "last_update_time" => Domain::Integer,
                _ => return Err(self.unknown_attribute(key)),
            },
            (Self::RegisteredModels, FieldKind::Attribute) => match key {
                "name" => Domain::ListedText,
                _ => return Err(self.unknown_attribute(key)),
            },
            (Self::ModelVersions, FieldKind::Attribute) => match key {
                "name" | "run_id" => Domain::ListedText,
                "source_path" => Domain::Text,
                "version_number" => Domain::Integer,
                _ => return Err(self.unknown_attribute(key)),
            },
            (_, kind) => {
                return Err(format!(
                    "{} cannot be searched by {}",
                    self.plural(),
                    kind.prefix()
                ));
            }
        };
        Ok(domain)
    }

    fn unknown_attribute(self, key: &str) -> String {
        format!(
            "{} have no attribute `{key}`; expected {}. A param, metric or tag needs its prefix, e.g. `params.{key}`",
            self.plural(),
            self.attributes()
        )
    }

    /// Checks that the search knows the comparison. The error says what was expected.
    pub(super) fn check(self, comparison: &Comparison) -> Result<(), String> {
        let Comparison {
            field,
            operator,
            operand,
        } = comparison;
        let domain = self.domain(field)?;
        let operators = domain.operators();
        if !operators.contains(operator) {
            let known: Vec<_> = operators.iter().map(|known| known.symbol()).collect();
            return Err(format!(
                "{field} cannot be compared by {}; expected one of {}",
                operator.symbol(),
                known.join(", ")
            ));
        }
        let expected = match (domain, operator) {
            (_, Operator::IsNull | Operator::IsNotNull) => return Ok(()),
            (_, Operator::In | Operator::NotIn) => match operand {
                Operand::List(texts) if !texts.is_empty() => return Ok(()),
                _ => "a list of quoted texts, e.g. ('a', 'b')",
            },
            (Domain::Param, operator) if RANGE.contains(operator) => match operand {
                Operand::Integer(_) | Operand::Float(_) => return Ok(()),
                _ => "a number without quotes",
            },
            (Domain::Number, _) => match operand {
                Operand::Integer(_) | Operand::Float(_) => return Ok(()),
                _ => "a number without quotes",
            },
            (Domain::Integer, _) => match operand {
                Operand::Integer(_) => return Ok(()),
                _ => "an integer without quotes",
            },
            _ => match operand {
                Operand::Text(_) => return Ok(()),
                _ => "a text in quotes",
            },
        };
        Err(format!("{field} is compared with {expected}"))
    }

    /// Checks that results can be ordered by the field.
    pub(super) fn check_order(self, field: &Field) -> Result<(), String> {
        let known = match self {
            Self::Runs => match field.kind {
                FieldKind::Metric | FieldKind::Param | FieldKind::Tag => return Ok(()),
                FieldKind::Dataset => return Err("runs cannot be ordered by datasets".to_owned()),
                FieldKind::Attribute => {
                    "run_id, run_name, status, user_id, artifact_uri, start_time, end_time"
                }
            },
            Self::Experiments => "name, experiment_id, creation_time, last_update_time",
            Self::RegisteredModels => "name, last_updated_timestamp",
            Self::ModelVersions => {
                "name, version_number, creation_timestamp, last_updated_timestamp"
            }
        };
        let is_known = known.split(", ").any(|known| known == field.key);
        if field.kind == FieldKind::Attribute && is_known {
            return Ok(());
        }
        let field = match field.kind {
            FieldKind::Attribute => format!("`{field}`"),
            _ => field.to_string(),
        };
        Err(format!(
            "{} cannot be ordered by {field}; expected {known}",
            self.plural()
        ))
    }
}
