//! Addresses to listen on. Which ones, and for what, this does not know.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, as far as the system allows. What comes beyond them is dropped, and its
/// client tries again after a second. The standard library asks for 128, less than a burst of clients.
const BACKLOG: i32 = 4096;

/// Listens, without blocking. `[::]` is every address of the machine, those of IPv4 among them, whatever the system's
/// default is and whether or not it has IPv6 at all.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_at(address).or_else(|error| match address {
        SocketAddr::V6(own) if own.ip().is_unspecified() && is_without_ipv6(&error) => {
            listen_at((Ipv4Addr::UNSPECIFIED, own.port()).into())
        }
        _ => Err(error),
    })
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Connections of the server before, which the system still remembers, are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn every_address_is_those_of_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Not every machine has the other kind.
        if TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", port)).unwrap();
        }
        let taken = listen(([127, 0, 0, 1], port).into()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
