//! Keys in a TOML file that people write too: found, put in and taken out without touching the rest.

use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::engines::SetupError;
use crate::line_number::line_number;
use crate::one_line::one_line;

/// Parses a file; one that is absent is empty.
pub fn parse(path: &Path, text: Option<&str>) -> Result<DocumentMut, SetupError> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|error: toml_edit::TomlError| {
        let line = line_number(text, error.span());
        SetupError::Syntax {
            path: path.to_owned(),
            reason: format!("line {line}: {}", one_line(error.message())),
        }
    })
}

/// The item at a path of keys.
pub fn get<'a>(document: &'a DocumentMut, keys: &[&str]) -> Option<&'a Item> {
    let mut item = document.as_item();
    for key in keys {
        item = item.as_table_like()?.get(key)?;
    }
    Some(item)
}

/// Puts an item in, replacing one that is there. Tables made on the way get no header of their own; below inline
/// tables all is inline.
pub fn set(document: &mut DocumentMut, path: &Path, keys: &[&str], item: Item) -> Result<(), SetupError> {
    let wrong = |key: &str, expected| SetupError::Type {
        path: path.to_owned(),
        key: key.to_owned(),
        expected,
    };
    let Some((last, parents)) = keys.split_last() else {
        return Ok(());
    };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let mut inline = false;
    for key in parents {
        let entry = table.entry(key).or_insert_with(|| new_table(inline));
        inline = entry.is_inline_table();
        table = entry.as_table_like_mut().ok_or_else(|| wrong(key, "a table"))?;
    }
    let item = if inline {
        Item::Value(item.into_value().map_err(|_| wrong(last, "a value"))?)
    } else {
        item
    };
    match (table.get_mut(last), item) {
        // Indentation and the comment behind it stay.
        (Some(Item::Value(there)), Item::Value(mut value)) => {
            *value.decor_mut() = there.decor().clone();
            *there = value;
        }
        (_, item) => {
            table.insert(last, item);
        }
    }
    Ok(())
}

fn new_table(inline: bool) -> Item {
    if inline {
        return Item::Value(Value::InlineTable(InlineTable::new()));
    }
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Takes a key out together with tables around it that had no header of their own and are empty now.
pub fn remove(document: &mut DocumentMut, keys: &[&str]) {
    remove_in(document.as_table_mut(), keys);
}

fn remove_in(table: &mut dyn TableLike, keys: &[&str]) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(first);
        return;
    }
    let Some(inner) = table.get_mut(first) else {
        return;
    };
    if let Some(below) = inner.as_table_like_mut() {
        remove_in(below, rest);
    }
    if inner
        .as_table()
        .is_some_and(|inner| inner.is_implicit() && inner.is_empty())
    {
        table.remove(first);
    }
}

/// Whether a table has a header or a value of its own in the file.
pub fn is_written(document: &DocumentMut, keys: &[&str]) -> bool {
    let table = get(document, keys);
    table.is_some_and(|item| item.as_table().is_none_or(|table| !table.is_implicit()))
}

/// Takes a table's header out where the table has no value of its own.
pub fn remove_header(document: &mut DocumentMut, keys: &[&str]) {
    let mut item = document.as_item_mut();
    for key in keys {
        let Some(inner) = item.as_table_like_mut().and_then(|table| table.get_mut(key)) else {
            return;
        };
        item = inner;
    }
    if let Some(table) = item
        .as_table_mut()
        .filter(|table| !table.iter().any(|(_, item)| item.is_value()))
    {
        table.set_implicit(true);
        if table.is_empty() {
            remove(document, keys);
        }
    }
}
