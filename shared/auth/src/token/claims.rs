//! What tokens say.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Claims of a dataplane token. Empty members do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataplaneClaims {
    /// Name of the Dataplane.
    pub name: String,
    /// Its mesh.
    pub mesh: String,
    /// Values that the tags of the Dataplane may have; it must have all these tags.
    pub tags: BTreeMap<String, Vec<String>>,
    /// Type of the proxy: `dataplane`; `ingress` and `egress` are from before there were zone tokens and admit nothing.
    pub r#type: String,
    /// Workload the Dataplane must belong to.
    pub workload: String,
}

/// Claims of a zone token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneClaims {
    /// The zone; empty is any.
    pub zone: String,
    /// What it is for: `cp`, `ingress`, `egress`.
    pub scope: Vec<String>,
}

/// Claims of a user token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserClaims {
    /// Name of the user.
    pub name: String,
    /// Groups of the user.
    pub groups: Vec<String>,
}

/// Claims of some kind, as members of a JSON object.
pub(super) trait Claims: Sized {
    fn members(&self) -> Map<String, Value>;
    fn from_members(members: &Map<String, Value>) -> Result<Self, String>;
}

impl Claims for DataplaneClaims {
    fn members(&self) -> Map<String, Value> {
        let sorted = |values: &Vec<String>| {
            let mut values = values.clone();
            values.sort();
            values.dedup();
            Value::from(values)
        };
        let tags: Map<_, _> = self.tags.iter().map(|(tag, values)| (tag.clone(), sorted(values))).collect();
        Map::from_iter([
            ("Name".to_owned(), Value::from(self.name.as_str())),
            ("Mesh".to_owned(), Value::from(self.mesh.as_str())),
            ("Tags".to_owned(), Value::Object(tags)),
            ("Type".to_owned(), Value::from(self.r#type.as_str())),
            ("Workload".to_owned(), Value::from(self.workload.as_str())),
        ])
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, String> {
        let tags = match member(members, "Tags") {
            None => BTreeMap::new(),
            Some(Value::Object(tags)) => {
                let tag = |(tag, values)| Ok((String::clone(tag), texts_of("Tags", values)?));
                tags.iter().map(tag).collect::<Result<_, String>>()?
            }
            Some(_) => return Err("Tags is not an object".to_owned()),
        };
        Ok(Self {
            name: text(members, "Name")?,
            mesh: text(members, "Mesh")?,
            tags,
            r#type: text(members, "Type")?,
            workload: text(members, "Workload")?,
        })
    }
}

impl Claims for ZoneClaims {
    fn members(&self) -> Map<String, Value> {
        Map::from_iter([
            ("Zone".to_owned(), Value::from(self.zone.as_str())),
            ("Scope".to_owned(), Value::from(self.scope.clone())),
        ])
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self { zone: text(members, "Zone")?, scope: texts(members, "Scope")? })
    }
}

impl Claims for UserClaims {
    fn members(&self) -> Map<String, Value> {
        Map::from_iter([
            ("Name".to_owned(), Value::from(self.name.as_str())),
            ("Groups".to_owned(), Value::from(self.groups.clone())),
        ])
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self { name: text(members, "Name")?, groups: texts(members, "Groups")? })
    }
}

/// A member by name, in any letter case if not in this one, as Go's decoder finds it; `null` is none.
pub(super) fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let other_case = || members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    members.get(name).or_else(other_case).filter(|value| !value.is_null())
}

fn text(members: &Map<String, Value>, name: &str) -> Result<String, String> {
    match member(members, name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} is not a string")),
    }
}

fn texts(members: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    member(members, name).map_or(Ok(Vec::new()), |value| texts_of(name, value))
}

fn texts_of(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("{name} is not an array of strings");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}
