//! Where a request that came through proxies began.

use std::net::{IpAddr, SocketAddr};

/// Addresses whose first bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// All addresses that agree with `address` in the first `bits`: at most 32 for IPv4, 128 for IPv6.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    fn contains(self, address: IpAddr) -> bool {
        let is_same = |own: u128, other: u128, width: u32| {
            let free = width.saturating_sub(self.bits.into());
            // All bits are free: every address is in it, and a shift by as many would be none.
            own.checked_shr(free).unwrap_or(0) == other.checked_shr(free).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => is_same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => is_same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// Proxies that are believed.
#[derive(Debug, Default)]
pub(super) struct Proxies(pub(super) Vec<Network>);

impl Proxies {
    /// The client of a request that `peer` handed over, where `forwarded` is what the proxies on the way wrote down:
    /// each the address that it was asked from, the last one last. Whoever is not believed is the client, whatever it
    /// claims about others.
    pub(super) fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut before = forwarded.rev();
        while self.0.iter().any(|network| network.contains(client)) {
            // A proxy that wrote down nothing that can be read has told nothing.
            match before.next().and_then(address) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
}

/// An address, with a port behind it or none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address: Option<IpAddr> = bare.parse().ok().or_else(with_port);
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_one_that_is_not_believed() {
        let network = |text: &str, bits| Network::new(text.parse().unwrap(), bits);
        let proxies = Proxies(vec![
            network("10.1.0.0", 16),
            network("2001:db8::", 32),
            network("127.0.0.1", 32),
        ]);
        for (peer, forwarded, client) in [
            ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
            ("::ffff:127.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8:1::1", "[2001:db9::5]:80", "2001:db9::5"),
            ("2001:db8:1::1", "[2001:db9::5]", "2001:db9::5"),
            // A chain of proxies.
            ("10.1.2.3", "192.0.2.7, 10.1.9.9", "192.0.2.7"),
            // What a client claims about another is not believed.
            ("10.1.2.3", "198.51.100.1, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
            ("10.2.0.1", "198.51.100.1", "10.2.0.1"),
            // Nothing that can be read.
            ("10.1.2.3", "", "10.1.2.3"),
            ("10.1.2.3", "unknown", "10.1.2.3"),
            ("10.1.2.3", "192.0.2.7, _hidden", "10.1.2.3"),
        ] {
            let found = proxies.client(peer.parse().unwrap(), forwarded.split(','));
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_network_of_no_bits_is_everybody() {
        for (own, other) in [("0.0.0.0", "203.0.113.9"), ("::", "2001:db8::1")] {
            assert!(Network::new(own.parse().unwrap(), 0).contains(other.parse().unwrap()));
        }
        let one = Network::new("192.0.2.1".parse().unwrap(), 32);
        assert!(!one.contains("192.0.2.2".parse().unwrap()));
    }
}
