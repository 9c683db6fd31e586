//! What each replica holds by itself: all other nodes are frozen, and the one that is left is asked.

use std::time::Duration;

use rustix::process::Signal;

use crate::{bed::Bed, wait::within, writer::Written};

/// Until the querier has given up on the others and asks who is left.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Until the others work again.
const AWAKE_DEADLINE: Duration = Duration::from_secs(30);

/// Compares what every node holds with the journals. Of a cluster whose shards have a replica on
/// each node.
pub fn differences(bed: &Bed, written: &[Written]) -> Vec<String> {
    let nodes = 1..=bed.shape().nodes;
    nodes.flat_map(|host| of_node(bed, host, written)).collect()
}

fn of_node(bed: &Bed, host: usize, written: &[Written]) -> Vec<String> {
    let others = || (1..=bed.shape().nodes).filter(|other| *other != host);
    others().for_each(|other| bed.signal(other, Signal::STOP));
    let found = written.iter().map(|it| within(ANSWER_DEADLINE, || it.compare_old(bed.read())));
    let mut lines = Vec::new();
    for found in found {
        match found {
            Ok(differences) => lines.extend(differences.lines),
            Err(why) => lines.push(format!("no answer: {why}")),
        }
    }
    others().for_each(|other| bed.signal(other, Signal::CONT));
    let size = bed.shape().size();
    if let Err(why) = within(AWAKE_DEADLINE, || bed.view()?.is_whole(size)) {
        lines.push(format!("the others do not work again: {why}"));
    }
    lines.iter().map(|line| format!("n{host}: {line}")).collect()
}
