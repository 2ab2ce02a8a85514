//! [`Registry`] of every [`Database`].

use async_trait::async_trait;

use super::{aliases, model_versions, paging, registered_models};
use crate::entities::{ModelVersion, NewModelVersion, NewRegisteredModel, RegisteredModel};
use crate::search::{SearchModelVersions, SearchRegisteredModels};
use crate::store::sql::Database;
use crate::store::{ClientError, Continuation, Page, Registry, validate};

#[async_trait(?Send)]
impl<D: Database> Registry for D {
    async fn create_registered_model(
        &self,
        new: &NewRegisteredModel,
    ) -> Result<RegisteredModel, ClientError> {
        validate::check_model_name(&new.name)?;
        registered_models::check_tags(&new.tags)?;
        let new = new.clone();
        self.create(move |db| registered_models::create(db, &new))
            .await
    }

    async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError> {
        validate::check_model_name(name)?;
        let name = name.to_owned();
        self.read(move |db| registered_models::get(db, &name)).await
    }

    async fn search_registered_models(
        &self,
        search: &SearchRegisteredModels,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<RegisteredModel>, ClientError> {
        let search = search.clone();
        self.read(move |db| {
            paging::read_page(
                from,
                page_size,
                || registered_models::find_names(db, &search),
                |names| registered_models::read(db, names),
            )
        })
        .await
    }

    async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_model_name(new_name)?;
        let [name, new_name] = [name, new_name].map(str::to_owned);
        self.change(move |db| registered_models::rename(db, &name, &new_name))
            .await
    }

    async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        let [name, description] = [name, description].map(str::to_owned);
        self.change(move |db| registered_models::describe(db, &name, &description))
            .await
    }

    async fn delete_registered_model(&self, name: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        let name = name.to_owned();
        self.change(move |db| registered_models::delete(db, &name))
            .await
    }

    async fn set_registered_model_tag(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        registered_models::check_tag(key, value)?;
        let [name, key, value] = [name, key, value].map(str::to_owned);
        self.change(move |db| registered_models::set_tag(db, &name, &key, &value))
            .await
    }

    async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_key("tag", key)?;
        let [name, key] = [name, key].map(str::to_owned);
        self.change(move |db| registered_models::delete_tag(db, &name, &key))
            .await
    }

    async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_new_alias(alias)?;
        let [name, alias] = [name, alias].map(str::to_owned);
        self.change(move |db| aliases::set(db, &name, &alias, version))
            .await
    }

    async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_alias(alias)?;
        let [name, alias] = [name, alias].map(str::to_owned);
        self.change(move |db| aliases::delete(db, &name, &alias))
            .await
    }

    async fn get_model_version_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(name)?;
        validate::check_alias(alias)?;
        let [name, alias] = [name, alias].map(str::to_owned);
        self.read(move |db| aliases::resolve(db, &name, &alias))
            .await
    }

    async fn create_model_version(
        &self,
        new: &NewModelVersion,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(&new.name)?;
        registered_models::check_tags(&new.tags)?;
        let new = new.clone();
        self.change(move |db| model_versions::create(db, &new))
            .await
    }

    async fn get_model_version(
        &self,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(name)?;
        let name = name.to_owned();
        self.read(move |db| model_versions::get(db, &name, version))
            .await
    }

    async fn search_model_versions(
        &self,
        search: &SearchModelVersions,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<ModelVersion>, ClientError> {
        let search = search.clone();
        self.read(move |db| {
            paging::read_page(
                from,
                page_size,
                || model_versions::find_ids(db, &search),
                |ids| model_versions::read(db, ids),
            )
        })
        .await
    }

    async fn describe_model_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        let [name, description] = [name, description].map(str::to_owned);
        self.change(move |db| model_versions::describe(db, &name, version, &description))
            .await
    }

    async fn delete_model_version(&self, name: &str, version: u64) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        let name = name.to_owned();
        self.change(move |db| model_versions::delete(db, &name, version))
            .await
    }

    async fn set_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        registered_models::check_tag(key, value)?;
        let [name, key, value] = [name, key, value].map(str::to_owned);
        self.change(move |db| model_versions::set_tag(db, &name, version, &key, &value))
            .await
    }

    async fn delete_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_key("tag", key)?;
        let [name, key] = [name, key].map(str::to_owned);
        self.change(move |db| model_versions::delete_tag(db, &name, version, &key))
            .await
    }
}
