//! Groups on real logs, threads and loopback sockets.

pub mod cluster;
mod filling;
mod nodes;
mod single;
