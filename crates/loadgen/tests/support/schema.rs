//! A subset of JSON Schema, to check a document against the published one. An unknown keyword is a failure, so the
//! schema cannot require more than is checked.

use serde_json::Value;

/// Panics at the first place where `document` does not match `schema`.
pub(crate) fn check(schema: &Value, document: &Value) {
    let checker = Checker { root: schema };
    if let Err(fault) = checker.check(schema, document, "$") {
        panic!("{fault}");
    }
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let keywords = schema.as_object().ok_or_else(|| format!("{at}: the schema is no object"))?;
        for (keyword, rule) in keywords {
            let holds = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let name = rule.as_str().and_then(|rule| rule.strip_prefix("#/$defs/")).ok_or("a foreign $ref")?;
                    self.check(&self.root["$defs"][name], value, at)?;
                    true
                }
                "anyOf" => rule.as_array().is_some_and(|any| any.iter().any(|one| self.check(one, value, at).is_ok())),
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|kind| is(kind, value)),
                    kind => is(kind, value),
                },
                "const" => rule == value,
                "enum" => rule.as_array().is_some_and(|allowed| allowed.contains(value)),
                "minimum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|least| number >= least)),
                "maximum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|most| number <= most)),
                "minItems" => {
                    value.as_array().is_none_or(|items| rule.as_u64().is_some_and(|least| items.len() as u64 >= least))
                }
                "maxItems" => {
                    value.as_array().is_none_or(|items| rule.as_u64().is_some_and(|most| items.len() as u64 <= most))
                }
                "prefixItems" => {
                    for (index, (rule, item)) in
                        rule.as_array().into_iter().flatten().zip(value.as_array().into_iter().flatten()).enumerate()
                    {
                        self.check(rule, item, &format!("{at}[{index}]"))?;
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{index}]"))?;
                    }
                    true
                }
                "required" => rule
                    .as_array()
                    .into_iter()
                    .flatten()
                    .all(|name| value.get(name.as_str().unwrap_or_default()).is_some()),
                "properties" | "additionalProperties" => {
                    self.properties(keywords.get("properties"), keywords.get("additionalProperties"), value, at)?;
                    true
                }
                unknown => return Err(format!("the schema uses {unknown:?}, which is not checked here")),
            };
            if !holds {
                return Err(format!("{at}: {value} does not meet {keyword:?}: {rule}"));
            }
        }
        Ok(())
    }

    fn properties(&self, known: Option<&Value>, others: Option<&Value>, value: &Value, at: &str) -> Result<(), String> {
        for (name, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (known.and_then(|known| known.get(name)), others) {
                (Some(rule), _) => self.check(rule, value, &at)?,
                (None, Some(Value::Bool(false))) => return Err(format!("{at} is not in the schema")),
                (None, Some(rule @ Value::Object(_))) => self.check(rule, value, &at)?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}
