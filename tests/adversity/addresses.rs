//! Addresses of IPv6, on machines that have others and on one that has no other.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use super::command::{self, binary, fixtures, server::Server};

const ALONE: &str = "ip link set lo up && ip address del 127.0.0.1/8 dev lo && exec \"$@\"";

/// A server of HTTP, gRPC and probes at these addresses.
fn serve(mut command: Command, [http, grpc, probes]: [&str; 3]) -> Server {
    command.args([
        "serve",
        "--log-format",
        "json",
        "--http",
        http,
        "--grpc",
        grpc,
        "--probes",
        probes,
    ]);
    Server::spawn(command, &fixtures())
}

fn health(arguments: &[&str]) -> Option<i32> {
    let asked = binary().arg("health").args(arguments).stderr(Stdio::null()).status();
    asked.unwrap().code()
}

#[test]
fn a_server_at_addresses_of_ipv6_is_found_there() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let server = serve(binary(), ["[::1]:0", "[::1]:0", "[::1]:0"]);
    for address in [&server.address, &server.grpc, &server.probes] {
        assert!(address.starts_with("[::1]:"), "{address}");
    }
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(health(&["--http", &server.address]), Some(0));
    assert_eq!(health(&["--probes", &server.probes]), Some(0));
    assert_eq!(health(&["--url", &format!("http://{}/livez", server.address)]), Some(0));
    assert_eq!(health(&["--url", "http://[::1]:1/livez"]), Some(1));
}

/// Where there is no IPv4 at all, whoever listens everywhere is found by IPv6. It takes root to make such a machine.
#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_ipv4_has_a_healthy_server() {
    let alone = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", ALONE, "sh", program]);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command
    };
    let is_possible = alone("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_possible {
        return;
    }
    let server = serve(alone(env!("CARGO_BIN_EXE_density-server")), [":8000", ":8001", ":9000"]);
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", server.process.id()));
        command.arg(env!("CARGO_BIN_EXE_density-server")).args(arguments);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    };
    for arguments in [
        &["--http", ":8000"][..],
        &["--probes", ":9000"],
        &["--http", "[::]:8000"],
    ] {
        let asked = inside(&[&["health"], arguments].concat());
        assert_eq!(asked.status.code(), Some(0), "{arguments:?}: {}", command::said(&asked));
    }
    let asked = inside(&["health", "--http", ":8002"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(
        command::said(&asked).contains("http://[::1]:8002/readyz"),
        "{}",
        command::said(&asked)
    );
    // What it cannot do there it says, and what would be right.
    let refused = inside(&["serve", "--http", "127.0.0.1:8005", "--grpc", "off"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        command::stderr(&refused).contains(":8005 is all of them"),
        "{}",
        command::stderr(&refused)
    );
}

#[test]
fn an_address_of_ipv6_without_brackets_is_answered_with_one_that_has_them() {
    for flag in ["--http", "--grpc", "--probes"] {
        let refused = command::run(["serve", flag, "::1:8000"]);
        assert_eq!(refused.status.code(), Some(2), "{flag}");
        assert!(
            command::stderr(&refused).contains("[::1]:8000"),
            "{}",
            command::stderr(&refused)
        );
    }
}
