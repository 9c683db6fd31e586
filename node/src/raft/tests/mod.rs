//! Groups on real logs, threads and loopback sockets.

pub mod cluster;
mod nodes;
mod single;
