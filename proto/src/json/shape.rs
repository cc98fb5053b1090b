//! What writing needs to know of messages, looked up in the descriptors once and for all.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::descriptor_pool;

/// The fields of a message, sorted by number.
pub(super) struct Shape {
    pub(super) fields: Vec<Field>,
}

pub(super) struct Field {
    pub(super) number: u32,
    /// Name in JSON.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Number of the `oneof` that the field belongs to; one of its fields at most is set.
    pub(super) one_of: Option<usize>,
}

/// How often a field has a value.
pub(super) enum Form {
    /// Once; `presence` tells whether a zero that was set is different from nothing.
    Single {
        item: Item,
        presence: bool,
    },
    List(Item),
    Map {
        key: Item,
        value: Item,
    },
}

/// Type of a single value.
#[derive(Clone, Copy)]
pub(super) enum Item {
    Bool,
    Int32,
    Sint32,
    Sfixed32,
    Uint32,
    Fixed32,
    Int64,
    Sint64,
    Sfixed64,
    Uint64,
    Fixed64,
    Float,
    Double,
    String,
    Bytes,
    /// Names by number.
    Enum(&'static [(i32, &'static str)]),
    /// Index of the message in the table of shapes.
    Message(usize),
    Duration,
    Timestamp,
    Struct,
    /// A message around one scalar, written as that.
    Wrapper(&'static Item),
    /// A message without a JSON form here.
    Formless(&'static str),
}

/// Shapes of all messages there are.
struct Shapes {
    table: Vec<Shape>,
    by_name: HashMap<&'static str, usize>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let messages: Vec<MessageDescriptor> = descriptor_pool().all_messages().collect();
    let name = |message: &MessageDescriptor| -> &'static str { Box::leak(message.full_name().into()) };
    let by_name: HashMap<_, _> = messages.iter().map(name).enumerate().map(|(index, name)| (name, index)).collect();
    let table = messages.iter().map(|message| shape(message, &by_name)).collect();
    Shapes { table, by_name }
});

/// Number of the message of that full name, for [`get`].
pub(super) fn find(message: &str) -> Option<usize> {
    SHAPES.by_name.get(message).copied()
}

/// The shape with a number that [`find`] or an [`Item::Message`] gave.
pub(super) fn get(index: usize) -> &'static Shape {
    &SHAPES.table[index]
}

type Names = HashMap<&'static str, usize>;

fn shape(message: &MessageDescriptor, names: &Names) -> Shape {
    let mut fields: Vec<Field> = message.fields().map(|field| self::field(&field, names)).collect();
    fields.sort_by_key(|field| field.number);
    Shape { fields }
}

fn field(field: &FieldDescriptor, names: &Names) -> Field {
    let kind = field.kind();
    let form = match &kind {
        Kind::Message(entry) if field.is_map() => Form::Map {
            key: item(&entry.map_entry_key_field().kind(), names),
            value: item(&entry.map_entry_value_field().kind(), names),
        },
        kind if field.is_list() => Form::List(item(kind, names)),
        kind => Form::Single { item: item(kind, names), presence: field.supports_presence() },
    };
    let one_of = field.containing_oneof().map(|one_of| one_of.path().last().copied().unwrap_or_default());
    Field {
        number: field.number(),
        name: Box::leak(field.json_name().into()),
        form,
        one_of: one_of.and_then(|index| usize::try_from(index).ok()),
    }
}

fn item(kind: &Kind, names: &Names) -> Item {
    match kind {
        Kind::Bool => Item::Bool,
        Kind::Int32 => Item::Int32,
        Kind::Sint32 => Item::Sint32,
        Kind::Sfixed32 => Item::Sfixed32,
        Kind::Uint32 => Item::Uint32,
        Kind::Fixed32 => Item::Fixed32,
        Kind::Int64 => Item::Int64,
        Kind::Sint64 => Item::Sint64,
        Kind::Sfixed64 => Item::Sfixed64,
        Kind::Uint64 => Item::Uint64,
        Kind::Fixed64 => Item::Fixed64,
        Kind::Float => Item::Float,
        Kind::Double => Item::Double,
        Kind::String => Item::String,
        Kind::Bytes => Item::Bytes,
        Kind::Enum(values) => Item::Enum(Box::leak(value_names(values).into_boxed_slice())),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => Item::Duration,
            "google.protobuf.Timestamp" => Item::Timestamp,
            "google.protobuf.Struct" => Item::Struct,
            "google.protobuf.Any" | "google.protobuf.Value" | "google.protobuf.ListValue" => {
                Item::Formless(Box::leak(message.full_name().into()))
            }
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => match message.get_field(1) {
                Some(field) => Item::Wrapper(Box::leak(Box::new(item(&field.kind(), names)))),
                None => Item::Formless(Box::leak(name.into())),
            },
            name => Item::Message(names[name]),
        },
    }
}

/// Names by number; of two names of one number the first.
fn value_names(values: &EnumDescriptor) -> Vec<(i32, &'static str)> {
    let mut names: Vec<(i32, &'static str)> = Vec::new();
    for value in values.values() {
        if !names.iter().any(|(number, _)| *number == value.number()) {
            names.push((value.number(), Box::leak(value.name().into())));
        }
    }
    names
}
