//! Real clusters of real processes, made to fail.
//!
//! A test starts `narthex up --nodes 3` in a folder of its own ([`cluster`]), loads it with
//! writers that journal what they tried and what was acknowledged ([`writer`]) and with scrape
//! targets that log what they served ([`targets`]), kills processes or cuts the power of their disks
//! ([`disk`]), and checks one thing above all: an acknowledged sample is there, once, with its bits.
//!
//! Scenarios ([`scenario`]) put it all together: a cluster on hosts of its own ([`bed`]), a schedule of
//! faults drawn from a seed ([`faults`]), workloads beside it ([`workload`]), checks of what they saw
//! ([`check`]), and a report. The program `narthex-chaos` runs them.
//!
//! What a cluster answers is compared with what a real Prometheus answers ([`compare`]), question by
//! question out of a grammar.
//!
//! Most clusters talk over loopback; hosts of their own are namespaces ([`namespaces`]) and
//! containers ([`containers`]). Nothing sleeps for a fixed time and hopes: everything waits for a
//! condition, with a deadline ([`wait`]).

#![allow(clippy::missing_panics_doc, reason = "a harness reports failures by panicking")]

pub mod api;
pub mod asker;
pub mod bed;
pub mod check;
pub mod cluster;
pub mod compare;
pub mod containers;
pub mod disk;
pub mod faults;
pub mod hosts;
pub mod namespaces;
pub mod node;
pub mod peers;
pub mod ports;
pub mod prometheus;
pub mod report;
pub mod scenario;
pub mod stalls;
pub mod switches;
pub mod targets;
pub mod view;
pub mod wait;
pub mod worker;
pub mod workload;
pub mod writer;
