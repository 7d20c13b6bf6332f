//! The guard's part of a container's seccomp profile: guarded ioctls wait for the agent, all else is as the engine set it.
//!
//! ```text
//! profile ─ none ─────────────────────────→ allow all but the guarded numbers
//!         ├ ioctl allowed ────────────────→ allowed for the other numbers
//!         ├ ioctl allowed for some words ─→ those with a guarded number wait
//!         └ a listener, or rules that cannot be split ─→ refused
//! ```

use serde_json::{Map, Value, json};

use crate::edits::Guard;
use crate::guarded_calls::{NUMBERS, others};
use crate::oci::config::{ConfigError, Spec};

const ALLOW: &str = "SCMP_ACT_ALLOW";
const LOG: &str = "SCMP_ACT_LOG";
const NOTIFY: &str = "SCMP_ACT_NOTIFY";
/// What a profile of ours rules over: what an x86-64 kernel may run. On others, the runtime adds its own.
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
/// The argument of ioctl that holds the request.
const REQUEST: u64 = 1;

/// Why a profile cannot take the guard.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The spec is not as the specification says.
    #[error(transparent)]
    Spec(#[from] ConfigError),
    /// A container has one listener.
    #[error(
        "enforcement \"guarded\": the container's seccomp profile has a listener of its own ({0}), and a container can \
         have one only: take it out, or use another profile"
    )]
    Listener(String),
    /// A rule that cannot be combined with ours.
    #[error(
        "enforcement \"guarded\": the container's seccomp profile has a rule for ioctl that cannot be combined with the \
         guard's ({0}): accepted are rules without arguments and rules for single requests (SCMP_CMP_EQ on index 1)"
    )]
    Rule(String),
    /// Nothing to guard.
    #[error(
        "enforcement \"guarded\": the container's seccomp profile denies ioctl, without which no GPU can be used"
    )]
    NoIoctl,
}

/// Lets guarded calls wait for the agent.
pub fn apply(guard: &Guard, slice: &str, spec: &mut Spec) -> Result<(), SeccompError> {
    let profile = spec.object_mut("linux.seccomp")?;
    if profile.is_empty() {
        profile.insert("defaultAction".to_owned(), ALLOW.into());
        profile.insert("architectures".to_owned(), json!(ARCHITECTURES));
    }
    if let Some(listener) = text(profile, "listenerPath").filter(|path| !path.is_empty()) {
        return Err(SeccompError::Listener(listener.to_owned()));
    }
    let by_default = is_permissive(text(profile, "defaultAction").unwrap_or_default());
    let rules = match profile.entry("syscalls").or_insert(Value::Null) {
        Value::Array(rules) => std::mem::take(rules),
        Value::Null => Vec::new(),
        _ => {
            return Err(SeccompError::Rule("\"syscalls\" is not an array".to_owned()));
        }
    };
    let rules = guarded_rules(rules, by_default)?;
    profile.insert("syscalls".to_owned(), Value::Array(rules));
    profile.insert("listenerPath".to_owned(), json!(guard.socket));
    profile.insert("listenerMetadata".to_owned(), slice.into());
    Ok(())
}

/// Whether a profile has what [`apply`] put there.
pub fn is_applied(guard: &Guard, slice: &str, spec: &Spec) -> bool {
    let profile = spec.object("/linux/seccomp");
    let has = |key: &str, value: Option<&str>| profile.is_some_and(|profile| text(profile, key) == value);
    let waits = |rule: &Value| rule.get("action").and_then(Value::as_str) == Some(NOTIFY);
    has("listenerPath", guard.socket.to_str())
        && has("listenerMetadata", Some(slice))
        && spec.list("/linux/seccomp/syscalls").iter().any(waits)
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn is_permissive(action: &str) -> bool {
    matches!(action, ALLOW | LOG)
}

fn guarded_rules(rules: Vec<Value>, by_default: bool) -> Result<Vec<Value>, SeccompError> {
    let mut kept = Vec::with_capacity(rules.len() + 32);
    let mut allowed = by_default;
    let mut waiting = false;
    for mut rule in rules {
        let action = rule.get("action").and_then(Value::as_str).unwrap_or_default();
        let action = action.to_owned();
        if action == NOTIFY {
            return Err(SeccompError::Listener(rule.to_string()));
        }
        if !take_ioctl(&mut rule) {
            kept.push(rule);
            continue;
        }
        let mut own = rule.clone();
        if rule
            .get("names")
            .and_then(Value::as_array)
            .is_some_and(|names| !names.is_empty())
        {
            kept.push(rule);
        }
        set(&mut own, "names", json!(["ioctl"]));
        match (request_of(&own)?, is_permissive(&action)) {
            (None, true) => {
                allowed = true;
                kept.extend(
                    others()
                        .into_iter()
                        .map(|bits| with_bits(&own, (bits.mask, bits.value), &action)),
                );
            }
            (None, false) => return Err(SeccompError::NoIoctl),
            (Some(request), _) if !NUMBERS.contains(&(request as u8)) => kept.push(own),
            (Some(_), true) => {
                waiting = true;
                set(&mut own, "action", NOTIFY.into());
                kept.push(own);
            }
            (Some(_), false) => return Err(SeccompError::Rule(own.to_string())),
        }
    }
    if allowed {
        let rule = json!({"names": ["ioctl"]});
        kept.extend(NUMBERS.map(|number| with_bits(&rule, (u8::MAX, number), NOTIFY)));
    } else if !waiting {
        return Err(SeccompError::NoIoctl);
    }
    Ok(kept)
}

/// Takes ioctl out of a rule's names; says whether it was there.
fn take_ioctl(rule: &mut Value) -> bool {
    let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = names.len();
    names.retain(|name| name != "ioctl");
    names.len() < before
}

/// The one request that a rule is for; none where it is for all.
fn request_of(rule: &Value) -> Result<Option<u64>, SeccompError> {
    let conditions = rule
        .get("args")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let number = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_u64);
    match conditions {
        [] => Ok(None),
        [one] if number(one, "index") == Some(REQUEST) && one.get("op") == Some(&json!("SCMP_CMP_EQ")) => {
            Ok(number(one, "value"))
        }
        _ => Err(SeccompError::Rule(rule.to_string())),
    }
}

/// A rule for the requests that have such bits in their number.
fn with_bits(rule: &Value, (mask, value): (u8, u8), action: &str) -> Value {
    let mut rule = rule.clone();
    set(&mut rule, "action", action.into());
    // The mask is the first value, what is compared the second: scmp_arg_cmp of libseccomp.
    let condition = json!({"index": REQUEST, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"});
    set(&mut rule, "args", json!([condition]));
    rule
}

fn set(rule: &mut Value, key: &str, value: Value) {
    if let Some(rule) = rule.as_object_mut() {
        rule.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(seccomp: Value) -> Result<Value, SeccompError> {
        let mut spec = Spec::parse(json!({"linux": {"seccomp": seccomp}}).to_string().as_bytes())?;
        let guard = Guard {
            socket: "/run/sdg/guard.sock".into(),
        };
        assert!(!is_applied(&guard, "0123456789ab", &spec));
        apply(&guard, "0123456789ab", &mut spec)?;
        assert!(is_applied(&guard, "0123456789ab", &spec));
        assert!(!is_applied(&guard, "another", &spec));
        let value: Value = serde_json::from_slice(&spec.to_json()).unwrap();
        Ok(value["linux"]["seccomp"].clone())
    }

    /// What a profile does with an ioctl: the kernel's order of actions, most restrictive first, has no part in it since
    /// no two rules of ours hold for one request.
    fn action(profile: &Value, request: u64) -> String {
        let holds = |rule: &&Value| {
            rule["names"].as_array().unwrap().contains(&json!("ioctl"))
                && rule["args"].as_array().into_iter().flatten().all(|condition| {
                    let value = condition["value"].as_u64().unwrap();
                    match condition["op"].as_str().unwrap() {
                        "SCMP_CMP_EQ" => request == value,
                        _ => request & value == condition["valueTwo"].as_u64().unwrap(),
                    }
                })
        };
        let rules: Vec<&Value> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(holds)
            .collect();
        assert!(rules.len() <= 1, "{request:#x}: {rules:?}");
        let rule = rules.first().map(|rule| &rule["action"]);
        rule.unwrap_or(&profile["defaultAction"])
            .as_str()
            .unwrap()
            .to_owned()
    }

    const ALLOC: u64 = 0xc028_4b16;
    const WINDOW_SIZE: u64 = 0x5413;

    #[test]
    fn without_a_profile_guarded_numbers_wait_whatever_their_type() {
        let profile = guarded(Value::Null).unwrap();
        assert_eq!(action(&profile, ALLOC), NOTIFY);
        assert_eq!(action(&profile, 0x16), NOTIFY);
        assert_eq!(action(&profile, 0xffff_ff16), NOTIFY);
        assert_eq!(action(&profile, WINDOW_SIZE), ALLOW);
        assert_eq!(profile["listenerMetadata"], "0123456789ab");
    }

    #[test]
    fn an_engines_profile_keeps_its_other_rules_and_splits_that_for_ioctl() {
        let profile = guarded(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            {"names": ["read", "ioctl", "write"], "action": ALLOW},
            {"names": ["personality"], "action": ALLOW, "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        ]}))
        .unwrap();
        assert_eq!(profile["defaultErrnoRet"], 38);
        assert_eq!(profile["syscalls"][0]["names"], json!(["read", "write"]));
        assert!(
            profile["syscalls"]
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| rule["names"] == json!(["personality"]))
        );
        for number in 0..=255 {
            let expected = if NUMBERS.contains(&(number as u8)) {
                NOTIFY
            } else {
                ALLOW
            };
            assert_eq!(action(&profile, 0xc008_4b00 | number), expected, "{number:#x}");
        }
    }

    #[test]
    fn rules_for_single_requests_stay_as_narrow_as_they_were() {
        let one = |request: u64, action: &str| {
            json!({"names": ["ioctl"], "action": action,
                   "args": [{"index": 1, "value": request, "op": "SCMP_CMP_EQ"}]})
        };
        let profile = guarded(json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [one(ALLOC, ALLOW), one(WINDOW_SIZE, ALLOW)]}))
        .unwrap();
        assert_eq!(action(&profile, ALLOC), NOTIFY);
        assert_eq!(action(&profile, 0x16), "SCMP_ACT_ERRNO");
        assert_eq!(action(&profile, WINDOW_SIZE), ALLOW);
        let profile =
            guarded(json!({"defaultAction": ALLOW, "syscalls": [one(0x5412, "SCMP_ACT_ERRNO")]})).unwrap();
        assert_eq!(action(&profile, 0x5412), "SCMP_ACT_ERRNO");
        assert_eq!(action(&profile, ALLOC), NOTIFY);
    }

    #[test]
    fn what_cannot_be_combined_is_refused_by_name() {
        let refusal = |seccomp: Value| guarded(seccomp).unwrap_err().to_string();
        let listener = refusal(json!({"defaultAction": ALLOW, "listenerPath": "/run/other.sock"}));
        assert!(listener.contains("/run/other.sock"), "{listener}");
        let notify = json!({"defaultAction": ALLOW, "syscalls": [{"names": ["mount"], "action": NOTIFY}]});
        assert!(refusal(notify).contains("mount"));
        let ordered = json!([{"names": ["ioctl"], "action": ALLOW,
            "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_GT"}]}]);
        assert!(
            refusal(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": ordered})).contains("SCMP_CMP_GT")
        );
        let denied = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []});
        assert!(refusal(denied).contains("denies ioctl"));
    }
}
