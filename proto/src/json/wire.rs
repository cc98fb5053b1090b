//! The fields of an encoded message, without decoding what is in them.
//!
//! Source of the format: <https://protobuf.dev/programming-guides/encoding/>.

use std::borrow::Cow;

use super::shape::{Form, Item, Shape};

/// Deepest nesting of messages that is read, as in other decoders.
pub(super) const DEPTH: usize = 100;

/// One value as it is encoded.
#[derive(Debug, Clone)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(Cow<'a, [u8]>),
}

/// Why bytes are no message.
pub(super) type Broken = &'static str;

/// A value of the field with an index in the shape.
pub(super) type Seen<'a> = (usize, Raw<'a>);

/// The values of the fields that the shape knows, by field, those of a field in the order in which they came. Fields that
/// can have one value have one: the last, and of messages all parts put together.
pub(super) fn fields<'a>(shape: &Shape, bytes: &'a [u8]) -> Result<Vec<Seen<'a>>, Broken> {
    let mut seen: Vec<Seen<'a>> = Vec::with_capacity(shape.fields.len().min(16));
    let mut choices: Vec<Choice> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, raw) = field(&mut rest)?;
        let Some(raw) = raw else { continue };
        let Ok(index) = shape.fields.binary_search_by_key(&number, |field| field.number) else { continue };
        let field = &shape.fields[index];
        if let Some(one_of) = field.one_of {
            choose(&mut choices, one_of, index, seen.len());
        }
        match (&field.form, raw) {
            (Form::List(item), Raw::Bytes(packed)) if item.is_number() => unpack(*item, index, &packed, &mut seen)?,
            (_, raw) => seen.push((index, raw)),
        }
    }
    drop_unchosen(shape, &choices, &mut seen);
    seen.sort_by_key(|(index, _)| *index);
    let mut outcome = Ok(());
    seen.dedup_by(|(index, more), (before, value)| {
        let Form::Single { item, .. } = &shape.fields[*index].form else { return false };
        if index != before {
            return false;
        }
        let more = std::mem::replace(more, Raw::Number(0));
        outcome = outcome.and_then(|()| merge(*item, value, more));
        true
    });
    outcome.map(|()| seen)
}

/// The field of a `oneof` that was set last, and the place of its first value since then.
struct Choice {
    one_of: usize,
    index: usize,
    since: usize,
}

fn choose(choices: &mut Vec<Choice>, one_of: usize, index: usize, place: usize) {
    match choices.iter_mut().find(|choice| choice.one_of == one_of) {
        Some(choice) if choice.index == index => {}
        Some(choice) => (choice.index, choice.since) = (index, place),
        None => choices.push(Choice { one_of, index, since: place }),
    }
}

/// Setting a field of a `oneof` unsets the others.
fn drop_unchosen(shape: &Shape, choices: &[Choice], seen: &mut Vec<Seen<'_>>) {
    if choices.is_empty() {
        return;
    }
    let mut place = 0;
    seen.retain(|(index, _)| {
        let choice = shape.fields[*index].one_of.and_then(|one_of| choices.iter().find(|c| c.one_of == one_of));
        let stays = choice.is_none_or(|choice| choice.index == *index && choice.since <= place);
        place += 1;
        stays
    });
}

/// Another value for a field that has one: of messages both count, else the later one.
fn merge<'a>(item: Item, value: &mut Raw<'a>, more: Raw<'a>) -> Result<(), Broken> {
    if !matches!(item, Item::Message(_) | Item::Duration | Item::Timestamp | Item::Struct | Item::Wrapper(_)) {
        *value = more;
        return Ok(());
    }
    match (value, more) {
        (Raw::Bytes(first), Raw::Bytes(more)) => {
            first.to_mut().extend_from_slice(&more);
            Ok(())
        }
        _ => Err("a number in place of a message"),
    }
}

/// The value of the field with a number that was set last, in a message that is not looked up in the shapes.
pub(super) fn value<'a>(bytes: &'a [u8], wanted: u32) -> Result<Option<Raw<'a>>, Broken> {
    let mut found = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, raw) = field(&mut rest)?;
        if number == wanted && raw.is_some() {
            found = raw;
        }
    }
    Ok(found)
}

impl Item {
    /// Whether several values may be packed into one field.
    fn is_number(self) -> bool {
        self.width() != Width::Bytes
    }

    fn width(self) -> Width {
        match self {
            Self::Bool
            | Self::Int32
            | Self::Sint32
            | Self::Uint32
            | Self::Int64
            | Self::Sint64
            | Self::Uint64
            | Self::Enum(_) => Width::Varint,
            Self::Sfixed32 | Self::Fixed32 | Self::Float => Width::Four,
            Self::Sfixed64 | Self::Fixed64 | Self::Double => Width::Eight,
            _ => Width::Bytes,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Width {
    Varint,
    Four,
    Eight,
    Bytes,
}

fn unpack<'a>(item: Item, index: usize, packed: &[u8], seen: &mut Vec<Seen<'a>>) -> Result<(), Broken> {
    let mut rest = packed;
    while !rest.is_empty() {
        let number = match item.width() {
            Width::Four => four(&mut rest)?,
            Width::Eight => eight(&mut rest)?,
            _ => varint(&mut rest)?,
        };
        seen.push((index, Raw::Number(number)));
    }
    Ok(())
}

/// Takes one field; `None` for a group, which no message here has.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Option<Raw<'a>>), Broken> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).map_err(|_| "a field number that is too large")?;
    if number == 0 {
        return Err("a field with number 0");
    }
    let raw = match key & 7 {
        0 => Some(Raw::Number(varint(rest)?)),
        1 => Some(Raw::Number(eight(rest)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| "a length that is too large")?;
            Some(Raw::Bytes(Cow::Borrowed(take(rest, length)?)))
        }
        3 => {
            skip_group(rest, number)?;
            None
        }
        5 => Some(Raw::Number(four(rest)?)),
        _ => return Err("an unknown wire type"),
    };
    Ok((number, raw))
}

/// Skips to the end of a group, with what is nested in it.
fn skip_group(rest: &mut &[u8], number: u32) -> Result<(), Broken> {
    let mut open = vec![u64::from(number)];
    while let Some(group) = open.last() {
        let key = varint(rest)?;
        match key & 7 {
            0 => drop(varint(rest)?),
            1 => drop(eight(rest)?),
            2 => {
                let length = usize::try_from(varint(rest)?).map_err(|_| "a length that is too large")?;
                take(rest, length)?;
            }
            3 if open.len() < DEPTH => open.push(key >> 3),
            4 if key >> 3 == *group => drop(open.pop()),
            5 => drop(four(rest)?),
            _ => return Err("a group without an end"),
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Broken> {
    let (taken, left) = rest.split_at_checked(length).ok_or("it ends within a field")?;
    *rest = left;
    Ok(taken)
}

fn four(rest: &mut &[u8]) -> Result<u64, Broken> {
    let bytes = take(rest, 4)?;
    Ok(u64::from(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken"))))
}

fn eight(rest: &mut &[u8]) -> Result<u64, Broken> {
    Ok(u64::from_le_bytes(take(rest, 8)?.try_into().expect("eight bytes were taken")))
}

fn varint(rest: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0;
    for (index, byte) in rest.iter().enumerate().take(10) {
        // The tenth byte has room for one bit.
        if index == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err("a number without an end")
}
