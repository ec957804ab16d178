//! Processor time: of this thread, and of the process trees that serve.

use std::collections::HashMap;
use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time that the calling thread has used, in user and system mode.
pub fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of processor time that the processes `roots` and all their descendants have used, those
/// that they have waited for included. An error names the process that is not there.
pub fn tree_seconds(roots: &[u32]) -> Result<f64, String> {
    let processes: HashMap<u32, Process> = numbers_in_proc()
        .filter_map(|pid| Some((pid, read(pid)?)))
        .collect();
    if let Some(missing) = roots.iter().find(|pid| !processes.contains_key(pid)) {
        return Err(format!(
            "there is no process {missing}, whose processor time is wanted"
        ));
    }
    let ticks: u64 = processes
        .keys()
        .filter(|pid| is_in_trees(**pid, roots, &processes))
        .map(|pid| processes[pid].ticks)
        .sum();
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    ticks: u64,
}

fn numbers_in_proc() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// None if the process has gone.
fn read(pid: u32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything, so the fields are counted from its end.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let times = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok());
    Some(Process {
        parent: fields[1].parse().ok()?,
        ticks: times.sum::<Option<u64>>()?,
    })
}

fn is_in_trees(pid: u32, roots: &[u32], processes: &HashMap<u32, Process>) -> bool {
    let ancestors = std::iter::successors(Some(pid), |pid| {
        processes.get(pid).map(|process| process.parent)
    });
    ancestors
        .into_iter()
        .any(|ancestor| roots.contains(&ancestor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = "12 (a) b (c)) S 7 1 1 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 5 6 7";

        assert_eq!(
            parse(stat),
            Some(Process {
                parent: 7,
                ticks: 127
            })
        );
    }

    #[test]
    fn descendants_belong_to_a_tree_and_others_do_not() {
        let processes = [(2, 1), (3, 2), (4, 3), (5, 1)]
            .map(|(pid, parent)| (pid, Process { parent, ticks: 0 }))
            .into();

        let tree: Vec<u32> = (1..=5)
            .filter(|pid| is_in_trees(*pid, &[2], &processes))
            .collect();

        assert_eq!(tree, [2, 3, 4]);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        assert!(
            tree_seconds(&[u32::MAX])
                .unwrap_err()
                .contains(&u32::MAX.to_string())
        );
    }

    #[test]
    fn the_own_process_has_a_time() {
        assert!(tree_seconds(&[std::process::id()]).unwrap() >= 0.0);
        assert!(thread_seconds() > 0.0);
    }
}
