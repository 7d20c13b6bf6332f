//! Engines that read a directory of drop-ins: ours is a file of its own, which lists the hooks directories that were
//! there before and then ours (a later file's list takes the place of an earlier one's).

use std::path::{Path, PathBuf};

use toml_edit::{Array, Item, Value};

use crate::engines::{Action, Change, Inputs, SetupError, toml_keys};

/// An engine's drop-in.
pub struct DropIn<'a> {
    /// The engine, as in `sdg setup <engine>`.
    pub engine: &'static str,
    /// Our file.
    pub file: &'a Path,
    /// Files that come before it, in their order.
    pub earlier: Vec<&'a Path>,
    /// The table with `hooks_dir`.
    pub table: &'a [&'a str],
    /// Hooks directory that the engine reads by default.
    pub default_hooks: &'a str,
    /// Our hooks directory.
    pub our_hooks: PathBuf,
    /// What else is in our file, whole lines.
    pub more: String,
}

impl DropIn<'_> {
    /// The drop-in's change.
    pub fn change(&self, inputs: &Inputs<'_>) -> Result<Change, SetupError> {
        let before = inputs.tree.text(self.file);
        if before.is_some_and(|text| text.lines().next() != Some(&self.mark())) {
            return match inputs.action {
                Action::Install => Err(SetupError::NotOurs(self.file.to_owned())),
                Action::Remove => Ok(self.to(before, before.map(str::to_owned))),
            };
        }
        match inputs.action {
            Action::Install => Ok(self.to(before, Some(self.text(inputs)?))),
            Action::Remove => Ok(self.to(before, None)),
        }
    }

    /// First line of a file that `sdg setup` wrote.
    fn mark(&self) -> String {
        let engine = self.engine;
        format!("# Written by `sdg setup {engine}`; `sdg setup {engine} --remove` removes it.")
    }

    fn to(&self, before: Option<&str>, after: Option<String>) -> Change {
        Change {
            path: self.file.to_owned(),
            before: before.map(str::to_owned),
            after,
        }
    }

    fn text(&self, inputs: &Inputs<'_>) -> Result<String, SetupError> {
        let mut hooks = vec![self.default_hooks.to_owned()];
        for path in &self.earlier {
            self.add(&mut hooks, path, inputs.tree.text(path))?;
        }
        let ours = self.our_hooks.to_string_lossy().into_owned();
        hooks.retain(|directory| *directory != ours);
        hooks.push(ours);
        let lines: String = hooks
            .into_iter()
            .map(|directory| format!("    {},\n", Value::from(directory)))
            .collect();
        let (engine, header) = (self.engine, self.table.join("."));
        Ok(format!(
            "{}\n\
             # This list takes the place of those in earlier files: after changing one there, run `sdg setup {engine}` again.\n\
             [{header}]\nhooks_dir = [\n{lines}]\n{}",
            self.mark(),
            self.more
        ))
    }

    /// What a file makes of the list so far: another one, or a longer one where it says `{append=true}`.
    fn add(&self, hooks: &mut Vec<String>, path: &Path, text: Option<&str>) -> Result<(), SetupError> {
        let document = toml_keys::parse(path, text)?;
        let keys = [self.table, &["hooks_dir"]].concat();
        let Some(list) = toml_keys::get(&document, &keys) else {
            return Ok(());
        };
        let list = list.as_array().ok_or_else(|| SetupError::Type {
            path: path.to_owned(),
            key: keys.join("."),
            expected: "a list",
        })?;
        if !appends(list) {
            hooks.clear();
        }
        hooks.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
        Ok(())
    }
}

fn appends(list: &Array) -> bool {
    let tables = list.iter().filter_map(Value::as_inline_table);
    tables
        .filter_map(|table| table.get("append"))
        .any(|append| append.as_bool() == Some(true))
}

/// A table's header and lines `key = "value"`.
pub fn table_text(header: &str, pairs: &[(&str, &str)]) -> String {
    let lines: String = pairs
        .iter()
        .map(|(key, text)| format!("{key} = {}\n", Item::Value(Value::from(*text))))
        .collect();
    format!("\n[{header}]\n{lines}")
}
