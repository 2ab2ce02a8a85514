//! Validation of the attribute's arguments against the function, and the resulting plan.
//!
//! Invariants: every name that has to be an argument of the function is one; MLflow accepts every
//! literal key; no key is logged twice.

use mlflow_rules::find_nearest;
use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, ReturnType, Signature};

use crate::analyze::key;
use crate::analyze::parameters::{Binding, Parameter};
use crate::analyze::wrapping::{self, ReturnedValue, Wrapping};
use crate::errors::{Errors, format_names};
use crate::parse::arguments::{Arguments, Entry};
use crate::parse::name_template::{self, TemplatePart};

/// Treatment of an argument of the function by logging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CapturePolicy {
    Skip,
    Log,
    Redact,
    Hash,
}

/// Name of an experiment or a run: a literal with placeholders, or any other expression.
pub(crate) enum NameArgument {
    /// Parts of the literal, and the literal's span.
    Template(Vec<TemplatePart>, Span),
    Expr(Expr),
}

/// Decisions that the expansion needs in addition to the function itself.
pub(crate) struct Plan {
    pub(crate) experiment: Option<NameArgument>,
    pub(crate) run_name: Option<NameArgument>,
    pub(crate) tags: Vec<(String, Expr)>,
    pub(crate) params: Vec<(String, Expr)>,
    /// Policies of each parameter, one for each of its bindings.
    pub(crate) capture_policies: Vec<Vec<CapturePolicy>>,
    pub(crate) arguments: Arguments,
}

pub(crate) fn build_plan(
    mut arguments: Arguments,
    parameters: &[Parameter],
    signature: &Signature,
    shape: Wrapping,
    errors: &mut Errors,
) -> Plan {
    let names: Vec<&str> = iter_bindings(parameters)
        .map(|binding| binding.name.as_str())
        .collect();
    check_names(&arguments, &names, signature.receiver().is_some(), errors);
    check_keys(&arguments, errors);
    check_return(&arguments, &signature.output, shape, errors);
    check_reserved(&arguments, errors);
    let experiment = arguments
        .experiment
        .take()
        .map(|expr| parse_name_argument("experiment", expr, &names, errors));
    let run_name = arguments
        .run_name
        .take()
        .map(|expr| parse_name_argument("run_name", expr, &names, errors));
    let treatments = parameters
        .iter()
        .map(|parameter| {
            parameter
                .bindings
                .iter()
                .map(|binding| choose_capture_policy(&arguments, binding))
                .collect()
        })
        .collect();
    let params = with_values(std::mem::take(&mut arguments.params));
    let tags = with_values(std::mem::take(&mut arguments.tags));
    Plan {
        experiment,
        run_name,
        tags,
        params,
        capture_policies: treatments,
        arguments,
    }
}

pub(crate) fn iter_bindings(parameters: &[Parameter]) -> impl Iterator<Item = &Binding> {
    parameters.iter().flat_map(|parameter| &parameter.bindings)
}

fn with_values(entries: Vec<Entry>) -> Vec<(String, Expr)> {
    entries
        .into_iter()
        .filter_map(|entry| Some((entry.key.text, entry.value?)))
        .collect()
}

fn choose_capture_policy(arguments: &Arguments, binding: &Binding) -> CapturePolicy {
    let listed = |names: &[Ident]| names.iter().any(|name| name.unraw() == binding.name);
    let entry = arguments
        .params
        .iter()
        .find(|entry| entry.key.text == binding.name);
    // A name that begins with `__` was made up by another macro.
    let left_out = arguments.skip_all || listed(&arguments.skip) || binding.name.starts_with("__");
    match entry {
        _ if listed(&arguments.hash) => CapturePolicy::Hash,
        _ if listed(&arguments.redact) => CapturePolicy::Redact,
        // The attribute gives the value of the param.
        Some(Entry { value: Some(_), .. }) => CapturePolicy::Skip,
        None if left_out || is_run_id(arguments, binding) => CapturePolicy::Skip,
        _ if binding.is_secret => CapturePolicy::Redact,
        _ => CapturePolicy::Log,
    }
}

/// Returns true if the argument itself is the `run_id`. As a param, the id would have another value
/// each time the run is continued.
fn is_run_id(arguments: &Arguments, binding: &Binding) -> bool {
    matches!(&arguments.run_id, Some(Expr::Path(path)) if path.path.is_ident(&binding.ident))
}

fn check_names(arguments: &Arguments, names: &[&str], has_self: bool, errors: &mut Errors) {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for (list, idents) in [
        ("skip", &arguments.skip),
        ("redact", &arguments.redact),
        ("hash", &arguments.hash),
    ] {
        for ident in idents {
            let name = ident.unraw().to_string();
            if name == "self" && list == "skip" {
                if !has_self {
                    errors.push_at(ident.span(), "`skip(self)`: the function has no `self`");
                }
                continue;
            }
            check_name(list, &name, ident.span(), names, errors);
            match seen.iter().find(|(other, _)| *other == name) {
                Some((_, other)) if *other == list => errors.push_at(
                    ident.span(),
                    format!("`{name}` is named twice in `{list}(…)`"),
                ),
                Some((_, other)) => {
                    errors.push_at(ident.span(), format!("`{name}` is already in `{other}(…)`: an argument can be only one of skipped, redacted or hashed"));
                }
                None => seen.push((name, list)),
            }
        }
    }
    for entry in arguments
        .params
        .iter()
        .filter(|entry| entry.value.is_none())
    {
        let name = &entry.key.text;
        check_name("params", name, entry.key.span, names, errors);
        if arguments.skip.iter().any(|skipped| skipped.unraw() == name) {
            errors.push_at(
                entry.key.span,
                format!("`{name}` is both in `skip(…)` and in `params(…)`"),
            );
        }
    }
}

fn check_name(list: &str, name: &str, span: Span, names: &[&str], errors: &mut Errors) {
    if names.contains(&name) {
        return;
    }
    let suggestion = find_nearest(name, names.iter().copied())
        .map(|name| format!(", did you mean `{name}`?"))
        .unwrap_or_default();
    let existing = match names {
        [] => "the function has no named arguments".to_owned(),
        names => format!(
            "the function's arguments are {}",
            format_names(names.iter().copied())
        ),
    };
    let own_value = if list == "params" {
        format!("; `params({name} = …)` logs any value")
    } else {
        String::new()
    };
    errors.push_at(
        span,
        format!(
            "`{list}({name})` names no argument of the function{suggestion}\n{existing}{own_value}"
        ),
    );
}

fn check_keys(arguments: &Arguments, errors: &mut Errors) {
    for (list, what, entries) in [
        ("tags", "tag", &arguments.tags),
        ("params", "param", &arguments.params),
    ] {
        for (index, entry) in entries.iter().enumerate() {
            let Entry { key, value } = entry;
            key::report_invalid_key(errors, what, &key.text, key.span);
            if value.is_none() && list == "tags" {
                errors.push_at(
                    key.span,
                    format!(
                        "the tag `{0}` has no value: write `tags({0} = …)`",
                        key.text
                    ),
                );
            }
            if entries[..index]
                .iter()
                .any(|earlier| earlier.key.text == key.text)
            {
                errors.push_at(
                    key.span,
                    format!("the {what} `{}` is given twice", key.text),
                );
            }
        }
    }
    if let Some(metric) = &arguments.metric {
        key::report_invalid_key(errors, "metric", &metric.value(), metric.span());
    }
    if let Some((metrics, _)) = &arguments.metrics {
        for (index, metric) in metrics.iter().enumerate() {
            key::report_invalid_key(errors, "metric", &metric.value(), metric.span());
            if metrics[..index]
                .iter()
                .any(|earlier| earlier.value() == metric.value())
            {
                errors.push_at(
                    metric.span(),
                    format!("the metric `{}` is named twice", metric.value()),
                );
            }
        }
    }
}

fn check_return(arguments: &Arguments, output: &ReturnType, shape: Wrapping, errors: &mut Errors) {
    let named = arguments
        .metric
        .as_ref()
        .map(LitStr::span)
        .or(arguments.metrics.as_ref().map(|(_, span)| *span));
    if let (Some(named), Some(_)) = (named, arguments.skip_return) {
        errors.push_at(
            named,
            "this names the returned value, but `skip_return` excludes that value from logging: remove one of them",
        );
    }
    let value = wrapping::returned_value(output);
    if let (Some(named), ReturnedValue::Nothing) = (named, value) {
        errors.push_at(
            named,
            "this names the returned value, but the function returns no value",
        );
    }
    if let (Some(named), Wrapping::Guard) = (named, shape)
        && value != ReturnedValue::Nothing
    {
        errors.push_at(
            named,
            "this names the returned value, which cannot be logged because the function is `#[track_caller]` or returns `impl Fn`\n\
             log the number in the function's body: `mlflow::metric!(\"name\", value)`",
        );
    }
    if let (Some(metric), Some((_, span))) = (&arguments.metric, &arguments.metrics) {
        errors.push_at(
            *span,
            format!(
                "`metric = {:?}` is for one number, `metrics(…)` for a tuple: remove one of them",
                metric.value()
            ),
        );
    }
    let Some((metrics, span)) = &arguments.metrics else {
        return;
    };
    match value {
        _ if metrics.is_empty() => errors.push_at(
            *span,
            "`metrics()` is empty: write `metrics(\"first\", \"second\")`, or remove it",
        ),
        // The first element may be a model, whose numbers are no measurements.
        ReturnedValue::Tuple {
            length,
            may_begin_with_model,
        } if metrics.len() != length
            && !(may_begin_with_model && metrics.len() + 1 == length) =>
        {
            errors.push_at(
                *span,
                format!(
                    "`metrics(…)` names {} values, but the function returns {length}",
                    metrics.len()
                ),
            );
        }
        ReturnedValue::Number if arguments.metric.is_none() => errors.push_at(
            *span,
            "`metrics(…)` names the elements of a tuple, but the function returns one number: write `metric = \"name\"`",
        ),
        _ => {}
    }
}

/// Adds an error for each tag that an argument of the attribute sets, too.
fn check_reserved(arguments: &Arguments, errors: &mut Errors) {
    let reserved = [
        (
            "mlflow.note.content",
            "description = …",
            arguments.description.is_some(),
        ),
        (
            "mlflow.runName",
            "run_name = …",
            arguments.run_name.is_some(),
        ),
        ("mlflow.parentRunId", "root", arguments.root),
    ];
    for Entry { key, .. } in &arguments.tags {
        for (tag, argument, _) in reserved.iter().filter(|(_, _, given)| *given) {
            if key.text == *tag {
                errors.push_at(
                    key.span,
                    format!("the tag `{tag}` is already set by `{argument}`: remove one of them"),
                );
            }
        }
    }
}

/// Parses a string literal as a template, and returns any other expression as it is.
fn parse_name_argument(
    argument: &str,
    expr: Expr,
    names: &[&str],
    errors: &mut Errors,
) -> NameArgument {
    let Expr::Lit(ExprLit {
        lit: Lit::Str(literal),
        ..
    }) = &expr
    else {
        return NameArgument::Expr(expr);
    };
    if literal.value().trim().is_empty() {
        errors.push_at(literal.span(), format!("`{argument}` is empty"));
    }
    let parts = match name_template::parse(literal) {
        Ok(parts) => parts,
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    };
    for part in &parts {
        if let TemplatePart::Argument { name, .. } = part
            && !names.contains(&name.as_str())
        {
            let known = format_names(
                names
                    .iter()
                    .copied()
                    .chain(["timestamp", "env", "function"]),
            );
            errors.push_at(literal.span(), format!("`{{{name}}}` is not a known placeholder, known are {known}\nfor any other expression, write `format!(…)` instead of the literal; for a literal brace, write `{{{{`"));
        }
    }
    NameArgument::Template(parts, literal.span())
}
