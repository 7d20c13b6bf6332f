//! Docker: a runtime `sdg` in daemon.json, and CDI switched on where it is not by default.

use std::path::Path;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};
use serde::de::IgnoredAny;

use crate::engines::changes::{self, Changes, Switch};
use crate::engines::tree::Source;
use crate::engines::version::EngineVersion;
use crate::engines::{Action, Change, Inputs, Plan, RUNTIME_NAME, SetupError};
use crate::one_line::one_line;

const CONFIG: &str = "/etc/docker/daemon.json";
const ENGINE: &str = "docker";
/// Objects that our keys are in.
const SECTIONS: [&str; 2] = ["runtimes", "features"];
/// From here on CDI is on by default.
const CDI_BY_DEFAULT: EngineVersion = EngineVersion::new(28, 3);
/// The first version that knows CDI.
const HAS_CDI: EngineVersion = EngineVersion::new(25, 0);

/// Where the plan looks.
pub fn sources() -> Vec<Source> {
    vec![Source::File(CONFIG.into()), changes::source(ENGINE)]
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
    let before = inputs.tree.text(Path::new(CONFIG));
    let file = Daemon::parse(before)?;
    let program = inputs.programs.runtime.to_string_lossy().into_owned();
    let mut sections = record
        .as_ref()
        .map_or_else(Vec::new, |record| record.sections.clone());
    let absent = SECTIONS.into_iter().filter(|section| !file.has(section));
    let absent: Vec<&str> = absent.collect();
    let there = file.runtime();
    match (&there, &record) {
        (Some(path), _) if *path == program => {}
        (Some(path), Some(record)) if record.runtime.to_str() == Some(path) => file.set_runtime(&program)?,
        (None, _) => file.set_runtime(&program)?,
        (Some(_), _) => {
            return Err(SetupError::Taken {
                path: CONFIG.into(),
                key: format!("runtimes.{RUNTIME_NAME}"),
            });
        }
    }
    let switched = file.switch_cdi(inputs.version)?;
    sections.extend(
        absent
            .into_iter()
            .filter(|section| file.has(section))
            .map(str::to_owned),
    );
    let after = file.text();
    if record.is_none() && before == Some(after.as_str()) {
        return Ok(Plan::default());
    }
    let changes = Changes {
        file: CONFIG.into(),
        created: record.as_ref().map_or(before.is_none(), |record| record.created),
        runtime: inputs.programs.runtime.clone(),
        cdi: switched.or(record.and_then(|record| record.cdi)),
        sections,
    };
    Ok(Plan {
        changes: vec![
            changes::change(inputs.tree, ENGINE, Some(&changes))?,
            change(before, Some(after)),
        ],
        notes: Vec::new(),
    })
}

fn remove(inputs: &Inputs<'_>, record: &Changes) -> Result<Plan, SetupError> {
    let mut changes = Vec::new();
    if let Some(before) = inputs.tree.text(&record.file) {
        let file = Daemon::parse(Some(before))?;
        if file.runtime().as_deref() == record.runtime.to_str() {
            file.remove("runtimes", RUNTIME_NAME);
        }
        match record.cdi {
            Some(Switch { before: Some(before) }) => file.set("features", "cdi", before.into())?,
            Some(Switch { before: None }) => file.remove("features", "cdi"),
            None => {}
        }
        for section in &record.sections {
            file.remove_empty(section);
        }
        let keep = !record.created || !file.is_empty();
        changes.push(change(Some(before), keep.then(|| file.text())));
    }
    changes.push(changes::change(inputs.tree, ENGINE, None)?);
    Ok(Plan {
        changes,
        notes: Vec::new(),
    })
}

fn change(before: Option<&str>, after: Option<String>) -> Change {
    Change {
        path: CONFIG.into(),
        before: before.map(str::to_owned),
        after,
    }
}

/// daemon.json as a syntax tree: what is not changed keeps its form.
struct Daemon {
    root: CstRootNode,
    object: CstObject,
}

impl Daemon {
    fn parse(text: Option<&str>) -> Result<Self, SetupError> {
        let text = text.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
        let syntax = |error: &dyn std::fmt::Display| SetupError::Syntax {
            path: CONFIG.into(),
            reason: one_line(&error.to_string()),
        };
        // As strictly as Docker itself reads it; what makes the tree is lenient.
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| syntax(&error))?;
        let root = CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| syntax(&error))?;
        let object = root
            .object_value()
            .ok_or_else(|| wrong("the whole", "an object"))?;
        Ok(Self { root, object })
    }

    fn text(&self) -> String {
        self.root.to_string()
    }

    fn is_empty(&self) -> bool {
        self.object.properties().is_empty()
    }

    fn value(&self, section: &str, key: &str) -> Option<CstNode> {
        self.object.object_value(section)?.get(key)?.value()
    }

    /// The program of the runtime of our name; an empty text where it has none.
    fn runtime(&self) -> Option<String> {
        let runtime = self.value("runtimes", RUNTIME_NAME)?;
        let path = || {
            let path = runtime.as_object()?.get("path")?.value()?;
            path.as_string_lit()?.decoded_value().ok()
        };
        Some(path().unwrap_or_default())
    }

    fn set_runtime(&self, program: &str) -> Result<(), SetupError> {
        let runtime = CstInputValue::Object(vec![("path".to_owned(), program.into())]);
        self.set("runtimes", RUNTIME_NAME, runtime)
    }

    fn set(&self, section: &str, key: &str, value: CstInputValue) -> Result<(), SetupError> {
        let object = self
            .object
            .object_value_or_create(section)
            .ok_or_else(|| wrong(section, "an object"))?;
        match object.get(key) {
            Some(property) => property.set_value(value),
            None => {
                object.append(key, value);
            }
        }
        Ok(())
    }

    fn remove(&self, section: &str, key: &str) {
        let section = self.object.object_value(section);
        if let Some(property) = section.and_then(|section| section.get(key)) {
            property.remove();
        }
    }

    fn has(&self, section: &str) -> bool {
        self.object.get(section).is_some()
    }

    fn remove_empty(&self, section: &str) {
        let object = self.object.object_value(section);
        if object.is_some_and(|object| object.properties().is_empty())
            && let Some(section) = self.object.get(section)
        {
            section.remove();
        }
    }

    fn switch_cdi(&self, engine: Option<EngineVersion>) -> Result<Option<Switch>, SetupError> {
        let now = match self.value("features", "cdi") {
            None => None,
            Some(value) => Some(
                value
                    .as_boolean_lit()
                    .ok_or_else(|| wrong("features.cdi", "true or false"))?
                    .value(),
            ),
        };
        let by_default = engine.is_some_and(|version| !(HAS_CDI..CDI_BY_DEFAULT).contains(&version));
        if now == Some(true) || (now.is_none() && by_default) {
            return Ok(None);
        }
        self.set("features", "cdi", true.into())?;
        Ok(Some(Switch { before: now }))
    }
}

fn wrong(key: &str, expected: &'static str) -> SetupError {
    SetupError::Type {
        path: CONFIG.into(),
        key: key.to_owned(),
        expected,
    }
}
