//! The resize dialog: fields are typed, checked, shown again for confirmation. Pure.

use ratatui::crossterm::event::KeyCode;

use crate::ledger::record::SliceRecord;
use crate::request::{self, ComputeRequest, Share};
use crate::units::Bytes;

/// Characters of a field: more than any quantity has.
const MOST: usize = 20;

/// A resize that a person has confirmed. Absent: as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Id of the slice.
    pub slice: String,
    /// Memory guaranteed, a quantity.
    pub memory: Option<String>,
    /// Memory never exceeded, a quantity.
    pub memory_limit: Option<String>,
    /// Compute units guaranteed, in thousandths of a GPU.
    pub compute: Option<String>,
    /// Ceiling of compute units.
    pub compute_limit: Option<String>,
}

/// A field of the dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// For people.
    pub label: &'static str,
    /// Key of the request.
    key: &'static str,
    /// What holds now.
    pub before: String,
    /// What is typed.
    pub text: String,
}

impl Field {
    fn new(label: &'static str, key: &'static str, before: String) -> Self {
        Self {
            label,
            key,
            text: before.clone(),
            before,
        }
    }

    fn is_changed(&self) -> bool {
        self.text != self.before
    }
}

/// A dialog that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    slice: String,
    /// Whose slice it is.
    pub title: String,
    /// Guarantee and limit of memory, then of compute units.
    pub fields: [Field; 4],
    /// Position of the field that is typed in.
    pub at: usize,
    /// What is wrong with what was typed.
    pub error: Option<String>,
    /// Everything is typed; `y` does it.
    pub is_asking: bool,
}

/// What a key did to the dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stays open.
    Open,
    /// It is closed, nothing happens.
    Cancelled,
    /// It is closed, and this is wished.
    Wished(Wish),
}

impl Outcome {
    /// Whether the dialog is closed.
    pub fn is_over(&self) -> bool {
        *self != Self::Open
    }

    /// What is wished.
    pub fn into_wish(self) -> Option<Wish> {
        match self {
            Self::Wished(wish) => Some(wish),
            Self::Open | Self::Cancelled => None,
        }
    }
}

impl Resize {
    /// For a slice, with what holds now.
    pub fn new(record: &SliceRecord) -> Self {
        let [guarantee, limit, compute, compute_limit] = amounts(record);
        Self {
            slice: record.id.clone(),
            title: record.name.clone().unwrap_or_else(|| record.id.clone()),
            fields: [
                Field::new("memory", "sdg.memory", guarantee),
                Field::new("memory limit", "sdg.memoryLimit", limit),
                Field::new("compute", "sdg.compute", compute),
                Field::new("compute limit", "sdg.computeLimit", compute_limit),
            ],
            at: 0,
            error: None,
            is_asking: false,
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, code: KeyCode) -> Outcome {
        if self.is_asking {
            return match code {
                KeyCode::Char('y' | 'Y') => Outcome::Wished(self.wish()),
                KeyCode::Char('n' | 'N') => {
                    self.is_asking = false;
                    Outcome::Open
                }
                KeyCode::Esc => Outcome::Cancelled,
                _ => Outcome::Open,
            };
        }
        match code {
            KeyCode::Esc => return Outcome::Cancelled,
            KeyCode::Enter => self.check(),
            KeyCode::Tab | KeyCode::Down => self.at = (self.at + 1) % self.fields.len(),
            KeyCode::BackTab | KeyCode::Up => {
                self.at = self.at.checked_sub(1).unwrap_or(self.fields.len() - 1);
            }
            code => self.edit(code),
        }
        Outcome::Open
    }

    fn edit(&mut self, code: KeyCode) {
        let Some(field) = self.fields.get_mut(self.at) else {
            return;
        };
        match code {
            KeyCode::Backspace => {
                field.text.pop();
            }
            KeyCode::Delete => field.text.clear(),
            KeyCode::Char(letter) if letter.is_ascii_graphic() && field.text.len() < MOST => {
                field.text.push(letter);
            }
            _ => return,
        }
        self.error = None;
    }

    fn check(&mut self) {
        if !self.fields.iter().any(Field::is_changed) {
            self.error = Some("nothing is changed (type other amounts, e.g. 24Gi or 250m)".to_owned());
            return;
        }
        for pair in self.fields.chunks_mut(2) {
            follow(pair);
        }
        // A slice without a guarantee of compute units has empty fields.
        let typed = self
            .fields
            .iter()
            .filter(|field| field.is_changed() || !field.text.is_empty());
        match request::parse(typed.map(|field| (field.key, field.text.as_str()))) {
            Ok(_) => self.is_asking = true,
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    fn wish(&self) -> Wish {
        let [memory, memory_limit, compute, compute_limit] = &self.fields;
        let amount = |field: &Field, pair: [&Field; 2]| {
            let is_wished = pair.into_iter().any(Field::is_changed);
            is_wished.then(|| field.text.clone())
        };
        Wish {
            slice: self.slice.clone(),
            memory: amount(memory, [memory, memory_limit]),
            memory_limit: amount(memory_limit, [memory, memory_limit]),
            compute: amount(compute, [compute, compute_limit]),
            compute_limit: amount(compute_limit, [compute, compute_limit]),
        }
    }
}

/// A limit that was the guarantee stays so, unless it was typed.
fn follow(pair: &mut [Field]) {
    if let [guarantee, limit] = pair
        && guarantee.before == limit.before
        && !limit.is_changed()
    {
        limit.text.clone_from(&guarantee.text);
    }
}

/// What holds now: guarantee and limit of memory, then of compute units.
fn amounts(record: &SliceRecord) -> [String; 4] {
    let Share::Part { memory, compute } = record.request.share else {
        return Default::default();
    };
    let (compute, compute_limit) = match compute {
        ComputeRequest::BestEffort => Default::default(),
        ComputeRequest::Guaranteed { guarantee, limit } => (guarantee.to_string(), limit.to_string()),
    };
    [
        exact(memory.guarantee),
        exact(memory.limit),
        compute,
        compute_limit,
    ]
}

/// An amount that reads back as the same number of bytes.
fn exact(bytes: u64) -> String {
    let short = Bytes(bytes).to_string();
    let read = request::quantity::Quantity::parse(&short).ok();
    match read.and_then(|quantity| quantity.rounded_up()) {
        Some(same) if same == bytes => short,
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::node_with;

    fn dialog(guarantee: u64, limit: u64) -> Resize {
        Resize::new(&node_with(&[(guarantee, limit, 0)]).slices[0].record)
    }

    fn type_in(dialog: &mut Resize, text: &str) -> Outcome {
        dialog.key(KeyCode::Delete);
        for letter in text.chars() {
            dialog.key(KeyCode::Char(letter));
        }
        dialog.key(KeyCode::Enter)
    }

    #[test]
    fn nothing_is_wished_before_it_is_confirmed() {
        let mut dialog = dialog(20, 20);
        assert_eq!(type_in(&mut dialog, "24Gi"), Outcome::Open);
        assert!(dialog.is_asking);
        assert_eq!(
            dialog.fields[1].text, "24Gi",
            "a limit that was the guarantee follows it"
        );
        assert_eq!(dialog.key(KeyCode::Enter), Outcome::Open, "Enter is no yes");
        let wish = dialog.key(KeyCode::Char('y')).into_wish().unwrap();
        assert_eq!(wish.memory.as_deref(), Some("24Gi"));
        assert_eq!(wish.memory_limit.as_deref(), Some("24Gi"));
        assert_eq!((wish.compute, wish.compute_limit), (None, None));
        assert_eq!(wish.slice, node_with(&[(1, 1, 0)]).slices[0].record.id);
    }

    #[test]
    fn what_cannot_be_is_said_where_it_is_typed() {
        let mut dialog = dialog(20, 30);
        for (text, said) in [
            ("2x", "2x"),
            ("31Gi", "sdg.memory"),
            ("", "sdg.memory"),
            ("20Gi", "nothing is changed"),
        ] {
            type_in(&mut dialog, text);
            assert!(!dialog.is_asking, "{text}");
            let error = dialog.error.clone().unwrap();
            assert!(error.contains(said), "{error}");
        }
        dialog.key(KeyCode::Tab);
        type_in(&mut dialog, "25Gi");
        assert!(dialog.is_asking);
        assert_eq!(dialog.key(KeyCode::Char('n')), Outcome::Open);
        assert_eq!(dialog.key(KeyCode::Esc), Outcome::Cancelled);
    }

    #[test]
    fn compute_units_are_resized_alone() {
        let mut dialog = dialog(20, 30);
        dialog.key(KeyCode::Up);
        dialog.key(KeyCode::Up);
        type_in(&mut dialog, "500m");
        let wish = dialog.key(KeyCode::Char('y')).into_wish().unwrap();
        assert_eq!((wish.memory, wish.memory_limit), (None, None));
        assert_eq!(wish.compute.as_deref(), Some("500m"));
        assert_eq!(wish.compute_limit.as_deref(), Some("500m"));
    }

    #[test]
    fn amounts_read_back_exactly() {
        assert_eq!(exact(20 << 30), "20Gi");
        assert_eq!(exact(205_604_782_080), "205604782080");
        assert_eq!(exact(0), "0");
    }
}
