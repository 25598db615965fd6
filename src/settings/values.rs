//! What single values must look like. Each function reads a text or says what would be right; where the text came from
//! is for [`super::sources`] to tell.

use std::{
    convert::Infallible,
    fmt::{self, Display},
    net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use tracing_subscriber::EnvFilter;

/// Where to listen, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Addresses whose first bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many bits.
    pub bits: u8,
}

impl Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

pub(super) fn between<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(format!(
            "it must be a whole number between {} and {}",
            range.start(),
            range.end()
        )),
    }
}

/// A time between a millisecond and a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=86_400.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err("it must be between 0.001 and 86400 seconds".to_owned()),
    }
}

/// The same, or 0 for what is not to be.
pub(super) fn seconds_or_zero(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) {
        return Ok(Duration::ZERO);
    }
    seconds(text).map_err(|reason| format!("{reason}, or 0"))
}

/// An address to listen on: `ADDRESS:PORT`, `NAME:PORT`, or `:PORT` for every address of the machine.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') {
        format!("[{}]{text}", Ipv6Addr::UNSPECIFIED)
    } else {
        text.to_owned()
    };
    let found = whole.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        "it must be an address or the name of this machine and a port, such as 127.0.0.1:8000, [::1]:8000, \
         localhost:8000 or, for every address, :8000"
            .to_owned()
    })
}

pub(super) fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "off" => Ok(Listen::Off),
        _ => address(text)
            .map(Listen::At)
            .map_err(|reason| format!("{reason}, or off")),
    }
}

/// An address, or the first of a network and how many bits its addresses share: `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<Network, String> {
    let (address, bits) = match text.trim().split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text.trim(), None),
    };
    let read = || {
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok())?;
        (bits <= all).then_some(Network { address, bits })
    };
    read().ok_or_else(|| {
        "it must be an address, such as 10.0.0.1, or a network, such as 10.0.0.0/8 or 2001:db8::/32".to_owned()
    })
}

/// An origin as browsers send it: `scheme://host` or `scheme://host:port`; a page in a file has the origin `null`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let parts = text.split_once("://");
    let is_origin =
        parts.is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && host.chars().all(is_known));
    if is_origin || text == "*" || text == "null" {
        return Ok(text.to_owned());
    }
    Err("an origin is a scheme, a host and perhaps a port, such as https://example.org, or it is *".to_owned())
}

/// A collector of traces: `http://NAME:PORT`.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let parts = text.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':'));
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let is_collector = parts.is_some_and(|(host, port)| {
        !host.is_empty() && host.chars().all(is_known) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_collector {
        return Ok(text.to_owned());
    }
    Err(
        "it must be http://, a name or an address, and a port, such as http://127.0.0.1:4317; TLS is for a collector \
         beside the server to add"
            .to_owned(),
    )
}

/// Of words with commas between, one.
pub(super) fn trimmed(text: &str) -> Result<String, Infallible> {
    Ok(text.trim().to_owned())
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
