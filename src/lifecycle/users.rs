//! How much of a node one ordinary user may hold, for whom the broker places slices. Pure.

use crate::config::Config;
use crate::ledger::record::SliceRecord;
use crate::lifecycle::LifecycleError;
use crate::placement::GpuGrant;
use crate::units::Bytes;

/// Refuses what would be more than the configuration lets a user have.
pub(super) fn check<'a>(
    user: u32,
    held: impl Iterator<Item = &'a SliceRecord>,
    (new, config): (&[GpuGrant], &Config),
) -> Result<(), LifecycleError> {
    let held: Vec<&SliceRecord> = held.filter(|record| record.user == Some(user)).collect();
    let refused = |reason: String| Err(LifecycleError::UserLimit { user, reason });
    if held.len() >= config.broker_slices {
        return refused(format!(
            "holds {} slices already (broker_slices = {})",
            held.len(),
            config.broker_slices
        ));
    }
    let Some(most) = config.broker_memory else {
        return Ok(());
    };
    let has = guaranteed(held.iter().flat_map(|record| &record.gpus));
    let asked = guaranteed(new.iter());
    if has.saturating_add(asked) > most {
        return refused(format!(
            "holds {} of GPU memory and asks for {} (broker_memory = {})",
            Bytes(has),
            Bytes(asked),
            Bytes(most)
        ));
    }
    Ok(())
}

fn guaranteed<'a>(grants: impl Iterator<Item = &'a GpuGrant>) -> u64 {
    grants
        .map(|grant| grant.memory_bytes)
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures;

    #[test]
    fn a_user_has_so_many_slices_and_so_much_memory_and_others_do_not_count() {
        let node = fixtures::node_with(&[(10, 10, 0), (10, 10, 0), (10, 10, 0)]);
        let mut records: Vec<SliceRecord> = node.slices.into_iter().map(|slice| slice.record).collect();
        for record in &mut records {
            record.user = Some(1000);
        }
        records[2].user = Some(1001);
        let new = records[2].gpus.clone();
        let refusal = |config: &Config| {
            let result = check(1000, records.iter(), (&new, config));
            result.err().map(|error| error.to_string())
        };
        let limits = |broker_slices, broker_memory| Config {
            broker_slices,
            broker_memory,
            ..Config::default()
        };
        assert_eq!(refusal(&limits(3, None)), None);
        assert!(refusal(&limits(2, None)).unwrap().contains("holds 2 slices"));
        assert_eq!(refusal(&limits(3, Some(30 << 30))), None);
        let said = refusal(&limits(3, Some((30 << 30) - 1))).unwrap();
        assert!(
            said.contains("user 1000 holds 20Gi of GPU memory and asks for 10Gi"),
            "{said}"
        );
    }
}
