//! `health`: asks a running server whether it takes work, for health checks of containers, in which there is nothing
//! else to ask with.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{CliError, Outcome, say};
use crate::settings::{HttpSettings, SecuritySettings};

const EXIT_CODES: &str = "\
Exit codes:
  0  the server takes work
  1  it does not, or there is none
  2  the arguments, the configuration or the environment do not allow it";

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// More of an answer than it has.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Ask a running server whether it is ready
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct HealthArgs {
    /// What to ask [default: /readyz at the address of the settings, that of probes if there is one]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// TOML file of settings, as for `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    http: HttpSettings,

    #[command(flatten)]
    security: SecuritySettings,
}

pub(super) fn run(arguments: HealthArgs) -> Result<Outcome, CliError> {
    if arguments.url.is_none() && arguments.security.tls_certificate.is_some() && arguments.http.probes.is_none() {
        let cure = "give probes a listener of their own with --probes";
        return Err(CliError::Usage(format!(
            "the server speaks TLS, and this speaks plain HTTP: {cure}"
        )));
    }
    let urls = arguments
        .url
        .map_or_else(|| readiness(&arguments.http), |url| vec![url]);
    let mut hosts = Vec::new();
    let mut path = "/";
    for url in &urls {
        let Some((host, own)) = parts(url) else {
            let wanted = "it must be http://HOST:PORT/PATH, where an address of IPv6 stands in brackets: [::1]:8000";
            return Err(CliError::Usage(format!("--url: {url:?} is not possible: {wanted}")));
        };
        hosts.push(host);
        path = own;
    }
    let url = urls.join(" and ");
    match ask(&hosts, path) {
        Ok(answer) if answer.is_good() => Ok(Outcome::Done),
        Ok(answer) => {
            say(&format!("{url}: {}", answer.0));
            Ok(Outcome::Refused)
        }
        Err(error) => {
            say(&format!("{url}: {error}"));
            Ok(Outcome::Refused)
        }
    }
}

/// Where the server of these settings tells whether it is ready. Who listens everywhere listens here, by the protocol
/// that this machine has.
fn readiness(http: &HttpSettings) -> Vec<String> {
    let address: SocketAddr = http.probes.unwrap_or(http.address);
    let here: &[IpAddr] = match address.ip() {
        IpAddr::V4(own) if own.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(own) if own.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        own => &[own],
    };
    let url = |ip: &IpAddr| format!("http://{}/readyz", SocketAddr::new(*ip, address.port()));
    here.iter().map(url).collect()
}

/// Host with port, and path.
fn parts(url: &str) -> Option<(String, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Some((host, if path.is_empty() { "/" } else { path }))
}

/// The text of an answer.
struct Answer(String);

impl Answer {
    fn is_good(&self) -> bool {
        self.0.split(' ').nth(1) == Some("200")
    }
}

/// The first answer.
fn ask(hosts: &[String], path: &str) -> io::Result<Answer> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let addresses = hosts.iter().map(|host| Ok((host, host.to_socket_addrs()?)));
    let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
    for (host, address) in addresses
        .into_iter()
        .flat_map(|(host, all)| all.map(move |one| (host, one)))
    {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                )?;
                let mut bytes = Vec::new();
                stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes)?;
                return Ok(Answer(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_address_of_probes_comes_first_and_everywhere_is_here() {
        let mut http = Settings::default().http;
        assert_eq!(readiness(&http), ["http://127.0.0.1:8000/readyz"]);
        http.address = "[::]:80".parse().unwrap();
        assert_eq!(
            readiness(&http),
            ["http://127.0.0.1:80/readyz", "http://[::1]:80/readyz"]
        );
        http.probes = Some("0.0.0.0:9000".parse().unwrap());
        assert_eq!(readiness(&http), ["http://127.0.0.1:9000/readyz"]);
        http.probes = Some("[::1]:9000".parse().unwrap());
        assert_eq!(readiness(&http), ["http://[::1]:9000/readyz"]);
    }

    #[test]
    fn urls_are_taken_apart() {
        let apart = |url| parts(url).map(|(host, path)| format!("{host} {path}"));
        assert_eq!(apart("http://a:1/b/c?d").as_deref(), Some("a:1 /b/c?d"));
        assert_eq!(apart("http://a").as_deref(), Some("a:80 /"));
        assert_eq!(apart("http://[::1]:1/x").as_deref(), Some("[::1]:1 /x"));
        for wrong in [
            "https://a/",
            "a/b",
            "http://",
            "http:///x",
            "http://a/ b",
            "http://a/\r\nb",
        ] {
            assert_eq!(apart(wrong), None, "{wrong}");
        }
    }
}
