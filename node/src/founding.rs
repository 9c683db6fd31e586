//! Who founds a cluster: the list that all founders are given, and which of them this node is.
//!
//! A cluster is founded exactly once and on purpose. Founders are numbered in the order of their
//! names, so that every one of them derives the same ids from the same list; the first commit of
//! the control group, which needs a majority of just these, draws the cluster's id.

use std::{fmt, str::FromStr};

use narthex_cluster::NodeId;

/// Why a list of founders cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidFounders {
    /// Write `NAME=HOST:PORT`.
    #[error("--cluster.initial-nodes: {0:?} is not NAME=HOST:PORT")]
    Malformed(String),
    /// Use each name and each address once.
    #[error("--cluster.initial-nodes: {0:?} comes twice")]
    Repeated(String),
    /// Name one node, three or five.
    #[error(
        "--cluster.initial-nodes: {0} nodes; want an odd number, since an even one survives no \
         more failures than one node less"
    )]
    Even(usize),
    /// The advertised address must be one of the list.
    #[error(
        "--cluster.initial-nodes does not have {address:?}, the address this node advertises \
         (--cluster.advertise-address)"
    )]
    NotAmongThem {
        /// What this node advertises.
        address: String,
    },
}

/// One founder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FounderAddress {
    /// Its id: its place in the list, from 1.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` of its cluster listener.
    pub address: String,
}

/// All founders, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founders(Vec<FounderAddress>);

impl Founders {
    /// The only founder of a cluster of one node.
    pub fn alone(name: &str, address: &str) -> Self {
        let founder =
            FounderAddress { node: NodeId(1), name: name.to_owned(), address: address.to_owned() };
        Self(vec![founder])
    }

    /// The founders, in order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FounderAddress> {
        self.0.iter()
    }

    /// Which founder advertises `address`.
    pub fn own(&self, address: &str) -> Result<&FounderAddress, InvalidFounders> {
        self.0
            .iter()
            .find(|founder| founder.address == address)
            .ok_or_else(|| InvalidFounders::NotAmongThem { address: address.to_owned() })
    }
}

/// Reads `a=HOST:PORT,b=HOST:PORT,c=HOST:PORT`, in any order.
impl FromStr for Founders {
    type Err = InvalidFounders;

    fn from_str(text: &str) -> Result<Self, InvalidFounders> {
        let mut pairs = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let malformed = || InvalidFounders::Malformed(part.to_owned());
            let (name, address) = part.split_once('=').ok_or_else(malformed)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
            if name.is_empty() || host.is_empty() || port.parse::<u16>().is_err() {
                return Err(malformed());
            }
            pairs.push((name.to_owned(), address.to_owned()));
        }
        pairs.sort();
        for pair in pairs.windows(2) {
            if pair[0].0 == pair[1].0 || pair[0].1 == pair[1].1 {
                return Err(InvalidFounders::Repeated(pair[1].0.clone()));
            }
        }
        if pairs.len() % 2 == 0 {
            return Err(InvalidFounders::Even(pairs.len()));
        }
        let founders = (1..).zip(pairs).map(|(id, (name, address))| FounderAddress {
            node: NodeId(id),
            name,
            address,
        });
        Ok(Self(founders.collect()))
    }
}

impl fmt::Display for Founders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, FounderAddress { name, address, .. }) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_names_whatever_the_order() {
        let founders: Founders = "c=h3:1,a=h1:1,b=h2:1".parse().unwrap();
        assert_eq!(founders.to_string(), "a=h1:1,b=h2:1,c=h3:1");
        assert_eq!(founders.own("h3:1").unwrap().node, NodeId(3));
        assert!(founders.own("h4:1").is_err());
    }

    #[test]
    fn lists_that_cannot_found_are_refused() {
        let refused = |text: &str| text.parse::<Founders>().unwrap_err();
        assert_eq!(refused("a=h:1,b=i:1"), InvalidFounders::Even(2));
        assert_eq!(refused("a"), InvalidFounders::Malformed("a".into()));
        assert_eq!(refused("a=h:x"), InvalidFounders::Malformed("a=h:x".into()));
        assert_eq!(refused("a=h:1,a=i:1,b=j:1"), InvalidFounders::Repeated("a".into()));
        assert_eq!(refused(""), InvalidFounders::Even(0));
    }
}
