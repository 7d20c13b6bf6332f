//! OpenMetrics as Prometheus's older text format, for readers that do not ask for OpenMetrics (promtool among them).

use std::collections::HashSet;

/// A counter's family is named with its `_total` there, and units and the end are not said.
pub fn from_open_metrics(text: &str) -> String {
    let counters: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    text.lines().filter_map(|line| classic(line, &counters)).collect()
}

fn classic(line: &str, counters: &HashSet<&str>) -> Option<String> {
    let Some(comment) = line.strip_prefix("# ") else {
        return Some(format!("{line}\n"));
    };
    let (keyword, rest) = comment.split_once(' ')?;
    if keyword == "UNIT" {
        return None;
    }
    let (name, said) = rest.split_once(' ')?;
    let suffix = if counters.contains(name) { "_total" } else { "" };
    Some(format!("# {keyword} {name}{suffix} {said}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples() {
        let text = "# HELP a Help of a.\n# TYPE a counter\n# UNIT a bytes\na_total{x=\"# y\"} 1\n\
                    # HELP b Help.\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(
            from_open_metrics(text),
            "# HELP a_total Help of a.\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n\
             # HELP b Help.\n# TYPE b gauge\nb 2\n"
        );
    }
}
