//! Checks the form of a JSON document against a table, and names every deviation by its JSON path.

use serde_json::Value;

/// The form that a value must have. A `null` counts as absent everywhere.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text without NUL bytes.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number in this range.
    Int(i128, i128),
    /// An object with these members; others are left alone, as the specification demands.
    Object(&'static [Member]),
    /// A list.
    List(&'static Shape),
    /// An object whose members' names are free.
    Map(&'static Shape),
    /// Anything.
    Any,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name.
    pub(super) name: &'static str,
    /// Its form.
    pub(super) shape: &'static Shape,
    /// Whether it must be there.
    pub(super) required: bool,
}

/// A member that may be absent.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: false }
}

/// A member that must be there.
pub(super) const fn must(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, required: true }
}

/// What was found in a document: what makes it unusable, and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Each makes the document unusable.
    pub(crate) problems: Vec<String>,
    /// Each was ignored.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Notes a problem at a JSON path.
    pub(super) fn problem(&mut self, path: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{path}: {what}"));
    }

    /// Notes something that is ignored.
    pub(super) fn warning(&mut self, path: &str, what: impl std::fmt::Display) {
        self.warnings.push(format!("{path}: {what}"));
    }
}

/// A value for a message: short, on one line.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Checks `value` against `shape`.
pub(super) fn check(value: &Value, shape: &Shape, path: &str, findings: &mut Findings) {
    match (shape, value) {
        (Shape::Any, _) | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Text, Value::String(text)) => {
            if text.contains('\0') {
                findings.problem(path, "the string contains a NUL byte");
            }
        }
        (Shape::Int(low, high), Value::Number(number)) => check_int(number, *low, *high, path, findings),
        (Shape::Object(members), Value::Object(object)) => {
            for member in *members {
                let inner = format!("{path}.{}", member.name);
                match object.get(member.name) {
                    None | Some(Value::Null) if member.required => findings.problem(&inner, "it is missing"),
                    None | Some(Value::Null) => {}
                    Some(value) => check(value, member.shape, &inner, findings),
                }
            }
        }
        (Shape::List(inner), Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                check(value, inner, &format!("{path}[{index}]"), findings);
            }
        }
        (Shape::Map(inner), Value::Object(object)) => {
            for (key, value) in object {
                check(value, inner, &format!("{path}[{}]", Value::String(key.clone())), findings);
            }
        }
        (shape, value) => {
            let wanted = match shape {
                Shape::Text => "a string",
                Shape::Bool => "true or false",
                Shape::Int(..) => "a whole number",
                Shape::Object(_) | Shape::Map(_) => "an object",
                Shape::List(_) => "a list",
                Shape::Any => "anything",
            };
            findings
                .problem(path, format!("{wanted} is wanted and {} is there: {}", kind(value), shown(value)));
        }
    }
}

fn check_int(number: &serde_json::Number, low: i128, high: i128, path: &str, findings: &mut Findings) {
    let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match exact {
        Some(value) if (low..=high).contains(&value) => {}
        Some(value) => findings.problem(path, format!("{value} is not between {low} and {high}")),
        None => findings.problem(path, format!("{number} is not a whole number of at most 64 bits")),
    }
}
