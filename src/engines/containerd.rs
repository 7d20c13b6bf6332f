//! containerd: a runtime handler `sdg` in config.toml, and CDI switched on.
//!
//! The keys go into the file that has the CRI plugin's section, not into one of their own: containerd 1.x takes a
//! section from the last file that has it and forgets the same section of all others (containerd issue 5837), so that
//! a drop-in would undo the CNI directories of the main file.

use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::engines::changes::{self, Changes, Switch};
use crate::engines::tree::Source;
use crate::engines::version::EngineVersion;
use crate::engines::{Action, Change, Inputs, Plan, RUNTIME_NAME, SetupError, toml_keys};

/// The main file.
pub const CONFIG: &str = "/etc/containerd/config.toml";
const ENGINE: &str = "containerd";
/// What the record calls the header of the CRI plugin's table.
const SECTION: &str = "cri";
/// The version of the file's own form, which an empty file is given.
const VERSION: &str = "version";
/// The default runtime, which is defined by default only as long as the file defines none.
const DEFAULT_RUNTIME: &str = "runc";
const RUNTIME_TYPE: &str = "io.containerd.runc.v2";
/// From here on sections of several files are merged.
const MERGES: EngineVersion = EngineVersion::new(2, 0);
/// The first version that knows CDI; from [`MERGES`] on it is on by default.
const HAS_CDI: EngineVersion = EngineVersion::new(1, 7);
/// Patterns of annotations that reach a container's spec. A `*` does not match a slash (Go's path.Match).
const ANNOTATIONS: [&str; 2] = ["sdg.*", "sdg.exostellar.io/*"];

/// Where the plan looks.
pub fn sources(main: Option<&str>) -> Vec<Source> {
    let mut sources = vec![Source::File(CONFIG.into()), changes::source(ENGINE)];
    let imports = main.and_then(|text| toml_keys::parse(Path::new(CONFIG), Some(text)).ok());
    sources.extend(imports.iter().flat_map(imported));
    sources
}

/// Imports are files, or all files of a directory with one ending; relative ones begin at the main file's directory.
fn imported(document: &DocumentMut) -> Vec<Source> {
    let list = document.get("imports").and_then(Item::as_array);
    let patterns = list.into_iter().flatten().filter_map(toml_edit::Value::as_str);
    patterns
        .map(|pattern| {
            let path = Path::new(CONFIG).with_file_name(pattern);
            match (path.parent(), pattern.rsplit_once('*')) {
                (Some(directory), Some((_, ".toml"))) => Source::Directory(directory.to_owned(), ".toml"),
                _ => Source::File(path),
            }
        })
        .collect()
}

/// Plans what changes.
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan, SetupError> {
    let record = changes::read(inputs.tree, ENGINE)?;
    match (inputs.action, record) {
        (Action::Install, record) => install(inputs, record),
        (Action::Remove, Some(record)) => remove(inputs, &record),
        (Action::Remove, None) => Ok(Plan::default()),
    }
}

fn install(inputs: &Inputs<'_>, record: Option<Changes>) -> Result<Plan, SetupError> {
    let path = match &record {
        Some(record) => record.file.clone(),
        None => target(inputs)?,
    };
    let before = inputs.tree.text(&path);
    let mut document = toml_keys::parse(&path, before)?;
    let version = config_version(&document, before, inputs.version);
    let is_empty = before.is_none_or(|text| text.trim().is_empty());
    if is_empty {
        document.insert(VERSION, value(version));
    }
    let keys = Keys::of(version);
    let ours = toml_keys::get(&document, &keys.runtime(RUNTIME_NAME)).is_none();
    let program = inputs.programs.runtime.clone();
    if !ours && record.is_none() {
        if program_of(&document, &keys) == program.to_str() {
            return Ok(Plan::default());
        }
        return Err(SetupError::Taken {
            path,
            key: keys.runtime(RUNTIME_NAME).join("."),
        });
    }
    if ours || program_of(&document, &keys) != program.to_str() {
        let runtime = runtime_table(&document, &keys, &program);
        toml_keys::set(&mut document, &path, &keys.runtime(RUNTIME_NAME), runtime)?;
    }
    let had_section = toml_keys::is_written(&document, &keys.plugin);
    let switched = switch_cdi(&mut document, &path, &keys, inputs.version)?;
    let mut sections = record
        .as_ref()
        .map_or_else(Vec::new, |record| record.sections.clone());
    if switched.is_some() && !had_section {
        sections.push(SECTION.to_owned());
    }
    if is_empty {
        sections.push(VERSION.to_owned());
    }
    if keep_default_runtime(&mut document, &path, &keys)? {
        sections.push(DEFAULT_RUNTIME.to_owned());
    }
    let changes = Changes {
        sections,
        created: record.as_ref().map_or(before.is_none(), |record| record.created),
        cdi: switched.or(record.and_then(|record| record.cdi)),
        file: path.clone(),
        runtime: program,
    };
    Ok(Plan {
        notes: notes(&document),
        changes: vec![
            changes::change(inputs.tree, ENGINE, Some(&changes))?,
            Change {
                before: before.map(str::to_owned),
                after: Some(document.to_string()),
                path,
            },
        ],
    })
}

fn remove(inputs: &Inputs<'_>, record: &Changes) -> Result<Plan, SetupError> {
    let mut changes = Vec::new();
    if let Some(before) = inputs.tree.text(&record.file) {
        let mut document = toml_keys::parse(&record.file, Some(before))?;
        let keys = Keys::of(config_version(&document, Some(before), inputs.version));
        if program_of(&document, &keys) == record.runtime.to_str() {
            toml_keys::remove(&mut document, &keys.runtime(RUNTIME_NAME));
        }
        match record.cdi {
            Some(Switch { before: Some(before) }) => {
                toml_keys::set(&mut document, &record.file, &keys.cdi(), value(before))?;
            }
            Some(Switch { before: None }) => toml_keys::remove(&mut document, &keys.cdi()),
            None => {}
        }
        let made = |name| record.sections.iter().any(|section| section == name);
        if made(DEFAULT_RUNTIME) {
            toml_keys::remove(&mut document, &keys.runtime(DEFAULT_RUNTIME));
        }
        if made(SECTION) {
            toml_keys::remove_header(&mut document, &keys.plugin);
        }
        let only_version = document.iter().all(|(key, _)| key == VERSION);
        if made(VERSION) && only_version {
            document.remove(VERSION);
        }
        changes.push(Change {
            path: record.file.clone(),
            before: Some(before.to_owned()),
            after: (!record.created || !only_version).then(|| document.to_string()),
        });
    }
    changes.push(changes::change(inputs.tree, ENGINE, None)?);
    Ok(Plan {
        changes,
        notes: Vec::new(),
    })
}

/// The file that the keys go into: before containerd 2 the last one with the CRI plugin's section.
fn target(inputs: &Inputs<'_>) -> Result<PathBuf, SetupError> {
    let main = PathBuf::from(CONFIG);
    if inputs.version.is_some_and(|version| version >= MERGES) {
        return Ok(main);
    }
    let document = toml_keys::parse(&main, inputs.tree.text(&main))?;
    let mut found = main;
    for source in imported(&document) {
        let paths: Vec<&Path> = match &source {
            Source::File(path) => vec![path],
            Source::Directory(directory, _) => {
                inputs.tree.directory(directory).map(|(path, _)| path).collect()
            }
        };
        for path in paths {
            let text = inputs.tree.text(path);
            let document = toml_keys::parse(path, text)?;
            let keys = Keys::of(config_version(&document, text, inputs.version));
            if toml_keys::get(&document, &keys.plugin).is_some() {
                found = path.to_owned();
            }
        }
    }
    Ok(found)
}

/// A file without a version is of version 1; where there is no file, the newest that the engine knows.
fn config_version(document: &DocumentMut, text: Option<&str>, engine: Option<EngineVersion>) -> i64 {
    let written = document.get("version").and_then(Item::as_integer);
    let fresh = text.is_none_or(|text| text.trim().is_empty());
    match written {
        Some(version) => version,
        None if fresh && engine.is_some_and(|version| version >= MERGES) => 3,
        None if fresh => 2,
        None => 1,
    }
}

/// Where the CRI plugin's keys are in each version of the file.
struct Keys {
    plugin: [&'static str; 2],
}

impl Keys {
    fn of(version: i64) -> Self {
        let name = match version {
            ..=1 => "cri",
            2 => "io.containerd.grpc.v1.cri",
            _ => "io.containerd.cri.v1.runtime",
        };
        Self {
            plugin: ["plugins", name],
        }
    }

    fn below<const N: usize>(&self, keys: [&'static str; N]) -> Vec<&'static str> {
        self.plugin.into_iter().chain(keys).collect()
    }

    fn runtime(&self, name: &'static str) -> Vec<&'static str> {
        self.below(["containerd", "runtimes", name])
    }

    fn cdi(&self) -> Vec<&'static str> {
        self.below(["enable_cdi"])
    }
}

fn program_of<'a>(document: &'a DocumentMut, keys: &Keys) -> Option<&'a str> {
    let mut path = keys.runtime(RUNTIME_NAME);
    path.extend(["options", "BinaryName"]);
    toml_keys::get(document, &path)?.as_str()
}

/// Our runtime with the options of the default one: how cgroups are made (SystemdCgroup) has to be the same for all.
fn runtime_table(document: &DocumentMut, keys: &Keys, program: &Path) -> Item {
    let containerd = keys.below(["containerd"]);
    let name = toml_keys::get(
        document,
        &[containerd.as_slice(), &["default_runtime_name"]].concat(),
    );
    let name = name.and_then(Item::as_str).unwrap_or(DEFAULT_RUNTIME);
    let default = toml_keys::get(
        document,
        &[containerd.as_slice(), &["runtimes", name, "options"]].concat(),
    );
    let mut options = Table::new();
    for (key, option) in default
        .and_then(Item::as_table_like)
        .into_iter()
        .flat_map(|table| table.iter())
    {
        if let (Some(option), true) = (option.as_value(), key != "BinaryName") {
            let mut option = option.clone();
            option.decor_mut().clear();
            options.insert(key, Item::Value(option));
        }
    }
    options.insert("BinaryName", value(program.to_string_lossy().into_owned()));
    let mut table = Table::new();
    table.insert("runtime_type", value(RUNTIME_TYPE));
    for key in ["pod_annotations", "container_annotations"] {
        table.insert(key, value(ANNOTATIONS.into_iter().collect::<Array>()));
    }
    table.insert("options", Item::Table(options));
    Item::Table(table)
}

/// Defines the default runtime where the file left it to containerd, which gives up its own definitions as soon as a file
/// has one and then does not load the CRI. Says whether it did.
fn keep_default_runtime(document: &mut DocumentMut, path: &Path, keys: &Keys) -> Result<bool, SetupError> {
    let name = toml_keys::get(document, &keys.below(["containerd", "default_runtime_name"]));
    let other = name
        .and_then(Item::as_str)
        .is_some_and(|name| name != DEFAULT_RUNTIME);
    let runtime = keys.runtime(DEFAULT_RUNTIME);
    if other || toml_keys::get(document, &runtime).is_some() {
        return Ok(false);
    }
    let mut table = Table::new();
    table.insert("runtime_type", value(RUNTIME_TYPE));
    toml_keys::set(document, path, &runtime, Item::Table(table))?;
    Ok(true)
}

/// Switches CDI on where it is off; says what it was.
fn switch_cdi(
    document: &mut DocumentMut,
    path: &Path,
    keys: &Keys,
    engine: Option<EngineVersion>,
) -> Result<Option<Switch>, SetupError> {
    let now = match toml_keys::get(document, &keys.cdi()) {
        None => None,
        Some(item) => Some(item.as_bool().ok_or_else(|| SetupError::Type {
            path: path.to_owned(),
            key: keys.cdi().join("."),
            expected: "true or false",
        })?),
    };
    let by_default = engine.is_some_and(|version| !(HAS_CDI..MERGES).contains(&version));
    if now == Some(true) || (now.is_none() && by_default) {
        return Ok(None);
    }
    toml_keys::set(document, path, &keys.cdi(), value(true))?;
    Ok(Some(Switch { before: now }))
}

fn notes(document: &DocumentMut) -> Vec<String> {
    let disabled = document.get("disabled_plugins").and_then(Item::as_array);
    let cri = disabled
        .into_iter()
        .flatten()
        .filter_map(toml_edit::Value::as_str)
        .any(|name| name == "cri" || name.contains(".cri"));
    cri.then(|| "disabled_plugins switches the CRI off: Kubernetes cannot use this containerd".to_owned())
        .into_iter()
        .collect()
}
