//! Which ports `narthex up` listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where Prometheus answers, and so do we.
const WEB_PORT: u16 = 9090;
/// The last port that is tried where none was asked for.
const WEB_PORT_LAST: u16 = 9099;
/// Children's ports lie below the range from which the kernel takes the near ends of outgoing
/// connections: a peer that calls a dead child there could otherwise be connected to itself.
const CHILD_PORTS: std::ops::Range<u16> = 19_000..32_000;

/// Why no port could be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Ask for another address.
    #[error("cannot listen on {address}")]
    Address {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Ask for an address, or stop what uses these ports.
    #[error("ports {WEB_PORT} to {WEB_PORT_LAST} are all taken; name another with --listen")]
    AllTaken,
}

/// Binds the address that was asked for, or the first free port from 9090 to 9099 on loopback.
pub fn bind_web(asked: Option<SocketAddr>) -> Result<TcpListener, BindError> {
    if let Some(address) = asked {
        return TcpListener::bind(address).map_err(|source| BindError::Address { address, source });
    }
    bind_first(WEB_PORT..=WEB_PORT_LAST).ok_or(BindError::AllTaken)
}

fn bind_first(mut ports: impl Iterator<Item = u16>) -> Option<TcpListener> {
    ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
}

/// Whether the port is not the one a user expects.
pub fn is_fallback(address: SocketAddr) -> bool {
    address.port() != WEB_PORT
}

/// As many free loopback addresses for child nodes. They are free now; a child that finds its
/// own taken says so and is started again. `seed` spreads clusters that start at once.
pub fn free_addresses(count: usize, seed: u32) -> Result<Vec<SocketAddr>, BindError> {
    let length = u32::from(CHILD_PORTS.end - CHILD_PORTS.start);
    let first = seed.wrapping_mul(97) % length;
    // Held until all are found, so that none is found twice.
    let mut listeners = Vec::with_capacity(count);
    for step in 0..length {
        if listeners.len() == count {
            break;
        }
        let offset = u16::try_from((first + step) % length).expect("the range is of u16");
        let port = CHILD_PORTS.start + offset;
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    }
    if listeners.len() < count {
        return Err(BindError::AllTaken);
    }
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|source| BindError::Address {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            source,
        })
    };
    listeners.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let bound = bind_first([port, 0].into_iter()).unwrap();
        assert_ne!(bound.local_addr().unwrap().port(), port);
        assert!(bind_first([port].into_iter()).is_none());
    }

    #[test]
    fn an_address_that_was_asked_for_is_not_replaced() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let error = bind_web(taken.local_addr().ok()).unwrap_err();
        assert!(matches!(error, BindError::Address { .. }), "{error}");
    }

    #[test]
    fn free_addresses_differ_and_can_be_bound() {
        let addresses = free_addresses(6, std::process::id()).unwrap();
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 6);
        for address in addresses {
            assert!(CHILD_PORTS.contains(&address.port()));
            TcpListener::bind(address).unwrap();
        }
    }
}
