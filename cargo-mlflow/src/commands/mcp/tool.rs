//! [`Tool`]: a function that an assistant can call, with its description for the assistant.

use std::sync::Arc;

use rmcp::handler::server::common::schema_for_input;
use rmcp::model::{JsonObject, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Answer;
use super::arguments::check_arguments;
use super::tool_context::ToolContext;
use crate::failure::Failure;

type Call = dyn Fn(&ToolContext, &JsonObject) -> Result<Answer, Failure> + Send + Sync;

/// Function that an assistant can call.
#[derive(Clone)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    title: &'static str,
    description: &'static str,
    pub(super) effect: Effect,
    schema: Arc<JsonObject>,
    call: Arc<Call>,
}

/// Effect of a tool on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    /// A former value is replaced or hidden.
    Replaces,
    /// Something is only added, or shown again.
    Adds,
}

impl Tool {
    /// Creates a tool from its function. The schema of the arguments is that of `A`, whose fields' comments are their
    /// descriptions.
    pub(super) fn new<A: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        effect: Effect,
        call: fn(&ToolContext, A) -> Result<Answer, Failure>,
    ) -> Self {
        // The schema of a struct is valid.
        let schema = Arc::new(simplify(&schema_for_input::<A>().unwrap_or_default()));
        Self {
            name,
            title,
            description,
            effect,
            schema: Arc::clone(&schema),
            call: Arc::new(move |context, arguments| {
                let arguments = check_arguments(&schema, arguments)?;
                let arguments = serde_json::from_value(Value::Object(arguments));
                // The schema was made from the type.
                let arguments = arguments.map_err(|_| {
                    Failure::Usage("the arguments are not those of the tool".to_owned())
                })?;
                call(context, arguments)
            }),
        }
    }

    /// Calls the function.
    pub(super) fn call(
        &self,
        context: &ToolContext,
        arguments: &JsonObject,
    ) -> Result<Answer, Failure> {
        (self.call)(context, arguments)
    }

    /// Returns the description as the protocol has it.
    pub(super) fn describe(&self) -> rmcp::model::Tool {
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(self.effect == Effect::Reads)
            .destructive(self.effect == Effect::Replaces)
            // The same call again finds its work done.
            .idempotent(true)
            .open_world(false);
        rmcp::model::Tool::new(self.name, self.description, Arc::clone(&self.schema))
            .with_title(self.title)
            .with_annotations(annotations)
    }
}

/// Removes from a schema of arguments what an assistant does not need. An optional argument is left out, and never
/// null: some clients cannot read a list of types.
fn simplify(schema: &JsonObject) -> JsonObject {
    let mut schema = schema.clone();
    schema.remove("$schema");
    let properties = schema
        .entry("properties")
        .or_insert_with(|| Value::Object(JsonObject::new()));
    let properties = { properties.as_object_mut() }
        .into_iter()
        .flat_map(JsonObject::values_mut);
    for property in properties.filter_map(Value::as_object_mut) {
        property.remove("format");
        if let Some(Value::Array(types)) = property.get("type") {
            let first = types.first().cloned().unwrap_or_default();
            property.insert("type".to_owned(), first);
        }
        if let Some(Value::Array(words)) = property.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
    }
    schema
}
