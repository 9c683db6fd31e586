//! Groups on real logs, threads and loopback sockets; and in a simulation, on none of them.

pub mod cluster;
mod filling;
mod nodes;
mod simulation;
mod single;
