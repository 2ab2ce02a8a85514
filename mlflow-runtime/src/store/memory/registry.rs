//! Model registry of a [`MemoryStore`].

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::catalog::{page, sort_keys};
use super::{MemoryState, MemoryStore};
use crate::entities::{
    ModelVersion, ModelVersionStatus, NewModelVersion, NewRegisteredModel, RegisteredModel,
};
use crate::model::limits::{self, REGISTRY_TAG_VALUE_CHARS};
use crate::model::tag_keys;
use crate::search::{
    SearchModelVersions, SearchRegisteredModels, Subject, compare_records, matches_all,
};
use crate::store::catalog::leave_out_prompts;
use crate::store::{ClientError, Continuation, Page, Registry, validate};
use crate::time::now_ms;

/// Registered model with its versions.
#[derive(Clone, Debug)]
pub(super) struct MemoryModel {
    model: RegisteredModel,
    versions: BTreeMap<u64, ModelVersion>,
    /// Greatest number that a version has had.
    last_version: u64,
}

impl MemoryModel {
    /// Returns the numbers of the versions.
    pub(super) fn version_numbers(&self) -> Vec<u64> {
        self.versions.keys().copied().collect()
    }

    /// Returns a version with the aliases that name it.
    fn version(&self, version: u64) -> Option<ModelVersion> {
        let mut found = self.versions.get(&version)?.clone();
        let aliases = self.model.aliases.iter();
        found.aliases = aliases
            .filter(|(_, named)| **named == version)
            .map(|(alias, _)| alias.clone())
            .collect();
        Some(found)
    }

    fn version_mut(&mut self, version: u64) -> Result<&mut ModelVersion, ClientError> {
        let name = &self.model.name;
        self.versions
            .get_mut(&version)
            .ok_or_else(|| unknown_version(name, version))
    }
}

impl MemoryState {
    fn model(&mut self, name: &str) -> Result<&mut MemoryModel, ClientError> {
        validate::check_model_name(name)?;
        self.models.get_mut(name).ok_or_else(|| unknown_model(name))
    }

    fn check_model_name(&self, name: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        if self.models.contains_key(name) {
            return Err(ClientError::already_exists(format!(
                "there is a registered model with the name `{name}` already"
            )));
        }
        Ok(())
    }
}

fn unknown_model(name: &str) -> ClientError {
    ClientError::not_found(format!(
        "there is no registered model with the name `{name}`"
    ))
}

fn unknown_version(name: &str, version: u64) -> ClientError {
    ClientError::not_found(format!(
        "the registered model `{name}` has no version {version}"
    ))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ClientError> {
    for (key, value) in tags {
        validate::check_tag(key, value, REGISTRY_TAG_VALUE_CHARS)?;
    }
    Ok(())
}

fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(tag_keys::IS_PROMPT)
        .is_some_and(|value| value == "true")
}

#[async_trait(?Send)]
impl Registry for MemoryStore {
    async fn create_registered_model(
        &self,
        new: &NewRegisteredModel,
    ) -> Result<RegisteredModel, ClientError> {
        check_tags(&new.tags)?;
        let mut state = self.begin_request()?;
        state.check_model_name(&new.name)?;
        let now = now_ms();
        let model = RegisteredModel {
            name: new.name.clone(),
            creation_time_ms: Some(now),
            last_updated_time_ms: Some(now),
            description: new.description.clone().unwrap_or_default(),
            tags: new.tags.clone(),
            aliases: BTreeMap::new(),
        };
        let stored = MemoryModel {
            model: model.clone(),
            versions: BTreeMap::new(),
            last_version: 0,
        };
        state.models.insert(new.name.clone(), stored);
        Ok(model)
    }

    async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError> {
        Ok(self.begin_request()?.model(name)?.model.clone())
    }

    async fn search_registered_models(
        &self,
        search: &SearchRegisteredModels,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<RegisteredModel>, ClientError> {
        let state = self.begin_request()?;
        let find_all = || {
            let mut comparisons = search.filter.comparisons(Subject::RegisteredModels)?;
            let leaves_out_prompts = leave_out_prompts(&mut comparisons);
            let keys = sort_keys(&search.order_by, Subject::RegisteredModels)?;
            let models = state.models.values().map(|stored| &stored.model);
            let mut found: Vec<_> = models
                .filter(|model| !(leaves_out_prompts && is_prompt(&model.tags)))
                .filter(|model| matches_all(*model, &comparisons))
                .cloned()
                .collect();
            // The models come by name, and the sort keeps the order of equals.
            found.sort_by(|left, right| compare_records(left, right, &keys));
            Ok(found.into_iter().map(|model| model.name).collect())
        };
        let read = |name: &str| state.models.get(name).map(|stored| stored.model.clone());
        page(from, page_size, find_all, read)
    }

    async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        state.model(name)?;
        if name == new_name {
            return Ok(());
        }
        state.check_model_name(new_name)?;
        if let Some(mut stored) = state.models.remove(name) {
            new_name.clone_into(&mut stored.model.name);
            stored.model.last_updated_time_ms = Some(now_ms());
            for version in stored.versions.values_mut() {
                new_name.clone_into(&mut version.name);
            }
            state.models.insert(new_name.to_owned(), stored);
        }
        Ok(())
    }

    async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let model = &mut state.model(name)?.model;
        description.clone_into(&mut model.description);
        model.last_updated_time_ms = Some(now_ms());
        Ok(())
    }

    async fn delete_registered_model(&self, name: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        state.model(name)?;
        state.models.remove(name);
        Ok(())
    }

    async fn set_registered_model_tag(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_tag(key, value, REGISTRY_TAG_VALUE_CHARS)?;
        let mut state = self.begin_request()?;
        let tags = &mut state.model(name)?.model.tags;
        tags.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), ClientError> {
        self.begin_request()?.model(name)?.model.tags.remove(key);
        Ok(())
    }

    async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<(), ClientError> {
        validate::check_new_alias(alias)?;
        let mut state = self.begin_request()?;
        let stored = state.model(name)?;
        stored.version_mut(version)?;
        stored.model.aliases.insert(alias.to_owned(), version);
        Ok(())
    }

    async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), ClientError> {
        self.begin_request()?
            .model(name)?
            .model
            .aliases
            .remove(alias);
        Ok(())
    }

    async fn get_model_version_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<ModelVersion, ClientError> {
        let mut state = self.begin_request()?;
        let stored = state.model(name)?;
        let version = if limits::is_latest_alias(alias) {
            stored.versions.keys().next_back().copied()
        } else {
            stored.model.aliases.get(alias).copied()
        };
        version
            .and_then(|version| stored.version(version))
            .ok_or_else(|| {
                ClientError::not_found(format!(
                    "the registered model `{name}` has no alias `{alias}`"
                ))
            })
    }

    async fn create_model_version(
        &self,
        new: &NewModelVersion,
    ) -> Result<ModelVersion, ClientError> {
        check_tags(&new.tags)?;
        let mut state = self.begin_request()?;
        let stored = state.model(&new.name)?;
        stored.last_version += 1;
        let now = Some(now_ms());
        stored.model.last_updated_time_ms = now;
        let version = ModelVersion {
            name: new.name.clone(),
            version: stored.last_version,
            creation_time_ms: now,
            last_updated_time_ms: now,
            description: new.description.clone().unwrap_or_default(),
            user_id: String::new(),
            source: new.source.clone(),
            run_id: new.run_id.clone(),
            status: ModelVersionStatus::Ready,
            status_message: String::new(),
            run_link: new.run_link.clone().unwrap_or_default(),
            tags: new.tags.clone(),
            aliases: Vec::new(),
        };
        stored.versions.insert(version.version, version.clone());
        Ok(version)
    }

    async fn get_model_version(
        &self,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion, ClientError> {
        let mut state = self.begin_request()?;
        state
            .model(name)?
            .version(version)
            .ok_or_else(|| unknown_version(name, version))
    }

    async fn search_model_versions(
        &self,
        search: &SearchModelVersions,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<ModelVersion>, ClientError> {
        let state = self.begin_request()?;
        let find_all = || {
            let mut comparisons = search.filter.comparisons(Subject::ModelVersions)?;
            let leaves_out_prompts = leave_out_prompts(&mut comparisons);
            let keys = sort_keys(&search.order_by, Subject::ModelVersions)?;
            // By name, and the newest version of a model first. The sorts keep the order of equals.
            let mut found: Vec<_> = state
                .models
                .values()
                .filter(|stored| {
                    let mut versions = stored.versions.values();
                    !(leaves_out_prompts && versions.any(|version| is_prompt(&version.tags)))
                })
                .flat_map(|stored| stored.versions.values().rev())
                .filter(|version| matches_all(*version, &comparisons))
                .collect();
            if keys.is_empty() {
                found.sort_by_key(|version| std::cmp::Reverse(version.last_updated_time_ms));
            }
            found.sort_by(|left, right| compare_records(*left, *right, &keys));
            let ids: Vec<_> = found
                .into_iter()
                .map(|version| format!("{}/{}", version.version, version.name))
                .collect();
            Ok(ids)
        };
        let read = |id: &str| {
            let (version, name) = id.split_once('/')?;
            state.models.get(name)?.version(version.parse().ok()?)
        };
        page(from, page_size, find_all, read)
    }

    async fn describe_model_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let version = state.model(name)?.version_mut(version)?;
        description.clone_into(&mut version.description);
        version.last_updated_time_ms = Some(now_ms());
        Ok(())
    }

    async fn delete_model_version(&self, name: &str, version: u64) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let stored = state.model(name)?;
        stored.version_mut(version)?;
        stored.versions.remove(&version);
        stored.model.aliases.retain(|_, named| *named != version);
        Ok(())
    }

    async fn set_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_tag(key, value, REGISTRY_TAG_VALUE_CHARS)?;
        let mut state = self.begin_request()?;
        let tags = &mut state.model(name)?.version_mut(version)?.tags;
        tags.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn delete_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
    ) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        state.model(name)?.version_mut(version)?.tags.remove(key);
        Ok(())
    }
}
