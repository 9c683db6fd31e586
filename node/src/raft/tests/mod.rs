//! Groups on real logs, threads and loopback sockets.

mod cluster;
mod nodes;
mod single;
