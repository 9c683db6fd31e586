//! Loopback ports for programs that cannot be asked which one they took.

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that Linux gives to outgoing connections: one of those could take a port
/// between the look at it and the start of the program that is to listen there. Children of
/// `narthex up` listen above.
const FIRST: u16 = 12_000;
const COUNT: u16 = 7_000;

/// How many this process was given.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// An address on which nothing listens now, given once by this process.
pub fn free_address() -> String {
    // Tests in other processes look elsewhere first.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let given = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let offset = start.wrapping_add(given) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than COUNT");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if is_free(address) {
            return address.to_string();
        }
    }
    panic!("no free port of {COUNT} from {FIRST} on");
}

/// Whether nobody listens. To listen there ourselves for a moment would tell, too, but for programs
/// that other threads start meanwhile: until they run they hold what was open here.
fn is_free(address: SocketAddrV4) -> bool {
    TcpStream::connect(address).is_err()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let (first, second) = (free_address(), free_address());
        assert_ne!(first, second);
        let listener = TcpListener::bind(&first).expect("nothing listens there");
        let first = first.parse().expect("an address");
        assert!(!is_free(first));
        drop(listener);
        assert!(is_free(first));
    }
}
